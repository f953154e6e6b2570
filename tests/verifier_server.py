"""The real verifier on a port of this machine, and the people who use it."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pyotp
import uvicorn

from ratchet.approvals import Kind, enrol
from ratchet.settings import Settings, read_secret
from verifier.app import create_app


class People:
    """The enrolled of a running verifier, each with codes that were not used yet."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.ahead_s = 0.0
        self._secrets: dict[str, str] = {}

    def code(self, name: str, kind: Kind = "person") -> str:
        """A fresh code; who is not enrolled is enrolled first. The verifier's clock goes on by a step."""
        if name not in self._secrets:
            token = read_secret(self.settings, "verifier-enrol")
            self._secrets[name] = enrol(self.settings.verifier_url, token, name, kind).secret
        self.ahead_s += 30
        return pyotp.TOTP(self._secrets[name]).at(int(time.time() + self.ahead_s))


@contextmanager
def verifier_on(settings: Settings) -> Iterator[People]:
    """Serve until the end of the block; the people's `settings` name its address."""
    people = People(settings)
    app = create_app(settings, lambda: time.time() + people.ahead_s)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    people.settings = dataclasses.replace(settings, verifier_url=f"http://127.0.0.1:{port}")
    yield people
    server.should_exit = True
    thread.join()
