"""A real S3 protocol (moto's server) behind a proxy that breaks: 500, 503, connections cut before or after a write."""

from __future__ import annotations

import http.client
import logging
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

BUCKET = "faulty"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
# Answers that S3's own clients try again; `lost` is the worst: the write took place, and its answer never came.
FAULTS = (("500", 0.06), ("503", 0.06), ("cut", 0.04), ("lost", 0.08))


def by_dice(seed: int) -> Callable[[str], str]:
    """What befalls each next request, by the shares of FAULTS."""
    dice = random.Random(seed)
    shares = {**dict(FAULTS), "passed": 1 - sum(share for _, share in FAULTS)}
    return lambda method: dice.choices(list(shares), list(shares.values()))[0]


class FaultyProxy(ThreadingHTTPServer):
    """Passes requests on to `target`, or breaks them as `draw` says by their method; `counts` says how many of each."""

    daemon_threads = True

    def __init__(self, target: str, draw: Callable[[str], str]) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.target = urlsplit(target).netloc
        self.draw = draw
        self.counts: Counter[str] = Counter()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed closes its connections; that is no news."""


class _Passing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyProxy

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.draw(self.command)
        self.server.counts[fault] += 1
        if fault in ("500", "503"):
            code = {"500": "InternalError", "503": "SlowDown"}[fault]
            self._send(int(fault), [], f"<Error><Code>{code}</Code><Message>broken</Message></Error>".encode())
            return
        if fault != "cut":
            there = http.client.HTTPConnection(self.server.target, timeout=30)
            there.request(self.command, self.path, body, dict(self.headers))
            answer = there.getresponse()
            content = answer.read()
            there.close()
            if fault == "passed":
                self._send(answer.status, answer.getheaders(), content)
                return
        self.close_connection = True

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass_on

    def _send(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def faulty_s3(seed: int = 7) -> Iterator[tuple[dict[str, str], FaultyProxy]]:
    """The environment of a machine whose channels and releases lie on such an S3, and its proxy."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    proxy = FaultyProxy(f"http://{host}:{port}", by_dice(seed))
    thread = threading.Thread(target=proxy.serve_forever)
    thread.start()
    try:
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        boto3.client("s3", endpoint_url=f"http://{host}:{port}", **keys).create_bucket(Bucket=BUCKET)
        yield (
            {
                **KEYS,
                "RATCHET_S3_ENDPOINT": proxy.url,
                "RATCHET_STORE": f"s3://{BUCKET}/r",
                "RATCHET_ALLOW_PRIVATE": "1",
            },
            proxy,
        )
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()
        server.stop()
