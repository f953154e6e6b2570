from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from gateway.limits import Limits
from tests.gateway.conftest import Gateway, Serving, Shop
from tests.gateway.fake_model_server import FakeModelServer
from tests.gateway.test_backends import backends, rules


def ask(gateway: Gateway, tenant: str = "acme") -> httpx.Response:
    return gateway.ask(ratchet={"tenant": tenant})


@pytest.fixture
def slow_minute(shop: Shop, limits: Limits) -> Iterator[Gateway]:
    rules(shop, "acme: {requests_per_minute: 3}\n")
    with Serving(shop, limits) as running:
        yield running


def test_a_tenant_that_asks_too_often_is_429_and_told_when_to_come_back(slow_minute: Gateway) -> None:
    assert [ask(slow_minute).status_code for _ in range(3)] == [200] * 3
    refused = ask(slow_minute)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limited")
    assert 1 <= int(refused.headers["Retry-After"]) <= 20
    assert ask(slow_minute, "globex").status_code == 200


def test_embeddings_count_too(slow_minute: Gateway) -> None:
    body = {"model": "mini", "input": "x", "ratchet": {"tenant": "acme"}}
    statuses = [slow_minute.http.post("/v1/embeddings", json=body).status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]


def test_tokens_of_the_day_run_out_and_stay_so_over_a_restart(shop: Shop, limits: Limits) -> None:
    rules(shop, "acme: {tokens_per_day: 15}\n")  # an answer reads 7 words and writes 2
    with Serving(shop, limits) as gateway:
        assert [ask(gateway).status_code for _ in range(3)] == [200, 200, 429]
    with Serving(shop, limits) as gateway:
        refused = ask(gateway)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "budget_used_up")
    assert int(refused.headers["Retry-After"]) <= 86400


def test_money_of_the_day_runs_out_also_by_streams(shop: Shop, fake: FakeModelServer, limits: Limits) -> None:
    rules(shop, "acme: {usd_per_day: 10}\n")
    backends(shop, f"backends: {{it: {{url: '{fake.url}', prices: {{tiny: [1000000, 1000000]}}}}}}")
    with Serving(shop, limits) as gateway:
        statuses = [gateway.ask(ratchet={"tenant": "acme"}, stream=True).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]


def test_a_malformed_tenants_file_lets_nobody_through(shop: Shop, limits: Limits) -> None:
    rules(shop, "acme: {reqests: 3}\n")
    with Serving(shop, limits) as gateway:
        assert ask(gateway).status_code == 503
