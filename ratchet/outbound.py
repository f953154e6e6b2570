"""Calls to the outside: the name is resolved once, its addresses are judged, and the judged one is what is called.

Resolving again at the time of the call would let a name that was fine when it was judged point into our own network
(DNS rebinding); following redirects would let a stranger choose the address.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

import httpx

from ratchet.errors import AddressRefused

Resolve = Callable[[str, int], list[str]]


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name, as the system gives them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def choose_address(url: str, *, allow_private: bool, resolve: Resolve = resolve) -> str:
    """The IP address that may be called for a URL.

    Raises:
        AddressRefused: the name does not resolve, or one of its addresses is not of the public internet.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        addresses = resolve(host, parts.port or (443 if parts.scheme == "https" else 80))
    except OSError as error:
        raise AddressRefused(f"{host} cannot be resolved: {error.strerror or error}") from error
    if not allow_private:
        check_public(host, addresses)
    if not addresses:
        raise AddressRefused(f"{host} has no address")
    return addresses[0]


def check_public(host: str, addresses: Iterable[str]) -> None:
    """Raise AddressRefused where one of a name's addresses is not of the public internet."""
    for address in addresses:
        if not _is_public(address):
            raise AddressRefused(
                f"{host} is {address}, which is no address of the public internet; RATCHET_ALLOW_PRIVATE=1 allows it"
            )


def open_pinned(
    url: str, *, allow_private: bool, auth: tuple[str, str] | None, timeout_s: float, resolve: Resolve = resolve
) -> httpx.Client:
    """A client for the paths below a URL that calls the judged address, whatever the name says later.

    Raises:
        AddressRefused: as for `choose_address`.
    """
    parts = urlsplit(url)
    address = choose_address(url, allow_private=allow_private, resolve=resolve)
    literal = f"[{address}]" if ":" in address else address
    pinned = parts._replace(netloc=f"{literal}:{parts.port}" if parts.port else literal).geturl()
    host, name = parts.netloc.rpartition("@")[2], parts.hostname

    def name_the_host(request: httpx.Request) -> None:
        # The certificate is checked against the name, not against the address.
        request.extensions["sni_hostname"] = name
        request.headers["Host"] = host

    return httpx.Client(
        base_url=pinned,
        auth=auth,
        timeout=timeout_s,
        follow_redirects=False,
        trust_env=False,
        event_hooks={"request": [name_the_host]},
    )


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    parsed = mapped or parsed
    return parsed.is_global and not parsed.is_multicast
