"""Where the servers listen: a socket that nobody else can take, and what counts as this machine alone."""

from __future__ import annotations

import errno
import ipaddress
import socket

from ratchet.errors import BadInput, PortInUse


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one.

    Raises:
        PortInUse: something else listens there.
        BadInput: no such address on this machine, or no such port.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)  # now, not when uvicorn does: two sockets may bind one port as long as neither listens
    except (OSError, OverflowError) as error:
        listener.close()
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise PortInUse(f"port {port} on {host} is in use; stop what listens there or name another") from error
        raise BadInput(f"cannot listen on {host}:{port}: {error}") from error
    return listener


def address_of(listener: socket.socket, host: str) -> str:
    """The address to ask at, as http://host:port."""
    return f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
