"""A Langfuse that holds what a test gives it and speaks the read side of its public API over HTTP."""

from __future__ import annotations

import base64
import json
import math
import threading
from collections.abc import Callable
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

Row = dict[str, Any]
KEYS = ("pk-lf-1", "sk-lf-1")


class FakeLangfuse:
    """Basic auth, pages with `meta`, time windows (from inclusive, to exclusive), order, names and trace ids.

    `failures` are answered first, one a request: (status, headers, body). `on_request` sees each path with its query.
    """

    def __init__(self) -> None:
        self.traces: list[Row] = []
        self.observations: list[Row] = []
        self.scores: list[Row] = []
        self.failures: list[tuple[int, dict[str, str], bytes]] = []
        self.on_request: Callable[[str, dict[str, str]], None] = lambda path, query: None
        self.raw: dict[str, bytes] = {}  # items that are sent as these bytes, by id
        self.asked: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _answer_for(self))
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def add(self, exported: Row) -> None:
        """Take a trace as Langfuse exports it, with its observations and scores inside."""
        trace = exported["trace"]
        self.observations += exported["observations"]
        self.scores += [s | {"traceId": trace["id"]} for s in trace["scores"]]
        self.traces.append(trace)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def page(self, what: str, query: dict[str, str]) -> bytes:
        """A page of a list as the API gives it."""
        found = sorted(self._select(what, query), key=_time, reverse=what == "scores")
        page, limit = int(query.get("page", 1)), int(query.get("limit", 50))
        shown = found[(page - 1) * limit : page * limit]
        meta = {"page": page, "limit": limit, "totalItems": len(found), "totalPages": math.ceil(len(found) / limit)}
        if what == "traces":  # a list of traces names what is inside them only
            ids = {row["id"]: [o["id"] for o in self.observations if o["traceId"] == row["id"]] for row in shown}
            shown = [row | {"observations": ids[row["id"]], "scores": []} for row in shown]
        texts = [self._text(row) for row in shown]
        return b'{"data":[' + b",".join(texts) + b'],"meta":' + json.dumps(meta).encode() + b"}"

    def _select(self, what: str, query: dict[str, str]) -> list[Row]:
        rows: list[Row] = getattr(self, what)
        if "fromTimestamp" in query:
            rows = [r for r in rows if _time(r) >= datetime.fromisoformat(query["fromTimestamp"])]
        if "toTimestamp" in query:
            rows = [r for r in rows if _time(r) < datetime.fromisoformat(query["toTimestamp"])]
        for key, field in (("name", "name"), ("traceId", "traceId")):
            rows = [r for r in rows if key not in query or r.get(field) == query[key]]
        return rows

    def _text(self, row: Row) -> bytes:
        return self.raw.get(row["id"]) or json.dumps(row).encode()


def _time(row: Row) -> datetime:
    return datetime.fromisoformat(row.get("timestamp") or row["startTime"])


def _answer_for(fake: FakeLangfuse) -> type[BaseHTTPRequestHandler]:
    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one segment an answer, or the kernel waits 40 ms for an acknowledgement

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {k: v[0] for k, v in parse_qs(parts.query).items()}
            fake.asked.append(parts.path)
            fake.on_request(parts.path, query)
            wanted = "Basic " + base64.b64encode(":".join(KEYS).encode()).decode()
            what = parts.path.removeprefix("/api/public/")
            if fake.failures:
                self._send(*fake.failures.pop(0))
            elif self.headers.get("Authorization") != wanted:
                self._send(401, {}, b'{"message":"Invalid credentials","error":"UnauthorizedError"}')
            elif what not in ("traces", "observations", "scores"):
                self._send(404, {}, b"{}")
            else:
                self._send(200, {"Content-Type": "application/json"}, fake.page(what, query))

        def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Answer
