"""Runs the gateway: `python -m gateway [--host 127.0.0.1] [--port 8600]`."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc
import logging
import socket
import sys
from datetime import UTC, datetime

import structlog
import uvicorn

from gateway.app import create_app
from ratchet.errors import RatchetError, SettingsInvalid
from ratchet.keys import Keys
from ratchet.listen import address_of, is_loopback, listen
from ratchet.settings import Settings
from ratchet.store import open_store

EXAMPLES = """examples:
  python -m gateway                    serve on http://127.0.0.1:8600
  python -m gateway --port 0           serve on a free port, which the first line of output names
  curl http://127.0.0.1:8600/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{"model": "support_routing", "user": "u1", "messages": [{"role": "user", "content": "I lost my card"}]}'
  curl http://127.0.0.1:8600/v1/feedback -H 'Content-Type: application/json' \\
    -d '{"interaction_id": "THE ID OF THE ANSWER", "kind": "thumb", "value": true}'
"""


class _Server(uvicorn.Server):
    """Says on stdout when it is ready."""

    def __init__(self, config: uvicorn.Config, address: str) -> None:
        super().__init__(config)
        self._address = address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        gc.collect()
        gc.freeze()  # what is there now stays: no collection need look at it again
        gc.set_threshold(20_000, 20, 20)  # a request leaves no cycles behind that would be worth looking for sooner
        sys.stdout.write(f"gateway ready {self._address}\n")
        sys.stdout.flush()


def main(argv: list[str] | None = None) -> int:
    """Serve until a signal; 2 for bad input, with one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m gateway",
        description="Answers OpenAI chat requests with the release of each feature's channel, and takes feedback.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8600, help="port; 0 takes a free one (default: 8600)")
    arguments = parser.parse_args(argv)
    try:
        serve(Settings.from_env(), arguments.host, arguments.port)
    except RatchetError as error:
        sys.stderr.write(f"gateway: {error}\n")
        return error.exit_code
    return 0


def serve(settings: Settings, host: str, port: int) -> None:
    """Serve until a signal.

    Raises:
        PortInUse: something else listens there.
        SettingsInvalid: a host beyond loopback without leave, or no key where requests need one.
    """
    if not is_loopback(host) and not settings.remote_is_allowed:
        raise SettingsInvalid(f"--host {host} is beyond loopback: set RATCHET_ALLOW_REMOTE=1 to allow it")
    if not is_loopback(host):
        settings = dataclasses.replace(settings, keys_are_required=True)
    if settings.keys_are_required:
        _check_keys(settings)
    with listen(host, port) as listener:
        _log_to_stderr()
        config = uvicorn.Config(
            create_app(settings),
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nothing here asks where a request came from
            timeout_graceful_shutdown=10,
        )
        address = address_of(listener, host)
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again once it has shut down
            _Server(config, address).run(sockets=[listener])


def _check_keys(settings: Settings) -> None:
    with open_store(settings.database_url) as store:
        if not any(key.is_live(datetime.now(UTC)) for key in Keys(store.engine).all()):
            message = "requests need a key and there is none: make one with `ratchet key add NAME --role app`"
            raise SettingsInvalid(message)


def _log_to_stderr() -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )


if __name__ == "__main__":
    sys.exit(main())
