"""The application: its endpoints, what it opens and closes, and the border where errors become answers."""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.access import Access, Action, caller_of
from gateway.backends import open_backends
from gateway.canaries import CanaryBreaker
from gateway.channel_copy import copy_channels
from gateway.chat import complete_chat
from gateway.decide import tell_assignment
from gateway.durable_log import DurableLog
from gateway.embeddings import pass_embeddings
from gateway.feedback import take_feedback
from gateway.helpdesk import SECRET, take_reply
from gateway.limits import Limits
from gateway.metrics import Metrics
from gateway.mirror import Mirror
from gateway.parts import Parts
from gateway.privacy import StoragePrivacy
from gateway.prompts import list_prompts
from gateway.quotas import Quotas
from gateway.refusals import Refusal, json_response
from gateway.routing import Router
from gateway.telemetry import open_telemetry
from gateway.traces import take_traces
from ratchet.errors import RatchetError
from ratchet.keys import Keys
from ratchet.presets import BackendsConfig, load_backends
from ratchet.settings import Settings, read_secret
from ratchet.store import open_store

logger = structlog.get_logger("gateway")
Endpoint = Callable[[Parts, Request], Awaitable[Response]]
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
PROBE_S = 2.0


def create_app(settings: Settings, limits: Limits = Limits()) -> Starlette:  # noqa: B008 - frozen
    """The gateway on the channels, releases and store of these settings.

    Raises:
        SettingsInvalid: the backends file is malformed.
    """
    return Starlette(
        middleware=[Middleware(_LocalOnly, is_remote_allowed=settings.remote_is_allowed)],
        exception_handlers={HTTPException: _unknown_path},
        lifespan=_opened(settings, limits, load_backends(settings, os.environ)),
        routes=[
            _route("/v1/chat/completions", complete_chat, "POST", "ask"),
            _route("/v1/embeddings", pass_embeddings, "POST", "ask"),
            _route("/v1/decide", tell_assignment, "GET", "decide"),
            _route("/v1/feedback", take_feedback, "POST", "feedback"),
            _route("/v1/helpdesk", take_reply, "POST", "open"),  # signed with a secret of its own
            _route("/v1/traces", take_traces, "POST", "traces"),
            _route("/v1/models", _models, "GET", "models"),
            _route("/v1/prompts", list_prompts, "GET", "prompts"),
            _route("/healthz", _healthz, "GET", "open"),
            _route("/readyz", _readyz, "GET", "open"),
            _route("/metrics", _metrics, "GET", "metrics"),
        ],
    )


def _opened(
    settings: Settings, limits: Limits, config: BackendsConfig
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        read_secret(settings, SECRET)  # made now, so that whoever sets up the helpdesk finds it
        with open_store(settings.database_url) as store:
            async with (
                open_backends(config, limits, allow_private=settings.private_is_allowed) as backends,
                open_telemetry(settings.otlp_url) as telemetry,
            ):
                log = DurableLog(store, limits, StoragePrivacy(settings, store).scrub)
                router = Router(settings)
                canaries = CanaryBreaker(router, store, limits)
                await canaries.look()  # before the first request: what was stopped stays stopped
                going_on = [asyncio.create_task(canaries.keep())]
                if settings.store_uri:
                    going_on.append(asyncio.create_task(copy_channels(settings)))
                access = Access(Keys(store.engine), is_required=settings.keys_are_required)
                mirror = Mirror(limits)
                app.state.parts = Parts(
                    router,
                    backends,
                    log,
                    store,
                    Metrics(),
                    limits,
                    settings,
                    access,
                    Quotas(settings.repo, store),
                    mirror,
                    canaries,
                    telemetry,
                )
                mirror.start(app.state.parts)
                try:
                    yield
                finally:
                    for task in going_on:
                        task.cancel()
                    await mirror.close()
                    await log.close()
                    await canaries.look()

    return lifespan


def _route(path: str, endpoint: Endpoint, method: str, action: Action) -> Route:
    """An endpoint behind the border where every error becomes an answer."""

    async def answer(request: Request) -> Response:
        try:
            parts: Parts = request.app.state.parts
            request.state.caller = await parts.access.admit(request, action)
            return await endpoint(parts, request)
        except Refusal as refusal:
            return refusal.response()
        except RatchetError as error:  # its message is made for people: ids and paths, and what to do
            logger.error("refused", path=path, error=type(error).__name__)
            return Refusal(503, "misconfigured", str(error)).response()
        except Exception as error:  # noqa: BLE001 - the process boundary
            # Where, not what: the message of a stranger's error may quote what a user wrote.
            frames = traceback.extract_tb(error.__traceback__)
            where = " ".join(f"{Path(f.filename).name}:{f.lineno}" for f in frames[-6:])
            logger.error("broke", path=path, error=type(error).__name__, where=where)
            return Refusal(500, "internal_error", "the gateway broke on this request; its log says where").response()

    return Route(path, answer, methods=[method])


async def _models(parts: Parts, request: Request) -> Response:
    """What can be asked: the features with a release on stable, as far as the key is for them."""
    caller = caller_of(request)
    names = [name for name in parts.router.features() if caller.allows(name)]
    found = [{"id": name, "object": "model", "created": 0, "owned_by": "ratchet"} for name in names]
    return json_response({"object": "list", "data": found})


async def _healthz(parts: Parts, request: Request) -> Response:
    """The process is alive."""
    return json_response({"status": "ok"})


async def _readyz(parts: Parts, request: Request) -> Response:
    """Whether a chat would succeed: the store takes writes and the model server answers."""
    facts = {
        "store": await parts.log.is_writable(PROBE_S),
        "model_server": await parts.backends.is_reachable(PROBE_S),
    }
    told = {name: "ok" if is_well else "unreachable" for name, is_well in facts.items()}
    return json_response(told, 200 if all(facts.values()) else 503)


async def _metrics(parts: Parts, request: Request) -> Response:
    return Response(parts.metrics.page(), media_type=CONTENT_TYPE_LATEST)


async def _unknown_path(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = "there is no such path or method; see POST /v1/chat/completions, POST /v1/feedback, GET /v1/models"
    return Refusal(error.status_code, "unknown_path", message).response(dict(error.headers or {}))


class _LocalOnly:
    """Refuses what a web page could send from a browser: a foreign Origin, or a foreign Host (DNS rebinding)."""

    def __init__(self, app: ASGIApp, is_remote_allowed: bool) -> None:
        self._app = app
        self._is_remote_allowed = is_remote_allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            host = origin = None
            for name, value in scope["headers"]:
                if name == b"host" and host is None:
                    host = value.decode("latin-1")
                elif name == b"origin" and origin is None:
                    origin = value.decode("latin-1")
            is_foreign = not self._is_remote_allowed and _hostname(host or "") not in LOOPBACK
            if is_foreign or (origin is not None and _netloc(origin) != host):
                refusal = Refusal(403, "foreign_origin", "this gateway answers this machine's own programs only")
                await refusal.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


@lru_cache(maxsize=64)
def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
