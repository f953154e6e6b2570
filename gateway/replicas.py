"""The replicas of one backend: the least busy is asked, tries that break are made again, adapters load on demand."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import aiohttp
import orjson
import structlog

from gateway.breaker import Breaker
from gateway.limits import Limits
from gateway.refusals import BackendFailed
from ratchet.presets import BackendConfig

logger = structlog.get_logger("gateway")
T = TypeVar("T")
PAUSE_S = (0.05, 0.25)  # before a retry, drawn at random, so that callers do not come back all at once
CHAT = "/chat/completions"


class Ask(NamedTuple):
    """One request to a backend; `adapter` is the folder of the model's weights where it is a LoRA adapter."""

    path: str
    model: str
    body: dict[str, Any]
    adapter: Path | None = None
    is_mirrored: bool = False

    @property
    def breaker(self) -> str:
        """Whose breaker it is: a prompt on trial shares its model with the users' release, but not its failures."""
        return f"mirrored {self.model}" if self.is_mirrored else self.model


class Replica:
    """One address. A breaker per model: a release that fails must not shut out the others."""

    def __init__(self, address: str, limits: Limits) -> None:
        self.address = address
        self.in_flight = 0
        self.breakers: dict[str, Breaker] = defaultdict(lambda: Breaker(limits.breaker_failures, limits.breaker_open_s))
        self.loading: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)


class Opened:
    """A begun stream, which its reader must close; until then its replica counts as busy with it."""

    def __init__(self, response: aiohttp.ClientResponse, replica: Replica, model: str) -> None:
        self.response = response
        self._replica = replica
        self._model = model
        self._is_open = True
        replica.in_flight += 1

    def lost(self) -> None:
        """Count a stream that broke in the middle."""
        self._replica.breakers[self._model].failed()

    def close(self, *, is_finished: bool = False) -> None:
        """Give a finished stream's connection back; break any other off, so that its model stops writing for nobody."""
        if self._is_open:
            self._is_open = False
            self._replica.in_flight -= 1
            if is_finished:
                self.response.release()
            else:
                self.response.close()


class Backend:
    """One OpenAI-compatible server, once or several times."""

    def __init__(self, config: BackendConfig, session: aiohttp.ClientSession, limits: Limits) -> None:
        self.config = config
        self._session = session
        self._limits = limits
        self._headers = config.headers()
        limit_s = config.spec.timeout_s or limits.try_s
        self._whole = aiohttp.ClientTimeout(total=limit_s, sock_connect=limits.connect_s)
        self._silence = aiohttp.ClientTimeout(total=None, sock_connect=limits.connect_s, sock_read=limit_s)
        self._replicas = [Replica(address, limits) for address in config.spec.addresses]

    async def complete(self, ask: Ask) -> dict[str, Any]:
        """The whole answer, as JSON.

        Raises:
            BackendFailed: after retries where those could help; 503 with Retry-After while every breaker is open.
        """
        return await self._ask(ask, self._whole, _read_json)

    async def open_stream(self, ask: Ask) -> Opened:
        """A begun stream.

        Raises:
            BackendFailed: as for `complete`; once the stream has begun nothing is tried again.
        """

        async def take(response: aiohttp.ClientResponse, replica: Replica) -> Opened:
            return Opened(response, replica, ask.breaker)

        return await self._ask(ask, self._silence, take)

    async def is_reachable(self, timeout_s: float) -> bool:
        """Whether one of its replicas says that it is well; a provider outside is not asked and counts as there."""
        health = self.config.preset.health
        if health is None:
            return True
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        for replica in self._replicas:
            try:
                async with self._session.get(replica.address + health, timeout=timeout) as response:
                    if response.status == 200:
                        return True
            except (aiohttp.ClientError, TimeoutError):
                continue
        return False

    async def _ask(
        self,
        ask: Ask,
        timeout: aiohttp.ClientTimeout,
        take: Callable[[aiohttp.ClientResponse, Replica], Awaitable[T]],
    ) -> T:
        last: Replica | None = None
        for left in range(self.config.spec.retries, -1, -1):
            replica = self._choose(ask.breaker, last)
            replica.in_flight += 1
            try:
                answer = await self._try(replica, ask, timeout, take)
            except BackendFailed as failure:
                logger.warning(
                    "backend_failed", backend=self.config.name, model=ask.model, code=failure.code, tries_left=left
                )
                if failure.is_its_fault and not (failure.is_retryable and left and len(self._replicas) == 1):
                    replica.breakers[ask.breaker].failed()
                if not failure.is_retryable or not left:
                    raise
                last = replica
            else:
                replica.breakers[ask.breaker].succeeded()
                return answer
            finally:
                replica.in_flight -= 1
            await asyncio.sleep(random.uniform(*PAUSE_S))
        raise AssertionError("the last try returns or raises")

    def _choose(self, model: str, failed: Replica | None) -> Replica:
        """The least busy replica that may be asked, another one than just failed where there is one."""
        waits: list[float] = []
        order = sorted(self._replicas, key=lambda r: (r is failed, r.in_flight, random.random()))
        for replica in order:
            wait_s = replica.breakers[model].wait_s()
            if not wait_s:
                return replica
            waits.append(wait_s)
        message = f"{model} failed {self._limits.breaker_failures} times in a row and is not asked for a while"
        raise BackendFailed(503, "breaker_open", message, retry_after_s=min(waits))

    async def _try(
        self,
        replica: Replica,
        ask: Ask,
        timeout: aiohttp.ClientTimeout,
        take: Callable[[aiohttp.ClientResponse, Replica], Awaitable[T]],
    ) -> T:
        url = self.config.url(replica.address, ask.path, ask.model)
        body = orjson.dumps(self.config.body(ask.body, ask.model))
        try:
            response = await self._post(url, body, timeout, self._headers)
            if response.status == 404 and ask.adapter is not None:  # never loaded, or the server was restarted
                response.release()
                await self._load(replica, ask.model, ask.adapter)
                response = await self._post(url, body, timeout, self._headers)
            if response.status != 200:
                raise await _refused(response, ask.model)
            return await take(response, replica)
        except TimeoutError as error:
            raise BackendFailed(504, "backend_timeout", f"{ask.model} gave no answer in time") from error
        except aiohttp.ClientConnectorError as error:
            start = "; start it with `make up` or `python -m modelserver`" if self.config.preset.loads_adapters else ""
            message = f"the model server {replica.address} does not answer{start}"
            raise BackendFailed(502, "backend_unreachable", message, is_retryable=True) from error
        except aiohttp.ClientError as error:
            message = f"the model server {replica.address} broke the connection ({type(error).__name__})"
            raise BackendFailed(502, "backend_broke_off", message, is_retryable=True) from error

    async def _load(self, replica: Replica, name: str, adapter: Path) -> None:
        """Load an adapter; one at a time per adapter, and one that is there already is fine."""
        async with replica.loading[name]:
            timeout = aiohttp.ClientTimeout(total=self._limits.load_s, sock_connect=self._limits.connect_s)
            body = orjson.dumps({"lora_name": name, "lora_path": str(adapter)})
            key = self.config.adapter_key
            headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
            response = await self._post(f"{replica.address}/v1/load_lora_adapter", body, timeout, headers)
            said = (await response.read())[:2000]
        if response.status == 200 or (response.status == 400 and b"already" in said):
            logger.info("adapter_loaded", model=name)
            return
        message = f"the model server refused to load the adapter of {name} (HTTP {response.status})"
        raise BackendFailed(502, "adapter_refused", message)

    async def _post(
        self, url: str, body: bytes, timeout: aiohttp.ClientTimeout, headers: dict[str, str]
    ) -> aiohttp.ClientResponse:
        return await self._session.post(url, data=body, headers=headers, timeout=timeout, allow_redirects=False)


async def _read_json(response: aiohttp.ClientResponse, _: Replica) -> dict[str, Any]:
    try:
        document = orjson.loads(await response.read())
    except orjson.JSONDecodeError as error:
        raise BackendFailed(502, "backend_answer", "the model server's answer is not JSON") from error
    if not isinstance(document, dict):
        raise BackendFailed(502, "backend_answer", "the model server's answer is not a JSON object")
    return document


async def _refused(response: aiohttp.ClientResponse, model: str) -> BackendFailed:
    """What a status other than 200 means. Its text is left out: it may quote what a user wrote."""
    code = _code_of(await response.read())
    status = response.status
    message = f"the model server answered HTTP {status} for {model}" + (f" ({code})" if code else "")
    if status >= 500:
        return BackendFailed(502, "backend_error", message, is_retryable=True)
    if status == 429:
        return BackendFailed(503, "backend_busy", message, is_its_fault=False, is_retryable=True, retry_after_s=1)
    if status in (404, 401, 403) or status < 400:
        return BackendFailed(502, "backend_refused", message)
    return BackendFailed(400, code or "backend_refused", message, is_its_fault=False)


def _code_of(body: bytes) -> str | None:
    try:
        code = orjson.loads(body)["error"]["code"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return code if isinstance(code, str) and code.replace("_", "").isalnum() and len(code) < 60 else None
