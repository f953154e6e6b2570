"""Streams: the model server's events passed on one by one under our receipt, the end held back until it is on disk."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import aiohttp
import orjson
from starlette.responses import StreamingResponse
from starlette.types import Send

from gateway.guarding import guard_streamed
from gateway.parts import Parts
from gateway.refusals import BackendFailed, Refusal
from gateway.replicas import Opened
from gateway.turn import Heard, Turn

DONE = b"data: [DONE]\n\n"


class EventStream(StreamingResponse):
    """Closes its generator at once when the client has gone, so that the record is written and the model stops."""

    async def stream_response(self, send: Send) -> None:
        """Send until the end, or until the client's connection breaks."""
        try:
            await super().stream_response(send)
        finally:
            if isinstance(self.body_iterator, AsyncGenerator):
                await self.body_iterator.aclose()


async def relay(parts: Parts, turn: Turn, backend: Opened) -> AsyncGenerator[bytes, None]:
    """The events for the client.

    From the finish reason on they are held back until the interaction is stored: a client that has seen the end can
    rely on its receipt. A stream that breaks on either side is stored as far as it came, finish reason `aborted`.
    """
    heard = Heard()
    held: list[bytes] = []
    status = "aborted"
    is_handed_over = False
    try:
        async for chunks in _chunks(backend.response, parts.limits.line_bytes):
            ready: list[bytes] = []
            for chunk in chunks:
                heard.add(chunk)
                (held if heard.finish_reason is not None else ready).append(_event(turn, chunk))
            if event := b"".join(ready):  # what came together goes together: a write for each would cost the most
                yield event
        if heard.finish_reason is None:
            raise BackendFailed(502, "backend_broke_off", "the model server ended its stream before the answer did")
        await guard_streamed(parts, turn, heard.content or "")
        is_handed_over = True
        record = turn.stored = turn.record(heard)
        parts.quotas.spent(record)
        await parts.log.append(record)
        status = "200"
        backend.close(is_finished=True)
        yield b"".join(held) + DONE
    except Refusal as refusal:
        if isinstance(refusal, BackendFailed):
            backend.lost()
            parts.canaries.broke(turn)
        status = str(refusal.status)
        yield b"data: " + orjson.dumps(refusal.document()) + b"\n\n"
    finally:
        backend.close()
        if not is_handed_over:
            heard.finish_reason = "aborted"
            record = turn.record(heard)
            turn.stored = record if status == "aborted" else None
            parts.quotas.spent(record)
            parts.log.submit(record)
        parts.answered(turn, heard, status)


async def whole_as_events(turn: Turn, answer: dict[str, Any]) -> AsyncGenerator[bytes, None]:
    """A whole answer, stored already, for a client that asked for a stream: a chunk for each choice, and the end."""
    head = {"id": turn.receipt, "object": "chat.completion.chunk", "model": turn.feature}
    head["created"] = answer.get("created", 0)
    for choice in answer["choices"]:
        index, said = choice.get("index", 0), choice["message"]
        calls = [{**call, "index": place} for place, call in enumerate(said.get("tool_calls") or [])]
        delta = {"role": "assistant", "content": said.get("content")} | ({"tool_calls": calls} if calls else {})
        shared = {"index": index, "logprobs": choice.get("logprobs")}
        for piece in ({"delta": delta, "finish_reason": None}, {"delta": {}, "finish_reason": choice["finish_reason"]}):
            yield b"data: " + orjson.dumps(head | {"choices": [shared | piece]}) + b"\n\n"
    if turn.asked.stream_options is not None and turn.asked.stream_options.include_usage:
        yield b"data: " + orjson.dumps(head | {"choices": [], "usage": answer.get("usage")}) + b"\n\n"
    yield DONE


async def _chunks(backend: aiohttp.ClientResponse, line_bytes: int) -> AsyncGenerator[list[dict[str, Any]], None]:
    """The `data:` lines of each piece of the stream, parsed; an OpenAI server writes an event as one line."""
    rest = b""
    try:
        async for piece in backend.content.iter_any():
            *lines, rest = (rest + piece).split(b"\n")
            if len(rest) > line_bytes:
                raise BackendFailed(502, "backend_answer", f"the model server sent a line of over {line_bytes} bytes")
            found: list[dict[str, Any]] = []
            for line in lines:
                name, _, data = line.strip().partition(b":")
                if name == b"data" and data.strip() == b"[DONE]":
                    yield found
                    return
                if name == b"data":
                    found.append(_parse(data))
            yield found
    except (aiohttp.ClientError, TimeoutError) as error:
        message = f"the model server broke its stream off ({type(error).__name__})"
        raise BackendFailed(502, "backend_broke_off", message) from error


def _parse(data: bytes) -> dict[str, Any]:
    try:
        chunk = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BackendFailed(502, "backend_answer", "the model server sent an event that is not JSON") from error
    if not isinstance(chunk, dict) or "error" in chunk:
        raise BackendFailed(502, "backend_error", "the model server ended its stream with an error")
    return chunk


def _event(turn: Turn, chunk: dict[str, Any]) -> bytes:
    """A chunk for the client; nothing where it only held the usage that the client did not ask for."""
    options = turn.asked.stream_options
    is_usage_wanted = options is not None and options.include_usage
    usage = chunk.pop("usage", None)
    if not chunk.get("choices") and not is_usage_wanted:
        return b""
    if is_usage_wanted:
        chunk["usage"] = usage
    return b"data: " + orjson.dumps({**chunk, "id": turn.receipt, "model": turn.feature}) + b"\n\n"
