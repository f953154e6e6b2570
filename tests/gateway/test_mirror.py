"""Mirrored requests through the real gateway: after the user's answer, bounded, apart, and never where forbidden."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.limits import Limits
from ratchet.channels import Shadow
from ratchet.ledger import Ledger
from ratchet.mirrored import Mirrored
from ratchet.rollout_policy import RolloutPolicy, ShadowPolicy
from ratchet.store import open_store
from tasks.rollout import TickReport, read, start, tick
from tests.gateway.conftest import AT, SCHEMA, Gateway, Serving, Shop, label_of_question
from tests.gateway.fake_model_server import FakeModelServer

TRIED = "Route it."
POLICY = RolloutPolicy(shadow=ShadowPolicy(share=1, answers=20), outcome_window_s=0)


def is_tried(body: dict[str, Any]) -> bool:
    """Whether a request to the model server is the candidate's."""
    return any(TRIED in message["content"] for message in body["messages"])


def mirror_all(shop: Shop, **changes: Any) -> str:
    """Put a candidate, and mirror every request to it. Returns its id."""
    candidate = shop.put(text=TRIED, **changes)
    shadow, now = Shadow(release_id=candidate, share=1, rollout_id="ro1"), shop.channels.read("routing")
    told = {"at": AT, "by": "ana", "reason": "trial", "expected_version": now.version}
    shop.channels.move("routing", stable=now.stable, canary=None, shadow=shadow, **told)  # type: ignore[arg-type]
    return candidate


def mirrored(shop: Shop, rollout_id: str = "ro1") -> list[Mirrored]:
    with open_store(shop.settings.database_url) as store:
        return list(store.mirrored(rollout_id))


def counted(gateway: Gateway, name: str) -> dict[str, float]:
    """A counter's lines of /metrics, by the label that is not the feature."""
    lines = gateway.http.get("/metrics").text.splitlines()
    labels = {"ratchet_shadow_requests": "outcome"}.get(name, "direction")
    found = [re.search(rf'^{name}_total.*{labels}="(\w+)".* ([0-9.]+)$', line) for line in lines]
    return {match[1]: float(match[2]) for match in found if match}


def wait_for(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert is_so()


def test_the_users_answer_does_not_wait_for_the_candidate(gateway: Gateway, fake: FakeModelServer) -> None:
    mirror_all(gateway.shop)
    fake.is_held = is_tried
    answer = gateway.ask()
    assert answer.headers["x-ratchet-release"] == gateway.shop.stable and not mirrored(gateway.shop)
    fake.is_held = lambda body: False
    wait_for(lambda: mirrored(gateway.shop))
    (pair,) = mirrored(gateway.shop)
    assert pair.interaction_id == answer.headers["x-ratchet-interaction-id"] and pair.is_same
    assert pair.champion["error"] is pair.candidate["error"] is pair.candidate["malformed"] is False


def test_a_stream_is_mirrored_once_it_has_ended(gateway: Gateway, fake: FakeModelServer) -> None:
    mirror_all(gateway.shop)
    assert gateway.ask(stream=True).text.endswith("data: [DONE]\n\n")
    wait_for(lambda: mirrored(gateway.shop))
    assert [bool(body.get("stream")) for body in fake.bodies] == [True, False] and is_tried(fake.bodies[1])
    (pair,) = mirrored(gateway.shop)
    assert pair.is_same and pair.champion["error"] is False and pair.champion["length"] == pair.candidate["length"]


def test_no_word_of_a_mirrored_answer_is_kept_and_no_receipt_given(gateway: Gateway, fake: FakeModelServer) -> None:
    candidate = mirror_all(gateway.shop)
    fake.reply = lambda body: "a secret word" if is_tried(body) else label_of_question(body)
    gateway.ask()
    wait_for(lambda: mirrored(gateway.shop))
    (pair,) = mirrored(gateway.shop)
    assert "secret" not in pair.model_dump_json() and pair.candidate["malformed"] is True and pair.is_same is False
    assert [record.release_id for record in gateway.shop.interactions()] == [gateway.shop.stable] != [candidate]
    assert gateway.say(pair.mirror_id, "thumb", True).status_code == 404


def test_what_mirroring_costs_is_nobodys_bill(gateway: Gateway) -> None:
    mirror_all(gateway.shop)
    gateway.ask()
    wait_for(lambda: counted(gateway, "ratchet_shadow_requests") == {"answered": 1})
    (pair,), (record,) = mirrored(gateway.shop), gateway.shop.interactions()
    assert counted(gateway, "ratchet_shadow_tokens")["output"] == pair.usage.output_tokens > 0
    assert counted(gateway, "ratchet_tokens")["output"] == record.usage.output_tokens
    with open_store(gateway.shop.settings.database_url) as store:
        spent = store.spent("default", record.at.date().isoformat())
    assert spent.tokens == record.usage.input_tokens + record.usage.output_tokens


@pytest.mark.parametrize("rules", ["trials: false", "trials: true"])
def test_a_tenant_that_takes_no_trials_is_not_mirrored(gateway: Gateway, fake: FakeModelServer, rules: str) -> None:
    (gateway.shop.root / "features").mkdir()
    (gateway.shop.root / "features" / "tenants.yaml").write_text(f"acme: {{{rules}}}")
    mirror_all(gateway.shop)
    gateway.ask(ratchet={"tenant": "acme"})
    gateway.ask()  # of the default tenant
    wait_for(lambda: mirrored(gateway.shop))
    expected = {"default"} if rules == "trials: false" else {"default", "acme"}
    wait_for(lambda: {pair.tenant for pair in mirrored(gateway.shop)} == expected)
    assert sum(map(is_tried, fake.bodies)) == len(expected)


def test_a_tenant_that_takes_no_trials_gets_no_canary(gateway: Gateway) -> None:
    (gateway.shop.root / "features").mkdir()
    (gateway.shop.root / "features" / "tenants.yaml").write_text("acme: {trials: false}")
    gateway.shop.try_canary(gateway.shop.put(text=TRIED))
    assert gateway.ask().headers["x-ratchet-channel"] == "canary"
    asked = {"feature": "routing", "user": "u1", "tenant": "acme"}
    assert gateway.ask(ratchet={"tenant": "acme"}).headers["x-ratchet-channel"] == "stable"
    assert gateway.http.get("/v1/decide", params=asked).json()["propensity"] == 1.0


def test_a_candidate_that_fails_keeps_no_user_from_the_model(shop: Shop, fake: FakeModelServer) -> None:
    mirror_all(shop)  # a prompt on the users' model

    def reply(body: dict[str, Any]) -> str:
        if is_tried(body):
            raise RuntimeError("broken on purpose")
        return label_of_question(body)

    fake.reply, fake.is_held = reply, is_tried
    with Serving(shop, dataclasses.replace(Limits(), breaker_failures=3, breaker_open_s=60)) as gateway:
        for number in range(5):
            assert gateway.ask(user=f"u{number}").status_code == 200
        fake.is_held = lambda body: False  # now they fail, one after the other
        wait_for(lambda: sum(counted(gateway, "ratchet_shadow_requests").values()) == 5)
        assert gateway.ask(user="u5").status_code == 200
    assert {json.dumps(pair.candidate) for pair in mirrored(shop)} == {'{"error": true}'}


def test_a_request_that_the_champion_failed_on_is_a_pair_too(gateway: Gateway, fake: FakeModelServer) -> None:
    mirror_all(gateway.shop)

    def reply(body: dict[str, Any]) -> str:
        if not is_tried(body):
            raise RuntimeError("broken on purpose")
        return label_of_question(body)

    fake.reply = reply
    assert gateway.ask().status_code == 502
    wait_for(lambda: mirrored(gateway.shop))
    (pair,) = mirrored(gateway.shop)
    assert (pair.champion, pair.candidate["error"]) == ({"error": True}, False)


@pytest.fixture
def narrow(shop: Shop) -> Iterator[Gateway]:
    """A gateway with room for one mirrored request at work, and one that waits."""
    with Serving(shop, dataclasses.replace(Limits(), mirror_capacity=1, mirror_workers=1)) as running:
        yield running


def test_what_finds_the_queue_full_is_dropped_and_counted(narrow: Gateway, fake: FakeModelServer) -> None:
    mirror_all(narrow.shop)
    fake.is_held = is_tried
    assert narrow.ask().status_code == 200
    wait_for(lambda: sum(map(is_tried, fake.bodies)) == 1)
    assert [narrow.ask().status_code for _ in range(4)] == [200] * 4
    wait_for(lambda: counted(narrow, "ratchet_shadow_requests") == {"dropped": 3})
    fake.is_held = lambda body: False
    wait_for(lambda: len(mirrored(narrow.shop)) == 2)


def test_an_answer_of_another_backend_is_not_mirrored(shop: Shop, fake: FakeModelServer) -> None:
    with FakeModelServer(label_of_question) as other:
        ours = {"preset": "vllm", "retries": 0, "url": fake.url}
        backends = {"backends": {"a": ours, "b": ours | {"url": other.url}}, "chains": {"tiny": ["a", "b"]}}
        (shop.root / "home" / "backends.yaml").write_text(json.dumps(backends))
        mirror_all(shop)
        with Serving(shop, Limits()) as gateway:
            fake.broken["tiny"] = 500
            assert gateway.ask().headers["x-ratchet-fallback"] == "backend_error"
            fake.broken.clear()
            gateway.ask(user="u2")
            wait_for(lambda: mirrored(shop))
            assert [pair.user_id for pair in mirrored(shop)] == ["u2"]


class Rolling:
    """A rollout of a candidate on a running gateway, begun with a shadow stage."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway, self.shop = gateway, gateway.shop
        self.candidate = self.shop.put(text=TRIED)
        facts = {"feature": "routing", "candidate_id": self.candidate, "salt": "s", "approval": "run-1"}
        with open_store(self.shop.settings.database_url) as store:
            parts = (store, self.shop.channels, Ledger(store.engine))
            begun = start(*parts, policy=POLICY, now=datetime.now(UTC), output_schema=SCHEMA, **facts)  # type: ignore[arg-type]
        self.rollout_id = begun.rollout_id
        self.users = 0

    def ask(self, n: int) -> None:
        """`n` more users ask, and are mirrored."""
        for _ in range(n):
            self.users += 1
            assert self.gateway.ask(user=f"u{self.users}").headers["x-ratchet-channel"] == "stable"
        wait_for(lambda: len(mirrored(self.shop, self.rollout_id)) == self.users)

    def tick(self) -> tuple[TickReport, dict[str, Any]]:
        with open_store(self.shop.settings.database_url) as store:
            parts = (store, self.shop.channels, Ledger(store.engine))
            report = tick(*parts, self.rollout_id, now=datetime.now(UTC) + timedelta(seconds=1))
            return report, read(store, self.shop.channels, self.rollout_id).rollout.mirrored


def test_a_candidate_that_breaks_is_stopped_before_any_user_meets_it(gateway: Gateway, fake: FakeModelServer) -> None:
    rolling = Rolling(gateway)
    fake.reply = lambda body: "I cannot say." if is_tried(body) else label_of_question(body)
    rolling.ask(25)
    report, facts = rolling.tick()
    assert report.action == "rollback" and facts["alarms"] == {"rollback": "malformed"}
    state = gateway.shop.channels.read("routing")
    assert (state.stable, state.canary, state.shadow) == (gateway.shop.stable, None, None)
    assert rolling.candidate not in {record.release_id for record in gateway.shop.interactions()}


def test_enough_mirrored_answers_lead_on_to_the_canary(gateway: Gateway, fake: FakeModelServer) -> None:
    rolling = Rolling(gateway)
    rolling.ask(10)
    assert rolling.tick()[0].reasons[0] == "10 more mirrored answers are needed:"
    rolling.ask(12)
    report, facts = rolling.tick()
    canary = gateway.shop.channels.read("routing").canary
    assert report.action == "advance" and canary is not None and canary.share == 0.2
    assert (facts["answers"], facts["users"], facts["same"]) == (22, 22, 1.0) and facts["output_tokens"] > 0
