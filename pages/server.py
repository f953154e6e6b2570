"""Serves the pages in the foreground, on this machine only."""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
from collections.abc import Callable
from urllib.parse import urlsplit

import uvicorn
from starlette.types import ASGIApp

from ratchet.errors import BadInput
from ratchet.listen import address_of, is_loopback, listen

HOST = "127.0.0.1"  # from another machine the pages are reached through `ssh -L`


class _Server(uvicorn.Server):
    """Calls back when it answers."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()


def address_in(url: str) -> tuple[str, int]:
    """The host and port of an address of this machine.

    Raises:
        BadInput: it is not loopback's.
    """
    parts = urlsplit(url)
    host = parts.hostname or HOST
    if parts.scheme != "http" or not is_loopback(host):
        raise BadInput(f"the pages listen on this machine only, and {url} is another; use `ssh -L` from elsewhere")
    return HOST if host == "localhost" else host, parts.port or 80


def serve(app: ASGIApp, port: int, *, host: str = HOST, on_ready: Callable[[str], None]) -> None:
    """Serve until a signal.

    Args:
        app: what is served.
        port: 0 takes a free one.
        host: of loopback.
        on_ready: called with the address, as http://host:port, once it answers.

    Raises:
        PortInUse: something else listens there.
    """
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")
    with listen(host, port) as listener:
        address = address_of(listener, host)
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again once it has shut down
            _Server(configure(app), lambda: on_ready(address)).run(sockets=[listener])


def configure(app: ASGIApp) -> uvicorn.Config:
    """How the pages are served: without a log of requests and without a header that names the server."""
    return uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, ws="none", timeout_graceful_shutdown=3
    )
