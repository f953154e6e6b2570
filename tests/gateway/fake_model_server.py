"""A fake model server on a real port that speaks OpenAI's protocol, streams and adapters included."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from aiohttp import web

CHAT_PATHS = (  # of OpenAI and those that copy its paths, of Gemini, of Azure
    "/v1/chat/completions",
    "/v1beta/openai/chat/completions",
    "/openai/deployments/{deployment}/chat/completions",
)


class FakeModelServer:
    """Answers by `reply`; `broken` gives a model a status instead, `cut_after` breaks streams after that many words."""

    def __init__(self, reply: Callable[[dict[str, Any]], str], *, base: str = "tiny", port: int = 0) -> None:
        self.reply = reply
        self.base = base
        self.port = port
        self.adapters: dict[str, str] = {}
        self.loads: list[tuple[dict[str, str], str | None]] = []
        self.bodies: list[dict[str, Any]] = []
        self.broken: dict[str, int] = {}
        self.cut_after: int | None = None
        self.delay_s = 0.0
        self.is_held: Callable[[dict[str, Any]], bool] = lambda body: False
        self.word_delay_s = 0.0
        self.streams_left = 0
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.tool_calls: list[Any] = []
        self.flagged: str | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> FakeModelServer:
        self._loop = asyncio.new_event_loop()
        is_up = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(is_up,))
        self._thread.start()
        assert is_up.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self, is_up: threading.Event) -> None:
        app = web.Application()
        app.router.add_get("/health", self._health)
        for path in CHAT_PATHS:
            app.router.add_post(path, self._chat)
        app.router.add_post("/v1/embeddings", self._embed)
        app.router.add_post("/v1/moderations", self._moderate)
        app.router.add_post("/v1/load_lora_adapter", self._load)
        runner = web.AppRunner(app, shutdown_timeout=0)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", self.port)
        self._loop.run_until_complete(site.start())
        self.port = runner.addresses[0][1]
        is_up.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _load(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.loads.append((body, request.headers.get("Authorization")))
        if body["lora_name"] in self.adapters:
            return _error(400, f"The lora adapter '{body['lora_name']}' has already been loaded.")
        self.adapters[body["lora_name"]] = body["lora_path"]
        return web.Response(text="Success: LoRA adapter added successfully.")

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        self.asked.append((request.path_qs, dict(request.headers)))
        await asyncio.sleep(self.delay_s)
        while self.is_held(body):
            await asyncio.sleep(0.01)
        if status := self.broken.get(body["model"]):
            return _error(status, "broken on purpose: " + body["messages"][-1]["content"])
        if body["model"] != self.base and body["model"] not in self.adapters:
            return _error(404, f"The model `{body['model']}` does not exist.")
        said = self.reply(body)
        if body.get("stream"):
            return await self._stream(request, body, said)
        message: dict[str, Any] = {"role": "assistant", "content": said}
        if calls := self._calls(body):
            message = {"role": "assistant", "content": None, "tool_calls": calls}
        end = "tool_calls" if calls else "stop"
        logprobs = {"content": [{"token": said, "logprob": -0.1}]} if body.get("logprobs") else None
        choices = [
            {"index": number, "message": message, "finish_reason": end, "logprobs": logprobs}
            for number in range(body.get("n") or 1)
        ]
        return web.json_response(_head(body, "chat.completion") | {"choices": choices, "usage": _usage(body, said)})

    def _calls(self, body: dict[str, Any]) -> list[Any]:
        return self.tool_calls if body.get("tools") else []

    async def _moderate(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.bodies.append(body)
        flags = [self.flagged is not None and self.flagged in text for text in body["input"]]
        results = [{"flagged": flag, "categories": {str(self.flagged): flag}} for flag in flags]
        return web.json_response({"id": "m1", "model": body["model"], "results": results})

    async def _embed(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.bodies.append(body)
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        vectors: list[Any] = [[float(len(str(text))), 1.0] for text in texts]
        if body.get("encoding_format") == "base64":  # what OpenAI's SDKs ask for unless told otherwise
            vectors = [base64.b64encode(struct.pack("<2f", *vector)).decode() for vector in vectors]
        data = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(vectors)]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return web.json_response({"object": "list", "data": data, "model": body["model"], "usage": usage})

    async def _stream(self, request: web.Request, body: dict[str, Any], said: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        head = _head(body, "chat.completion.chunk")
        calls = self._calls(body)
        words = [] if calls else said.split(" ")
        try:
            for number, call in enumerate(calls):
                for part in _in_parts(call):
                    delta = {"role": "assistant", "tool_calls": [{"index": number, **part}]}
                    await _send(response, head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
            for number, word in enumerate(words):
                if number == self.cut_after:
                    assert request.transport is not None
                    request.transport.abort()
                    return response
                text = word if number == 0 else " " + word
                choice: dict[str, Any] = {
                    "index": 0,
                    "delta": {"role": "assistant", "content": text},
                    "finish_reason": None,
                }
                await _send(response, head | {"choices": [choice]})
                await asyncio.sleep(self.word_delay_s)
            choice = {"index": 0, "delta": {}, "finish_reason": "tool_calls" if calls else "stop"}
            await _send(response, head | {"choices": [choice]})
            if (body.get("stream_options") or {}).get("include_usage"):
                await _send(response, head | {"choices": [], "usage": _usage(body, said)})
            await response.write(b"data: [DONE]\n\n")
        except ConnectionError:
            self.streams_left += 1
        return response


def _in_parts(call: dict[str, Any]) -> list[dict[str, Any]]:
    """A tool call as OpenAI streams it: its name first, then its arguments in pieces."""
    name, arguments = call["function"]["name"], call["function"]["arguments"]
    pieces = [{"function": {"arguments": arguments[at : at + 4]}} for at in range(0, len(arguments), 4)]
    return [call | {"function": {"name": name, "arguments": ""}}, *pieces]


async def _send(response: web.StreamResponse, document: dict[str, Any]) -> None:
    await response.write(b"data: " + json.dumps(document).encode() + b"\n\n")


def _head(body: dict[str, Any], kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-of-the-backend", "object": kind, "created": 1, "model": body["model"]}


def _usage(body: dict[str, Any], said: str) -> dict[str, int]:
    texts = [m["content"] if isinstance(m.get("content"), str) else "" for m in body["messages"]]
    read = sum(len(text.split()) for text in texts)
    written = len(said.split())
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": "x", "code": status}}, status=status)
