"""Nonsense on every route of a running gateway: no 500, no traceback, an answer to whoever asks for one."""

from __future__ import annotations

import asyncio
import random

import pytest

from benchmarks.fuzz_requests import SILENT, fuzzed, send_all
from tests.gateway.conftest import Gateway


@pytest.mark.parametrize("n", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_nonsense_is_refused_and_never_breaks_the_gateway(gateway: Gateway, n: int) -> None:
    draw = random.Random(n)
    receipts = [gateway.ask().json()["id"] for _ in range(3)]
    found = asyncio.run(send_all(gateway.url, [fuzzed(draw, receipts) for _ in range(n)]))
    assert not {"500", "traceback", SILENT} & set(found) and found["200"] > n // 5 and found["400"] > n // 10
    assert gateway.ask().status_code == 200


@pytest.mark.parametrize("origin", ["http://[::1", "http://evil.example", "null"])
def test_an_origin_that_is_no_address_is_foreign(gateway: Gateway, origin: str) -> None:
    assert gateway.http.get("/v1/models", headers={"Origin": origin}).status_code == 403
