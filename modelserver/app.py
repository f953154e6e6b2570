"""The HTTP face of the engine: OpenAI's chat completions, models, and vLLM's runtime adapter calls."""

import asyncio
import hmac
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from modelserver.engine import Engine, Job, UnknownModel
from ratchet.errors import BadInput, RatchetError

MOST_BODY_BYTES = 4 << 20


class ChatMessage(BaseModel):
    """One message of a conversation; only text is understood."""

    role: Literal["system", "user", "assistant", "developer", "tool"]
    content: str


class StreamOptions(BaseModel):
    """What a stream ends with."""

    include_usage: bool = False


class ChatRequest(BaseModel):
    """What is understood of OpenAI's request; parameters that would change the answer and are not are refused."""

    model_config = ConfigDict(extra="ignore")

    model: str
    messages: list[ChatMessage] = Field(min_length=1, max_length=2000)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float = Field(default=1.0, ge=0, le=2)
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    response_format: dict[str, Any] | None = None
    n: Literal[1] = 1
    logprobs: Literal[False, None] = None
    tools: None = None
    top_p: float | None = Field(default=None, gt=0, le=1)


class AdapterRequest(BaseModel):
    """vLLM's request to load or unload an adapter."""

    lora_name: str = Field(min_length=1, max_length=200)
    lora_path: str | None = None


def create_app(engine: Engine, *, key: str | None = None) -> FastAPI:
    """The application; `key` is the bearer token that loading and unloading adapters asks for."""
    app = FastAPI(title="Ratchet model server", docs_url=None, redoc_url=None, openapi_url=None)
    _handle_errors(app)

    @app.get("/health")
    async def health() -> Response:
        return Response(status_code=200 if engine.is_alive else 503)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        with engine.lock:
            names = list(engine.models)
        return {"object": "list", "data": [_model_card(name, engine) for name in sorted(names)]}

    @app.post("/v1/chat/completions")
    async def chat(request: ChatRequest) -> Response:
        if not engine.is_alive:
            return _error(503, "the engine has stopped; restart the model server", "server_error")
        return await _chat(engine, request)

    _route_adapters(app, engine, key)

    @app.middleware("http")
    async def limit_body(request: Request, call_next: Callable[[Request], Any]) -> Any:
        if int(request.headers.get("content-length") or 0) > MOST_BODY_BYTES:
            return _error(413, f"the body is larger than {MOST_BODY_BYTES} bytes", "BadRequestError")
        return await call_next(request)

    return app


def _route_adapters(app: FastAPI, engine: Engine, key: str | None) -> None:
    @app.post("/v1/load_lora_adapter")
    async def load(request: AdapterRequest, http: Request) -> Response:
        if not _has_key(http, key):
            return _error(401, "loading an adapter needs the model server's key", "authentication_error")
        if not request.lora_path:
            return _error(400, "lora_path is missing", "BadRequestError")
        await asyncio.to_thread(engine.load_adapter, request.lora_name, Path(request.lora_path))
        return PlainTextResponse(f"Success: LoRA adapter '{request.lora_name}' added successfully.")

    @app.post("/v1/unload_lora_adapter")
    async def unload(request: AdapterRequest, http: Request) -> Response:
        if not _has_key(http, key):
            return _error(401, "unloading an adapter needs the model server's key", "authentication_error")
        engine.unload_adapter(request.lora_name)
        return PlainTextResponse(f"Success: LoRA adapter '{request.lora_name}' removed successfully.")


async def _chat(engine: Engine, request: ChatRequest) -> Response:
    job = _job(engine, request)
    ident = f"chatcmpl-{uuid.uuid4().hex}"
    loop = asyncio.get_running_loop()
    if request.stream:
        updates: asyncio.Queue[list[int] | None] = asyncio.Queue()
        job.on_token = lambda tokens: loop.call_soon_threadsafe(updates.put_nowait, list(tokens))
        job.on_done = lambda: loop.call_soon_threadsafe(updates.put_nowait, None)
        engine.submit(job)
        return StreamingResponse(_stream(engine, request, job, ident, updates), media_type="text/event-stream")
    finished = asyncio.Event()
    job.on_done = lambda: loop.call_soon_threadsafe(finished.set)
    engine.submit(job)
    try:
        await finished.wait()
    except asyncio.CancelledError:
        job.is_cancelled = True
        raise
    if job.error is not None:
        raise job.error
    message = {"role": "assistant", "content": _text(engine, job)}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": job.finish_reason}
    return JSONResponse(
        {**_envelope(ident, "chat.completion", request.model), "choices": [choice], "usage": _usage(job)}
    )


async def _stream(
    engine: Engine, request: ChatRequest, job: Job, ident: str, updates: asyncio.Queue[list[int] | None]
) -> AsyncIterator[str]:
    head = _envelope(ident, "chat.completion.chunk", request.model)

    def event(delta: dict[str, Any], reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return f"data: {json.dumps({**head, 'choices': [choice]}, ensure_ascii=False)}\n\n"

    try:
        yield event({"role": "assistant", "content": ""})
        sent = ""
        while (tokens := await updates.get()) is not None:
            text = _cut(engine.decode(tokens), job.stop)
            if len(text) > len(sent) and not text.endswith("\ufffd") and not _may_stop(text, job.stop):
                yield event({"content": text[len(sent) :]})
                sent = text
        if job.error is not None:
            yield f"data: {json.dumps(_error_body(str(job.error), 'server_error', 500))}\n\n"
            return
        rest = _text(engine, job)[len(sent) :]
        yield event({"content": rest} if rest else {}, job.finish_reason)
        if request.stream_options and request.stream_options.include_usage:
            yield f"data: {json.dumps({**head, 'choices': [], 'usage': _usage(job)})}\n\n"
        yield "data: [DONE]\n\n"
    finally:
        job.is_cancelled = True


def _job(engine: Engine, request: ChatRequest) -> Job:
    if request.top_p not in (None, 1.0) and request.temperature > 0:
        raise BadInput("top_p is not supported; leave it out")
    prompt, prefix = engine.encode([m.model_dump() for m in request.messages])
    room = engine.context - len(prompt)
    if room < 1:
        raise BadInput(f"the prompt has {len(prompt)} tokens; the model's context is {engine.context}")
    wanted = request.max_completion_tokens or request.max_tokens or room
    stop = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
    return Job(
        model=request.model,
        prompt=prompt,
        prefix=prefix,
        max_tokens=min(wanted, room),
        temperature=request.temperature,
        seed=request.seed,
        stop=tuple(text for text in stop if text),
        cursor=_cursor(engine, request.response_format),
    )


def _cursor(engine: Engine, wanted: dict[str, Any] | None) -> Any:
    kind = (wanted or {}).get("type", "text")
    if kind == "text":
        return None
    if kind != "json_schema":
        raise BadInput(f"response_format type {str(kind)[:40]!r} is not supported; give a json_schema")
    schema = ((wanted or {}).get("json_schema") or {}).get("schema")
    return engine.cursor(schema)


def _text(engine: Engine, job: Job) -> str:
    return _cut(engine.decode(job.tokens), job.stop)


def _cut(text: str, stop: tuple[str, ...]) -> str:
    found = [text.index(s) for s in stop if s in text]
    return text[: min(found)] if found else text


def _may_stop(text: str, stop: tuple[str, ...]) -> bool:
    """Whether the text ends with the beginning of a stop text, so that its end must be held back."""
    return any(text.endswith(s[:i]) for s in stop for i in range(1, len(s)))


def _envelope(ident: str, kind: str, model: str) -> dict[str, Any]:
    return {"id": ident, "object": kind, "created": int(time.time()), "model": model}


def _usage(job: Job) -> dict[str, int]:
    read, written = len(job.prompt), len(job.tokens)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _model_card(name: str, engine: Engine) -> dict[str, Any]:
    is_base = name == engine.name
    parent = None if is_base else engine.name
    return {"id": name, "object": "model", "created": 0, "owned_by": "ratchet", "root": name, "parent": parent}


def _has_key(request: Request, key: str | None) -> bool:
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    return key is None or hmac.compare_digest(given.encode(), key.encode())


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> Response:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"] if part != "body")
        return _error(400, f"{where}: {problem['msg']}", "BadRequestError")

    @app.exception_handler(UnknownModel)
    async def unknown(_: Request, error: UnknownModel) -> Response:
        return _error(404, str(error), "NotFoundError")

    @app.exception_handler(RatchetError)
    async def refused(_: Request, error: RatchetError) -> Response:
        return _error(400, str(error), "BadRequestError")


def _error(status: int, message: str, kind: str) -> JSONResponse:
    return JSONResponse(_error_body(message, kind, status), status_code=status)


def _error_body(message: str, kind: str, status: int) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": status}}
