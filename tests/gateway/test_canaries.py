"""The canary breaker through a running gateway, and what a tick makes of its word; Prefect is nowhere."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from gateway.limits import Limits
from ratchet.ledger import Ledger
from ratchet.release import ReleaseStore
from ratchet.rollout_policy import RolloutPolicy
from ratchet.rollouts import Rollout
from ratchet.stops import EVENT, stops
from ratchet.store import Store, open_store
from tasks.rollout import read, rollback, start, tick_all
from tests.gateway.conftest import Gateway, Serving, Shop

WEIGHTS = b"weights"
POLICY = RolloutPolicy(steps=(0.99,), outcome_window_s=0, min_users=3)


@contextmanager
def opened(shop: Shop) -> Iterator[tuple[Store, Ledger]]:
    with open_store(shop.settings.database_url) as store:
        yield store, Ledger(store.engine)


@pytest.fixture
def trial(shop: Shop) -> Rollout:
    """A rollout whose candidate, an adapter, has nearly every user."""
    candidate = shop.put(text="Name it.", weights=WEIGHTS)
    with opened(shop) as (store, ledger):
        facts = {"feature": "routing", "candidate_id": candidate, "salt": "s", "approval": "run-1"}
        return start(store, shop.channels, ledger, policy=POLICY, now=datetime.now(UTC), **facts)  # type: ignore[arg-type]


def model_of(shop: Shop, rollout: Rollout) -> str:
    return ReleaseStore(shop.settings.releases_dir).get(rollout.candidate_id).model


def channels_of(gateway: Gateway, n: int, **more: object) -> list[str]:
    answers = [gateway.ask(user=f"u{number}", **more) for number in range(n)]
    assert {answer.status_code for answer in answers} == {200}
    return [
        answer.headers["x-ratchet-fallback" if "x-ratchet-fallback" in answer.headers else "x-ratchet-channel"]
        for answer in answers
    ]


def await_stop(shop: Shop) -> None:
    deadline = time.monotonic() + 10
    with opened(shop) as (store, _):
        while not stops(store) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(stops(store)) == 1


def tick(shop: Shop) -> list[str]:
    with opened(shop) as (store, ledger):
        reports = tick_all(store, shop.channels, ledger, now=datetime.now(UTC))
        assert ledger.verify()
        return [f"{report.action} {report.reasons[0]}" for report in reports]


def test_a_failing_canary_loses_its_traffic_at_once_and_the_next_tick_moves_the_pointer(
    gateway: Gateway, shop: Shop, trial: Rollout
) -> None:
    shop.fake.broken[model_of(shop, trial)] = 500
    assert "stable" not in channels_of(gateway, 10) and channels_of(gateway, 20) == ["stable"] * 20
    decided = gateway.http.get("/v1/decide", params={"feature": "routing", "user": "u1"}).json()
    assert (decided["channel"], decided["propensity"]) == ("stable", 1.0)
    await_stop(shop)
    with opened(shop) as (_, ledger):
        assert not ledger.entries(event=EVENT) and shop.channels.read("routing").canary is not None
    assert tick(shop) == ["rollback The gateway stopped the canary: 10 of its last 10 requests failed."]
    with opened(shop) as (store, ledger):
        assert [e.event for e in ledger.entries()] == ["canary", EVENT, "rollback"]
        assert ledger.entries()[1].facts["rollout_id"] == trial.rollout_id
        assert read(store, shop.channels, trial.rollout_id).rollout.state == "rolled_back"
    assert shop.channels.read("routing").canary is None and tick(shop) == []


def test_the_ledger_learns_of_a_stop_once_however_the_tick_is_cut_off(
    gateway: Gateway, shop: Shop, trial: Rollout
) -> None:
    shop.fake.broken[model_of(shop, trial)] = 500
    channels_of(gateway, 10)
    await_stop(shop)
    with opened(shop) as (store, ledger):
        rollback(store, shop.channels, ledger, "routing", now=datetime.now(UTC), by="ana", reason="seen it")
    for _ in range(3):
        tick(shop)
    with opened(shop) as (_, ledger):
        assert [e.event for e in ledger.entries()] == ["canary", "rollback", EVENT]


def test_a_gateway_that_starts_knows_what_another_stopped(shop: Shop, trial: Rollout) -> None:
    limits = dataclasses.replace(Limits(), canary_failures=3)
    shop.fake.broken[model_of(shop, trial)] = 500
    with Serving(shop, limits) as first, Serving(shop, limits) as beside:
        channels_of(first, 3)
        await_stop(shop)
        time.sleep(1.5)
        assert channels_of(beside, 5) == ["stable"] * 5
    with Serving(shop, limits) as again:
        assert channels_of(again, 5) == ["stable"] * 5


def test_streams_that_break_off_stop_a_canary(gateway: Gateway, shop: Shop, trial: Rollout) -> None:
    shop.fake.cut_after = 0
    for number in range(10):
        assert '"backend_broke_off"' in gateway.ask(user=f"u{number}", stream=True).text
    shop.fake.cut_after = None
    assert channels_of(gateway, 5) == ["stable"] * 5


def test_what_fails_for_everybody_and_a_few_failures_stop_nothing(gateway: Gateway, shop: Shop, trial: Rollout) -> None:
    model = model_of(shop, trial)
    shop.fake.broken |= {model: 500, shop.fake.base: 500}
    assert {gateway.ask(user=f"u{number}").status_code for number in range(20)} <= {502, 503}
    shop.fake.broken.pop(shop.fake.base)
    time.sleep(0.6)  # the backend's own breaker tries again
    assert "stable" not in channels_of(gateway, 9)
    shop.fake.broken.clear()
    time.sleep(0.6)
    assert channels_of(gateway, 20) == ["canary"] * 20
    assert tick(shop)[0].startswith("hold")
