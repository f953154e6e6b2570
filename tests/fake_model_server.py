"""A fake model server on a real port that speaks the OpenAI protocol; for unit tests only."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

Reply = str | tuple[int, Any]


class FakeModelServer:
    """Answers every chat request by a function of its body: a text, or (status, document) to break the protocol."""

    def __init__(
        self, reply: Callable[[dict[str, Any]], Reply], *, models: tuple[str, ...] = ("tiny",), port: int = 0
    ) -> None:
        self.reply = reply
        self.models = list(models)
        self.port = port
        self.bodies: list[dict[str, Any]] = []
        self.loaded: list[dict[str, str]] = []
        self.authorizations: list[str | None] = []
        self.in_flight = self.most_in_flight = 0
        self.delay_s = 0.0
        self.lock = threading.Lock()

    def __enter__(self) -> FakeModelServer:
        fake = self

        class Requests(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                _send(self, 200, {"data": [{"id": name} for name in fake.models]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path == "/v1/load_lora_adapter":
                    fake.authorizations.append(self.headers.get("Authorization"))
                    _send(self, *fake.load(body))
                else:
                    _send(self, *fake.chat(body))

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", self.port), Requests)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.thread = threading.Thread(target=lambda: self.http.serve_forever(poll_interval=0.01))
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()

    def load(self, body: dict[str, str]) -> tuple[int, Any]:
        self.loaded.append(body)
        if "broken" in body["lora_path"]:
            return 400, {"error": {"message": "no adapter_config.json"}}
        self.models.append(body["lora_name"])
        return 200, "loaded"

    def chat(self, body: dict[str, Any]) -> tuple[int, Any]:
        with self.lock:
            self.bodies.append(body)
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        time.sleep(self.delay_s)
        said = self.reply(body)
        with self.lock:
            self.in_flight -= 1
        if isinstance(said, tuple):
            return said
        read = sum(len(m["content"].split()) for m in body["messages"])
        return 200, {
            "choices": [{"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": read, "completion_tokens": len(said.split())},
        }


def _send(request: BaseHTTPRequestHandler, status: int, document: Any) -> None:
    content = json.dumps(document).encode()
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content)
