from __future__ import annotations

import pytest

from ratchet.errors import BadInput, PortInUse
from ratchet.listen import address_of, is_loopback, listen


def test_a_free_port_is_taken_once() -> None:
    with listen("127.0.0.1", 0) as first:
        port = int(address_of(first, "127.0.0.1").rpartition(":")[2])
        with pytest.raises(PortInUse, match=f"port {port} on 127.0.0.1 is in use"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70000), ("203.0.113.1", 0), ("no such host", 0)])
def test_an_address_that_is_not_ours_is_bad_input(host: str, port: int) -> None:
    with pytest.raises(BadInput, match="cannot listen on"):
        listen(host, port)


def test_loopback_is_this_machine_alone() -> None:
    told = [is_loopback(host) for host in ("127.0.0.1", "127.8.9.1", "::1", "localhost", "0.0.0.0", "example.com")]
    assert told == [True, True, True, True, False, False]
