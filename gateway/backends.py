"""Which backend answers: the chain of a model in its order, without those that the tenant's rules forbid."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit

import aiohttp
import structlog
from aiohttp.abc import ResolveResult
from aiohttp.resolver import ThreadedResolver

from gateway.limits import Limits
from gateway.refusals import BackendFailed
from gateway.replicas import CHAT, Ask, Backend, Opened
from ratchet.errors import AddressRefused, SettingsInvalid
from ratchet.outbound import check_public
from ratchet.presets import BackendConfig, BackendsConfig
from ratchet.tenants import Tenant, refusal_of

logger = structlog.get_logger("gateway")
T = TypeVar("T")
NOT_ALLOWED = "tenant_rules"


class Call(NamedTuple):
    """One request for a model; `adapter` is the folder of its weights where it is a LoRA adapter of `base`.

    `is_trial`: only the first backend may answer, as a canary that another one answers for is not the canary.
    `is_mirrored`: nobody waits for it, and its failures keep no user's request from a replica.
    """

    model: str
    body: dict[str, Any]
    adapter: Path | None = None
    base: str | None = None
    tenant: Tenant = Tenant()
    is_trial: bool = False
    is_mirrored: bool = False


class Answered(NamedTuple, Generic[T]):
    """An answer, who gave it under which model name, and why it was not the first of the chain (None: it was)."""

    value: T
    backend: BackendConfig
    model: str
    fell_back_for: str | None


class Backends:
    """The backends of one gateway."""

    def __init__(self, config: BackendsConfig, backends: dict[str, Backend]) -> None:
        self._config = config
        self._backends = backends

    async def complete(self, call: Call) -> Answered[dict[str, Any]]:
        """A whole chat completion.

        Raises:
            BackendFailed: of the last backend that was asked; 403 where the tenant's rules allow none.
        """

        async def ask(backend: Backend, one: Ask) -> dict[str, Any]:
            document = await backend.complete(one)
            try:
                _ = document["choices"][0]["message"].get("content")
            except (KeyError, IndexError, TypeError, AttributeError) as error:
                raise BackendFailed(502, "backend_answer", "the model server's answer is no chat completion") from error
            return document

        return await self._first(call, CHAT, ask)

    async def open_stream(self, call: Call) -> Answered[Opened]:
        """A begun stream, which the caller must close.

        Raises:
            BackendFailed: as for `complete`.
        """
        return await self._first(call, CHAT, lambda backend, one: backend.open_stream(one))

    async def pass_on(self, call: Call, path: str) -> Answered[dict[str, Any]]:
        """The answer to a request of any other path.

        Raises:
            BackendFailed: as for `complete`.
        """
        return await self._first(call, path, lambda backend, one: backend.complete(one))

    def has_chain(self, model: str) -> bool:
        """Whether the backends file names who serves a model."""
        return model in self._config.chains

    async def is_reachable(self, timeout_s: float) -> bool:
        """Whether some backend for ordinary models is there."""
        for config in self._config.chain(""):
            if await self._backends[config.name].is_reachable(timeout_s):
                return True
        return False

    async def _first(self, call: Call, path: str, ask: Callable[[Backend, Ask], Awaitable[T]]) -> Answered[T]:
        base = call.base or call.model
        chain = self._config.chain(base)
        failed: BackendFailed | None = None
        for number, config in enumerate(chain[:1] if call.is_trial else chain):
            if refusal := refusal_of(call.tenant, config.destination):
                failed = failed or BackendFailed(403, NOT_ALLOWED, f"the tenant's rules: {refusal}", is_its_fault=False)
                continue
            model = _name_there(config, call, base)
            if model is None:
                continue
            adapter = call.adapter if model == call.model else None
            try:
                answer = await ask(self._backends[config.name], Ask(path, model, call.body, adapter, call.is_mirrored))
            except BackendFailed as failure:
                if failure.status == 400:  # the request is at fault, and would be elsewhere
                    raise
                failed = failure
                continue
            if not number:
                return Answered(answer, config, model, None)
            code = failed.code if failed else "no_adapters"
            logger.warning("backend_fell_back", backend=config.name, model=base, code=code)
            return Answered(answer, config, model, code)
        raise failed or BackendFailed(
            502, "no_backend", f"no backend can serve {base}; see the chains of backends.yaml"
        )


def _name_there(config: BackendConfig, call: Call, base: str) -> str | None:
    """What the model is called there; None where its adapter cannot be loaded and no model stands in for it."""
    if call.adapter is not None and config.preset.loads_adapters:
        return call.model
    return config.spec.models.get(base, None if call.adapter is not None else call.model)


class _PublicResolver(ThreadedResolver):
    """Gives only names whose every address is of the public internet; aiohttp calls the address that was judged."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await super().resolve(host, port, family)
        try:
            check_public(host, [one["host"] for one in found])
        except AddressRefused as error:
            raise OSError(str(error)) from error
        return found


@asynccontextmanager
async def open_backends(config: BackendsConfig, limits: Limits, *, allow_private: bool) -> AsyncIterator[Backends]:
    """The backends, ready to be asked, until the end of the block.

    Raises:
        SettingsInvalid: a provider outside whose address is a number of a private network.
    """
    nobodys = aiohttp.DummyCookieJar()  # what one tenant's answer sets must not go out with another's request
    near = aiohttp.TCPConnector(limit=limits.connections)
    judged = aiohttp.TCPConnector(limit=limits.connections, resolver=None if allow_private else _PublicResolver())
    async with (
        aiohttp.ClientSession(connector=near, cookie_jar=nobodys, trust_env=False) as ours,
        aiohttp.ClientSession(connector=judged, cookie_jar=nobodys, trust_env=False) as outside,
    ):
        backends: dict[str, Backend] = {}
        for name, one in config.backends.items():
            if one.preset.is_hosted and not allow_private:
                _check_literals(one)
            backends[name] = Backend(one, outside if one.preset.is_hosted else ours, limits)
        yield Backends(config, backends)


def _check_literals(config: BackendConfig) -> None:
    for url in config.spec.addresses:
        host = urlsplit(url).hostname or ""
        try:
            check_public(host, [str(ipaddress.ip_address(host))])
        except AddressRefused as error:
            raise SettingsInvalid(f"backends.{config.name}: {error}") from error
        except ValueError:  # a name, which the resolver judges
            continue
