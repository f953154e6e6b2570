import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from ratchet.errors import AddressRefused
from ratchet.outbound import choose_address, open_pinned


class _Echo(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(302 if self.path == "/away" else 200)
        self.send_header("Location", "http://127.0.0.1:1/")
        self.send_header("Content-Length", "0")
        self.send_header("X-Host", self.headers["Host"])
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.8", "192.168.1.1", "169.254.169.254", "::1", "fe80::1%eth0", "::ffff:10.0.0.1", "0.0.0.0"],
)
def test_an_address_of_our_own_networks_is_refused_unless_allowed(address: str) -> None:
    with pytest.raises(AddressRefused, match="RATCHET_ALLOW_PRIVATE"):
        choose_address("https://x.example", allow_private=False, resolve=lambda host, port: ["8.8.8.8", address])
    assert choose_address("https://x.example", allow_private=True, resolve=lambda host, port: [address]) == address


def test_a_public_address_is_taken() -> None:
    assert choose_address("https://x.example", allow_private=False, resolve=lambda host, port: ["8.8.8.8"]) == "8.8.8.8"


def test_a_name_that_does_not_resolve_is_refused() -> None:
    with pytest.raises(AddressRefused, match="cannot be resolved"):
        choose_address("https://nosuch.invalid", allow_private=False)


def test_the_judged_address_is_called_under_the_given_name(port: int) -> None:
    asked: list[str] = []

    def answer_once(host: str, _: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    url = f"http://langfuse.example:{port}/base"
    with open_pinned(url, allow_private=True, auth=None, timeout_s=5, resolve=answer_once) as client:
        hosts = [client.get("/a").headers["X-Host"] for _ in range(2)]
    assert hosts == [f"langfuse.example:{port}"] * 2 and asked == ["langfuse.example"]


def test_a_redirect_is_not_followed(port: int) -> None:
    with open_pinned(f"http://127.0.0.1:{port}", allow_private=True, auth=None, timeout_s=5) as client:
        assert client.get("/away").status_code == 302
