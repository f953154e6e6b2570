"""`ratchet pages`: it serves, it finds its own server again, and it listens to this machine only."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading

import httpx
import pytest

from benchmarks.scratch import free_port
from ratchet.settings import Settings
from tests.review_queue import CLONE, write_rows

ASKED = [{"role": "user", "content": "it is lost"}]


def start(routing: Settings, url: str, *arguments: str, command: str = "pages") -> subprocess.Popen[str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    places = {"RATCHET_REPO": str(routing.repo), "RATCHET_HOME": str(routing.home), "RATCHET_PAGES_URL": url}
    line = [sys.executable, "-m", "cli.main", command, "--as", "ana", *arguments]
    environ = kept | places | {"PYTHONPATH": str(CLONE)}
    return subprocess.Popen(line, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def link_in(told: str) -> str:
    found = re.search(r"open (http://127\.0\.0\.1:\d+/login#\S+)", told)
    assert found is not None, told
    return found.group(1)


def log_in(link: str) -> httpx.Response:
    address, token = link.split("/login#")
    with httpx.Client(base_url=address, headers={"Origin": address}, follow_redirects=True) as client:
        assert client.post("/login", json={"token": token}).status_code == 200
        return client.get("/")


def test_it_serves_until_ctrl_c_and_a_second_call_gives_a_new_link_to_the_same_server(routing: Settings) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    server = start(routing, url)
    assert server.stderr is not None
    first = log_in(link_in(server.stderr.readline()))
    assert first.url.path == "/home" and "routing" in first.text
    again = start(routing, url)
    told = again.communicate(timeout=30)[1]
    assert again.returncode == 0 and log_in(link_in(told)).url.path == "/home"
    server.send_signal(signal.SIGINT)
    assert server.wait(20) == 0


@pytest.mark.slow
def test_review_leads_to_the_pages_where_they_run(routing: Settings) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    server = start(routing, url)
    assert server.stderr is not None and server.stderr.readline()
    write_rows(routing.repo / "data/routing/blind.jsonl", [{"item_id": "n0", "messages": ASKED}])
    reviewing = start(routing, url, "routing", "--blind", command="review")
    assert "/login?to=/blind/routing#" in reviewing.communicate(timeout=30)[1] and reviewing.returncode == 0
    server.send_signal(signal.SIGINT)
    assert server.wait(20) == 0


def test_another_server_on_its_port_gets_no_link(ratchet, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        monkeypatch.setenv("RATCHET_PAGES_URL", f"http://127.0.0.1:{other.getsockname()[1]}")

        def answer() -> None:
            connection = other.accept()[0]
            asked.append(connection.recv(4000))
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        ended = ratchet("pages", "--as", "ana")
        thread.join(10)
    assert ended.status == 2 and "in use" in ended.err and "login#" not in ended.err
    assert asked[0].startswith(b"GET /healthz/") and b"login" not in asked[0]


@pytest.mark.parametrize("url", ["http://10.0.0.1:8603", "http://example.com:8603", "https://127.0.0.1:8603"])
def test_it_listens_on_loopback_only(ratchet, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("RATCHET_PAGES_URL", url)
    ended = ratchet("pages", "--serve")
    assert ended.status == 2 and "this machine only" in ended.err
