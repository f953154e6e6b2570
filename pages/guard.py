"""What stands before every page: the right Host and Origin, headers that allow nothing but our own files, a border
where an error becomes an answer that quotes nobody."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
SAFE_METHODS = frozenset({"GET", "HEAD"})
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}

log = logging.getLogger("pages")


class Guard:
    """Wraps the application; it logs paths and reasons, never a token, a cookie or what somebody wrote."""

    def __init__(self, app: ASGIApp) -> None:
        """Guard this application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def send_guarded(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        reason = why_refused(scope["method"], Headers(scope=scope))
        if reason is not None:
            log.warning("refused reason=%s", reason)
            answer = PlainTextResponse("These pages answer the browser of this machine only.", 403)
            await answer(scope, receive, send_guarded)
            return
        try:
            await self._app(scope, receive, send_guarded)
        except Exception as error:  # noqa: BLE001 - the process boundary
            # Where, not what: the message of a stranger's error may quote what a user wrote.
            frames = traceback.extract_tb(error.__traceback__)
            where = " ".join(f"{Path(f.filename).name}:{f.lineno}" for f in frames[-6:])
            log.error("broke error=%s where=%s", type(error).__name__, where)
            if not has_begun:
                answer = PlainTextResponse("The page broke on this request; the terminal says where.", 500)
                await answer(scope, receive, send_guarded)


def why_refused(method: str, headers: Headers) -> str | None:
    """The reason to refuse a request; None where it comes from this machine, and a change from one of our pages.

    A foreign Host is DNS rebinding. An Origin holds the port, as no cookie does: other local servers are foreign.
    """
    host, origin = headers.get("host", ""), headers.get("origin")
    if _hostname(host) not in LOOPBACK:
        return "foreign_host"
    if origin is not None and _origin_host(origin) != host:
        return "foreign_origin"
    if method not in SAFE_METHODS and (origin is None or headers.get("sec-fetch-site", "same-origin") != "same-origin"):
        return "no_origin"
    return None


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _origin_host(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None
