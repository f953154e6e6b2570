"""The HTTP face of the engine: OpenAI's chat completions and models, and vLLM's runtime adapter calls."""

import asyncio
import contextlib
import hmac
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from modelserver import generation
from modelserver.chat import ChatRequest, LoadAdapter, UnloadAdapter, parse, understand
from modelserver.engine import Engine
from modelserver.errors import EngineStopped, Overloaded, UnknownModel
from modelserver.generation import Delta, Event, Failed, Finished
from ratchet.errors import BadInput, RatchetError

MOST_BODY_BYTES = 4 << 20
LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
KINDS = {400: "BadRequestError", 401: "AuthenticationError", 404: "NotFoundError", 413: "BadRequestError"}


def create_app(engine: Engine, *, key: str | None = None, hosts: frozenset[str] | None = None) -> FastAPI:
    """The application.

    Args:
        engine: answers.
        key: the bearer token that loading and unloading adapters asks for; None asks for none.
        hosts: the names a request may address the server by, so that no web page can reach it under a name of its own;
            None takes any.
    """
    app = FastAPI(title="Ratchet model server", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.engine, app.state.key, app.state.hosts = engine, key, hosts
    app.add_api_route("/health", _health, methods=["GET"])
    app.add_api_route("/v1/models", _models, methods=["GET"])
    app.add_api_route("/v1/chat/completions", _chat, methods=["POST"], response_model=None)
    app.add_api_route("/v1/load_lora_adapter", _load, methods=["POST"])
    app.add_api_route("/v1/unload_lora_adapter", _unload, methods=["POST"])
    app.add_exception_handler(RatchetError, _refused)
    app.add_exception_handler(HTTPException, _http_error)
    return app


async def _health(request: Request) -> Response:
    return Response(status_code=200 if _engine(request).is_alive else 503)


async def _models(request: Request) -> Response:
    _check_host(request)
    engine = _engine(request)
    cards = [_card(name, path, engine.name) for name, path in sorted(engine.models().items())]
    return JSONResponse({"object": "list", "data": cards})


async def _load(request: Request) -> Response:
    _check_key(request)
    asked = parse(LoadAdapter, await _read(request))
    path = Path(asked.lora_path)
    if not path.is_absolute():
        raise BadInput("lora_path: give an absolute path")
    await asyncio.to_thread(_engine(request).load_adapter, asked.lora_name, path)
    return PlainTextResponse(f"Success: LoRA adapter '{asked.lora_name}' added successfully.")


async def _unload(request: Request) -> Response:
    _check_key(request)
    asked = parse(UnloadAdapter, await _read(request))
    await asyncio.to_thread(_engine(request).unload_adapter, asked.lora_name)
    return PlainTextResponse(f"Success: LoRA adapter '{asked.lora_name}' removed successfully.")


async def _chat(request: Request) -> Response:
    engine = _engine(request)
    chat = parse(ChatRequest, await _read(request))
    asked = await asyncio.to_thread(understand, engine, chat)
    events: asyncio.Queue[Event] = asyncio.Queue()
    ticket = engine.submit(asked, _deliver(asyncio.get_running_loop(), events))
    answer = _Answer(f"chatcmpl-{uuid.uuid4().hex}", chat.model, int(time.time()))
    if chat.stream:
        wants_usage = bool(chat.stream_options and chat.stream_options.include_usage)
        stream = _stream(answer, events, ticket.cancel, wants_usage=wants_usage)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
    gone = asyncio.ensure_future(_disconnected(request))
    last = asyncio.ensure_future(_last(events))
    try:
        await asyncio.wait((gone, last), return_when=asyncio.FIRST_COMPLETED)
        if not last.done():
            return Response(status_code=499)
        end = last.result()
        return _error(500, end.message) if isinstance(end, Failed) else JSONResponse(answer.whole(end))
    finally:
        ticket.cancel()
        gone.cancel()
        last.cancel()


async def _stream(
    answer: "_Answer", events: asyncio.Queue[Event], cancel: Callable[[], None], *, wants_usage: bool
) -> AsyncIterator[str]:
    try:
        yield answer.chunk({"role": "assistant", "content": ""})
        while isinstance(event := await events.get(), Delta):
            yield answer.chunk({"content": event.text})
        if isinstance(event, Failed):
            yield _sse(_error_body(500, event.message))
            return
        yield answer.chunk({}, event.reason)
        if wants_usage:
            yield answer.last_chunk(event)
        yield "data: [DONE]\n\n"
    finally:
        cancel()


class _Answer:
    """The documents of one answer."""

    def __init__(self, ident: str, model: str, created: int) -> None:
        self.head = {"id": ident, "created": created, "model": model}

    def whole(self, end: Finished) -> dict[str, Any]:
        message = {"role": "assistant", "content": end.text}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": end.reason}
        return {**self.head, "object": "chat.completion", "choices": [choice], "usage": _usage(end)}

    def chunk(self, delta: dict[str, str], reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return _sse({**self.head, "object": "chat.completion.chunk", "choices": [choice]})

    def last_chunk(self, end: Finished) -> str:
        return _sse({**self.head, "object": "chat.completion.chunk", "choices": [], "usage": _usage(end)})


def _deliver(loop: asyncio.AbstractEventLoop, events: asyncio.Queue[Event]) -> Callable[[Event], None]:
    def deliver(event: generation.Event) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(events.put_nowait, event)

    return deliver


async def _last(events: asyncio.Queue[Event]) -> Finished | Failed:
    while isinstance(event := await events.get(), Delta):
        pass
    return event


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _read(request: Request) -> bytes:
    """The body, within the limit. It must call itself JSON: a web page cannot send that to another server unasked."""
    _check_host(request)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise BadInput("the content type must be application/json")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_BODY_BYTES:
            raise HTTPException(413, f"the body is larger than {MOST_BODY_BYTES} bytes")
    return bytes(body)


def _engine(request: Request) -> Engine:
    engine = request.app.state.engine
    assert isinstance(engine, Engine)
    return engine


def _check_host(request: Request) -> None:
    hosts = request.app.state.hosts
    named = request.headers.get("host", "")
    name = named[: named.find("]") + 1] if named.startswith("[") else named.partition(":")[0]
    if hosts is not None and name.lower() not in hosts:
        raise BadInput("this server is not known by that host name; ask http://127.0.0.1")


def _check_key(request: Request) -> None:
    key = request.app.state.key
    given = request.headers.get("authorization", "")
    if key is not None and not hmac.compare_digest(given.encode(), f"Bearer {key}".encode()):
        raise HTTPException(401, "loading and unloading adapters asks for the model server's key as bearer token")


def _card(name: str, path: Path | None, base: str) -> dict[str, Any]:
    origin = {"root": name, "parent": None} if path is None else {"root": str(path), "parent": base}
    return {"id": name, "object": "model", "created": 0, "owned_by": "ratchet", **origin}


def _usage(end: Finished) -> dict[str, Any]:
    return {
        "prompt_tokens": end.prompt_tokens,
        "completion_tokens": end.completion_tokens,
        "total_tokens": end.prompt_tokens + end.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": end.cached_tokens},
    }


def _sse(document: dict[str, Any]) -> str:
    return f"data: {json.dumps(document, ensure_ascii=False)}\n\n"


async def _refused(_: Request, error: Exception) -> Response:
    statuses: dict[type[Exception], int] = {UnknownModel: 404, Overloaded: 503, EngineStopped: 503}
    return _error(statuses.get(type(error), 400 if isinstance(error, BadInput) else 500), str(error))


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, str(error.detail))


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse(_error_body(status, message), status_code=status)


def _error_body(status: int, message: str) -> dict[str, Any]:
    kind = KINDS.get(status, "BadRequestError" if status < 500 else "InternalServerError")
    return {"error": {"message": message, "type": kind, "param": None, "code": status}}
