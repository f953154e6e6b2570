"""Runs the approval verifier: `python -m verifier [--host 127.0.0.1] [--port 8602]`."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import logging
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from ratchet.errors import RatchetError, SettingsInvalid
from ratchet.listen import address_of, is_loopback, listen
from ratchet.settings import Settings
from verifier.app import create_app

EXAMPLES = """examples:
  python -m verifier                   serve on http://127.0.0.1:8602
  python -m verifier --port 0          serve on a free port, which the first line of output names
  RATCHET_ALLOW_REMOTE=1 python -m verifier --host 10.0.0.5
                                       serve beyond this machine (put TLS in front of it)
"""


class _Server(uvicorn.Server):
    """Says on stdout when it is ready."""

    def __init__(self, config: uvicorn.Config, address: str) -> None:
        super().__init__(config)
        self._address = address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        sys.stdout.write(f"verifier ready {self._address}\n")
        sys.stdout.flush()


def main(argv: list[str] | None = None) -> int:
    """Serve until a signal; 2 for bad input, with one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m verifier",
        description="Holds approvers' one-time-code secrets and signs their decisions on releases.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8602, help="port; 0 takes a free one (default: 8602)")
    arguments = parser.parse_args(argv)
    os.umask(0o077)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")
    try:
        serve(Settings.from_env(), arguments.host, arguments.port)
    except RatchetError as error:
        sys.stderr.write(f"verifier: {error}\n")
        return error.exit_code
    return 0


def serve(settings: Settings, host: str, port: int) -> None:
    """Serve until a signal.

    Raises:
        PortInUse: something else listens there.
        SettingsInvalid: a host beyond loopback without leave, or a state that another verifier uses or that is damaged.
    """
    if not is_loopback(host) and not settings.remote_is_allowed:
        raise SettingsInvalid(f"--host {host} is beyond loopback; set RATCHET_ALLOW_REMOTE=1 to allow it")
    with _sole_user(settings.verifier_dir), listen(host, port) as listener:
        config = uvicorn.Config(create_app(settings), log_level="warning", access_log=False, server_header=False)
        address = address_of(listener, host)
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again once it has shut down
            _Server(config, address).run(sockets=[listener])


@contextlib.contextmanager
def _sole_user(folder: Path) -> Iterator[None]:
    """Keep a second verifier off the same state: two would each accept the same code once."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsInvalid(f"another verifier runs on {folder}; stop it first") from None
        yield


if __name__ == "__main__":
    sys.exit(main())
