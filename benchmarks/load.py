"""A trivial OpenAI-compatible upstream, and a client that loads any server; of raw asyncio, to cost little."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import NamedTuple
from urllib.parse import urlsplit

CHUNKS = 20
WORD = "word "


class Load(NamedTuple):
    """Seconds of each request, and of all of them together; `failed` are answers that were not 200."""

    latencies_s: list[float]
    seconds: float
    failed: int


class Upstream(asyncio.Protocol):
    """Answers each POST with one completion, or with a stream of 20 chunks where the body asks for one."""

    def __init__(self, delay_s: float = 0.0) -> None:
        """It answers `delay_s` after a request."""
        self._delay_s = delay_s

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self._transport = transport
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        """Answer every whole request that came."""
        self._rest += data
        while (split := self._rest.find(b"\r\n\r\n")) >= 0:
            head = self._rest[:split].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._rest) < split + 4 + length:
                return
            body, self._rest = self._rest[split + 4 : split + 4 + length], self._rest[split + 4 + length :]
            answer = STREAM if b'"stream":true' in body.replace(b" ", b"") else WHOLE
            if self._delay_s:
                asyncio.get_running_loop().call_later(self._delay_s, self._transport.write, answer)  # type: ignore[attr-defined]
            else:
                self._transport.write(answer)  # type: ignore[attr-defined]


def _whole() -> bytes:
    message = {"role": "assistant", "content": WORD * CHUNKS}
    usage = {"prompt_tokens": 12, "completion_tokens": CHUNKS, "total_tokens": 12 + CHUNKS}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = json.dumps(_head("chat.completion") | {"choices": [choice], "usage": usage}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def _stream() -> bytes:
    head = _head("chat.completion.chunk")
    deltas: list[tuple[dict[str, str], str | None]] = [({"role": "assistant", "content": WORD}, None)] * CHUNKS + [
        ({}, "stop")
    ]
    events = [head | {"choices": [{"index": 0, "delta": d, "finish_reason": end}]} for d, end in deltas]
    usage = {"prompt_tokens": 12, "completion_tokens": CHUNKS, "total_tokens": 12 + CHUNKS}
    lines = [json.dumps(event) for event in [*events, head | {"choices": [], "usage": usage}]] + ["[DONE]"]
    pieces = [f"data: {line}\n\n".encode() for line in lines]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunks
        + b"0\r\n\r\n"
    )


def _head(kind: str) -> dict[str, object]:
    return {"id": "chatcmpl-upstream", "object": kind, "created": 1, "model": "tiny"}


WHOLE, STREAM = _whole(), _stream()


async def load(url: str, body: bytes, *, concurrency: int, requests: int) -> Load:
    """POST the body again and again over `concurrency` connections that are kept."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    request = (
        f"POST {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer none\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    left = requests
    latencies: list[float] = []
    failed = 0

    async def work() -> None:
        nonlocal left, failed
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        while left > 0:
            left -= 1
            began = time.perf_counter()
            writer.write(request)
            is_well = await _read_answer(reader)
            latencies.append(time.perf_counter() - began)
            failed += not is_well
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    return Load(latencies, time.perf_counter() - began, failed)


async def _read_answer(reader: asyncio.StreamReader) -> bool:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b"transfer-encoding: chunked" in head:
        while True:
            size = int(await reader.readuntil(b"\r\n"), 16)
            await reader.readexactly(size + 2)
            if not size:
                break
    else:
        await reader.readexactly(int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]))
    return head.startswith(b"http/1.1 200")


async def _serve_upstream(port: int, delay_s: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Upstream(delay_s), "127.0.0.1", port)
    async with server:
        await server.serve_forever()


def pin(core: int) -> None:
    """Keep this process on one core, where there are several."""
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {core})


if __name__ == "__main__":
    pin(0)
    asyncio.run(_serve_upstream(int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0))
