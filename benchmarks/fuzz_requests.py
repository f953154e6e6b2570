"""Requests that no client should send, over raw sockets: every route, broken JSON, wrong types, depth, odd headers.

`python -m benchmarks.fuzz_requests URL N` sends N to a gateway and prints the statuses.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import re
import sys
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

from tests.spoil import SECRET, damaged, spoiled

AT_ONCE = 8
PATIENCE_S, ANSWER_S = 1.0, 60.0
CLOSED, SILENT = "closed", "silent"  # the connection ended without an answer; no answer came in time
LENGTH = re.compile(rb"(?i)\r\ncontent-length: (\d+)")
ROUTES = (
    ("POST", "/v1/chat/completions"), ("POST", "/v1/embeddings"), ("POST", "/v1/feedback"), ("POST", "/v1/helpdesk"),
    ("POST", "/v1/traces"), ("GET", "/v1/decide"), ("GET", "/v1/models"), ("GET", "/v1/prompts"), ("GET", "/metrics"),
    ("GET", "/healthz"), ("GET", "/readyz"),
)  # fmt: skip
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "BREW", "get")
PATHS = ("/", "//", "/v1/../v1/models", "/v1/models/%00", "/v1/models?a=%ff", "*", "/" + "a" * 5000, "/v1/%2e%2e/x")
QUERIES = (
    "", "?feature=helping&user=u1", "?feature=helping", "?feature=../../x&user=u", "?user=u&feature=%00", "?feature=" +
    "x" * 3000, "?feature=helping&user=u&tenant=%F0%9F%92%A5&segment=..%2F", "?feature=helping&user=%ff&tenant=a@b",
)  # fmt: skip
HEADERS = (
    "Authorization: Bearer rk_" + "x" * 60, "Authorization: \xff\xfe", "Authorization: Bearer", "X-Api-Key: rk_",
    "Content-Encoding: gzip", "Content-Encoding: br", "Content-Type: application/x-protobuf", "Content-Type: \x01",
    "Content-Type: text/plain; charset=nonsense", "Origin: http://evil.example", "Origin: null", "Origin: http://[::1",
    "Host: evil.example", "Host: [::1", "Host: 127.0.0.1:99999", "Expect: 100-continue", "Connection: upgrade",
    "Upgrade: websocket", "X-Ratchet-Timestamp: yesterday", "X-Ratchet-Signature: 00", "Accept: \xf0\x9f\x92\xa5",
    "X-Long: " + "y" * 9000, "Cookie: " + "a=b; " * 500, "Content-Length: -1", "Transfer-Encoding: chunked",
    "No colon here", "Range: bytes=0-", "Accept-Encoding: gzip;q=NaN", "X-Forwarded-For: 1.2.3.4, ::::",
)  # fmt: skip
SOUND: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "model": "helping", "user": "u1", "stream": False, "n": 1, "temperature": 0.5, "tools": [], "logprobs": True,
        "stream_options": {"include_usage": True}, "response_format": {"type": "json_object"},
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": SECRET}]},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function"}]},
            {"role": "user", "content": SECRET},
        ],
        "ratchet": {
            "session": "s1", "segment": "eu", "tenant": "default", "consent": True, "variables": {"name": SECRET},
            "contexts": [{"id": "c", "text": SECRET}],
        },
    },
    "/v1/embeddings": {"model": "tiny", "input": ["a", SECRET], "dimensions": 3, "ratchet": {"tenant": "default"}},
    "/v1/feedback": {
        "interaction_id": "chatcmpl-int_0", "kind": "thumb", "value": True, "comment": SECRET, "feedback_id": "f1",
        "source": {"type": "user", "id": "u1"}, "user": "u1", "tenant": "default",
    },
    "/v1/helpdesk": {"receipt": "chatcmpl-int_0", "sent": SECRET, "label": "x", "agent": "a", "ticket": 1},
    "/v1/traces": {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "0" * 32, "spanId": "1" * 16,
        "name": "chat", "attributes": [{"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}}]}]}]}]},
}  # fmt: skip
TEXTS = (
    "\u202e\u2066",
    "\U0001f4a5" * 300,
    "a\u0300" * 500,
    "\ufeff",
    "{{7*7}}${jndi:x}",
    "' OR 1=1--",
    "\r\nX: y",
    "../" * 40,
)


def fuzzed(draw: random.Random, receipts: list[str]) -> bytes:
    """One request. `receipts` are of sound answers, so that feedback gets beyond its first check."""
    method, path = draw.choice(ROUTES)
    body = b""
    if path in SOUND:
        body = _body(dict(SOUND[path]), draw, receipts)
    if draw.random() < 0.08:
        method = draw.choice(METHODS)
    if draw.random() < 0.05:
        path = draw.choice(PATHS)
    if path == "/v1/decide" or draw.random() < 0.05:
        path += draw.choice(QUERIES)
    headers = {"Host": "127.0.0.1", "Content-Type": "application/json", "Connection": "close"}
    if body or method != "GET":
        headers["Content-Length"] = str(len(body))
    lines = [f"{name}: {value}" for name, value in headers.items()]
    if draw.random() < 0.3:
        lines += draw.sample(HEADERS, draw.randint(1, 3))
    if draw.random() < 0.02:
        body = gzip.compress(body)
    head = f"{method} {path} HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n"
    return head.encode("latin-1") + body


def _body(document: dict[str, Any], draw: random.Random, receipts: list[str]) -> bytes:
    if receipts and "interaction_id" in document:
        document["interaction_id"] = draw.choice(receipts)
        document["feedback_id"] = f"f{draw.randrange(10**9)}"
        document["kind"] = draw.choice(["thumb", "rating", "correction", "preference", "comment", "accept", "x"])
        document["value"] = draw.choice([True, 0.5, "text", {"chosen": "a", "rejected": "b"}, [], 7])
    if "messages" in document:
        document["stream"] = draw.random() < 0.3
        document["messages"] = document["messages"] * draw.choice([1, 1, 1, 1, 90])
    if draw.random() < 0.1:
        document["user"] = draw.choice(TEXTS)
    if draw.random() < 0.01:
        return b'{"model": "helping", "messages": "' + b"x" * (1 << 20) + b'"}'
    sound = json.dumps(document).encode()
    kind = draw.random()
    if kind < 0.15:
        return sound
    return damaged(sound, draw) if kind < 0.3 else spoiled(document, draw, damage=0.15)


async def send_all(url: str, requests: list[bytes]) -> Counter[str]:
    """Send requests, a few at once, each on a connection of its own; the statuses by how often they came."""
    found: Counter[str] = Counter()
    waiting = iter(requests)

    async def work() -> None:
        for request in waiting:
            found[await _send(url, request)] += 1

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return found


async def _send(url: str, request: bytes) -> str:
    parts = urlsplit(url)
    try:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            writer.write(request)
            try:
                return await asyncio.wait_for(_status(reader), PATIENCE_S)
            except TimeoutError:  # it may wait for more of the body, as the request says: it is told that none comes
                writer.write_eof()
                return await asyncio.wait_for(_status(reader), ANSWER_S)
        finally:
            writer.close()
    except (ConnectionError, asyncio.IncompleteReadError):
        return CLOSED
    except TimeoutError:
        return SILENT


async def _status(reader: asyncio.StreamReader) -> str:
    """The status of an answer that came whole."""
    status = 100
    while status == 100:
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(None, 2)[1])
    length = LENGTH.search(head)
    body = await reader.readexactly(int(length[1])) if length else await reader.read(-1)
    return "traceback" if b"Traceback" in body else str(status)


def main() -> int:
    """Send and print."""
    url, n = sys.argv[1], int(sys.argv[2])
    draw = random.Random(1)
    sys.stdout.write(f"{dict(asyncio.run(send_all(url, [fuzzed(draw, []) for _ in range(n)])))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
