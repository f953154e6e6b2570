"""The model server as the gateway sees it: tries, one retry, a breaker per model, adapters loaded on demand."""

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

logger = structlog.get_logger("gateway")
T = TypeVar("T")
PAUSE_S = (0.05, 0.25)  # before the retry, drawn at random, so that callers do not come back all at once


class Call(NamedTuple):
    """One request to a model; `adapter` is the folder of its weights where it is a LoRA adapter."""

    model: str
    body: dict[str, Any]
    adapter: Path | None


class ModelServer:
    """One OpenAI-compatible server. A breaker per model: a release that fails must not shut out the others."""

    def __init__(self, url: str, session: aiohttp.ClientSession, limits: Limits, key: str | None) -> None:
        """`key` is the bearer token of the adapter endpoints."""
        self.url = url
        self._session = session
        self._limits = limits
        self._load_headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._breakers: dict[str, Breaker] = defaultdict(
            lambda: Breaker(limits.breaker_failures, limits.breaker_open_s)
        )
        self._loading: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def complete(self, call: Call) -> dict[str, Any]:
        """The whole answer.

        Raises:
            BackendFailed: after a retry where that could help; 503 with Retry-After while the breaker is open.
        """
        timeout = aiohttp.ClientTimeout(total=self._limits.try_s, sock_connect=self._limits.connect_s)
        return await self._ask(call, timeout, _read_answer)

    async def open_stream(self, call: Call) -> aiohttp.ClientResponse:
        """A begun stream, which the caller must close.

        Raises:
            BackendFailed: as for `complete`; once the stream has begun nothing is retried.
        """
        silence = self._limits.try_s
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._limits.connect_s, sock_read=silence)
        return await self._ask(call, timeout, _keep_open)

    def lost_stream(self, model: str) -> None:
        """Count a stream that broke in the middle."""
        self._breakers[model].failed()

    async def is_reachable(self, timeout_s: float) -> bool:
        """Whether the server says that it is well."""
        try:
            async with self._session.get(
                f"{self.url}/health", timeout=aiohttp.ClientTimeout(total=timeout_s)
            ) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def _ask(
        self, call: Call, timeout: aiohttp.ClientTimeout, take: Callable[[aiohttp.ClientResponse], Awaitable[T]]
    ) -> T:
        breaker = self._breakers[call.model]
        if wait_s := breaker.wait_s():
            message = f"{call.model} failed {self._limits.breaker_failures} times in a row and is not asked for a while"
            raise BackendFailed(503, "breaker_open", message, retry_after_s=wait_s)
        for is_last in (False, True):
            try:
                answer = await self._try(call, timeout, take)
            except BackendFailed as failure:
                logger.warning("backend_failed", model=call.model, code=failure.code, is_last=is_last)
                if failure.is_retryable and not is_last:
                    await asyncio.sleep(random.uniform(*PAUSE_S))
                    continue
                if failure.is_its_fault:
                    breaker.failed()
                raise
            breaker.succeeded()
            return answer
        raise AssertionError("the last try returns or raises")

    async def _try(
        self, call: Call, timeout: aiohttp.ClientTimeout, take: Callable[[aiohttp.ClientResponse], Awaitable[T]]
    ) -> T:
        try:
            response = await self._post("/v1/chat/completions", call.body, timeout)
            if response.status == 404 and call.adapter is not None:  # never loaded, or the server was restarted
                response.release()
                await self._load(call.model, call.adapter)
                response = await self._post("/v1/chat/completions", call.body, timeout)
            if response.status != 200:
                raise await _refused(response, call.model)
            return await take(response)
        except TimeoutError as error:
            raise BackendFailed(504, "backend_timeout", f"{call.model} gave no answer in time") from error
        except aiohttp.ClientConnectorError as error:
            message = f"the model server {self.url} does not answer; start it with `make up` or `python -m modelserver`"
            raise BackendFailed(502, "backend_unreachable", message, is_retryable=True) from error
        except aiohttp.ClientError as error:
            message = f"the model server {self.url} broke the connection ({type(error).__name__})"
            raise BackendFailed(502, "backend_broke_off", message, is_retryable=True) from error

    async def _load(self, name: str, adapter: Path) -> None:
        """Load an adapter; one at a time per adapter, and one that is there already is fine."""
        async with self._loading[name]:
            timeout = aiohttp.ClientTimeout(total=self._limits.load_s, sock_connect=self._limits.connect_s)
            body = {"lora_name": name, "lora_path": str(adapter)}
            response = await self._post("/v1/load_lora_adapter", body, timeout, self._load_headers)
            said = (await response.read())[:2000]
        if response.status == 200 or (response.status == 400 and b"already" in said):
            logger.info("adapter_loaded", model=name)
            return
        message = f"the model server refused to load the adapter of {name} (HTTP {response.status})"
        raise BackendFailed(502, "adapter_refused", message)

    async def _post(
        self, path: str, body: dict[str, Any], timeout: aiohttp.ClientTimeout, headers: dict[str, str] | None = None
    ) -> aiohttp.ClientResponse:
        sent = {"Content-Type": "application/json", **(headers or {})}
        return await self._session.post(self.url + path, data=orjson.dumps(body), headers=sent, timeout=timeout)


async def _read_answer(response: aiohttp.ClientResponse) -> dict[str, Any]:
    try:
        document = orjson.loads(await response.read())
        _ = document["choices"][0]["message"]["content"]
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError) as error:
        raise BackendFailed(502, "backend_answer", "the model server's answer is no chat completion") from error
    return dict(document)


async def _keep_open(response: aiohttp.ClientResponse) -> aiohttp.ClientResponse:
    return response


async def _refused(response: aiohttp.ClientResponse, model: str) -> BackendFailed:
    """What a status other than 200 means. Its text is left out: it may quote what a user wrote."""
    code = _code_of(await response.read())
    status = response.status
    message = f"the model server answered HTTP {status} for {model}" + (f" ({code})" if code else "")
    if status >= 500:
        return BackendFailed(502, "backend_error", message, is_retryable=True)
    if status in (404, 401, 403):
        return BackendFailed(502, "backend_refused", message)
    if status == 429:
        return BackendFailed(503, "backend_busy", message, is_its_fault=False, retry_after_s=1)
    return BackendFailed(400, code or "backend_refused", message, is_its_fault=False)


def _code_of(body: bytes) -> str | None:
    try:
        code = orjson.loads(body)["error"]["code"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return code if isinstance(code, str) and code.replace("_", "").isalnum() and len(code) < 60 else None
