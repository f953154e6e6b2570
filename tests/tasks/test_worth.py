"""tasks.worth: held back users against those on stable, drawn by the channel itself, canaries coming and going."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ratchet.channels import Canary, Holdback, assign
from ratchet.errors import BadInput
from ratchet.outcomes import canary_draw, user_outcomes
from ratchet.records import Feedback, Input, Interaction, Message, Output, Source
from ratchet.rollout_policy import RolloutPolicy
from ratchet.store import open_store
from tasks.steer_rollout import promote
from tasks.worth import weigh_promotions
from tests.tasks.test_rollout import AT, NEW, OLD, POLICY, World

HELD = Holdback(release_id=OLD, share=0.1, salt="holdback f")
ASKED = Input(messages=(Message(role="user", content="x"),))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        yield World(tmp_path, store)


def place(world: World, *, stable: str, canary: Canary | None = None) -> None:
    version = world.channels.read("f").version
    told: dict[str, Any] = {"at": world.later(), "by": "ana", "reason": "x", "expected_version": version}
    world.channels.move("f", stable=stable, canary=canary, holdback=HELD, **told)


def meet(world: World, n: int, complains: dict[str, float]) -> list[str]:
    """`n` new users ask once, and complain at the rate of their release. Returns the channels that they drew."""
    state, chance, met = world.channels.read("f"), random.Random(world.users), []
    interactions, feedback = [], []
    at = world.later()
    for _ in range(n):
        world.users += 1
        drawn = assign(state, f"u{world.users}")
        met.append(drawn.channel)
        ids = {"interaction_id": f"i{world.users}", "user_id": f"u{world.users}", "feature": "f", "at": at}
        facts = {"release_id": drawn.release_id, "channel": drawn.channel, "propensity": drawn.propensity}
        record = {**ids, **facts, "attributes": drawn.facts, "input": ASKED, "output": Output(content="y")}
        interactions.append(Interaction.model_validate(record))
        if chance.random() < complains[drawn.release_id]:
            said = {"feedback_id": f"f{world.users}", "interaction_id": f"i{world.users}", "at": at, "kind": "thumb"}
            feedback.append(Feedback(**said, value=False, source=Source(type="user", id="u")))  # type: ignore[arg-type]
    world.store.add_interactions(interactions)
    world.store.add_feedback(feedback)
    return met


def figure(world: World) -> dict[str, Any]:
    return weigh_promotions(world.store, world.channels, "f", POLICY, now=world.later() + timedelta(seconds=1))


TRIAL = Canary(release_id="rel_third", share=0.5, salt="s", rollout_id="ro1")


def test_the_sum_of_all_promotions_is_told_with_its_confidence_sequence(world: World) -> None:
    place(world, stable=NEW)
    meet(world, 1200, {OLD: 0.4, NEW: 0.1})
    place(world, stable=NEW, canary=TRIAL)  # half of the others are on trial, and belong to neither side
    met = meet(world, 600, {OLD: 0.4, NEW: 0.1, "rel_third": 0.9})
    found = figure(world)
    assert 0.1 < found["worth"]["low"] <= 0.3 and found["anchor"] == OLD and found["stable"] == NEW
    assert found["content"]["stable"] == pytest.approx(0.9, abs=0.03) and met.count("canary") > 200
    assert sum(found["users"].values()) == 1800 - met.count("canary")


def test_promotions_that_change_nothing_are_worth_nothing(world: World) -> None:
    place(world, stable=NEW)
    meet(world, 1500, {OLD: 0.2, NEW: 0.2})
    found = figure(world)["worth"]
    assert (found["low"] is None or found["low"] <= 0) and (found["high"] is None or found["high"] >= 0)


def test_it_speaks_of_the_release_that_is_stable_now(world: World) -> None:
    place(world, stable=NEW)
    meet(world, 50, {OLD: 0.2, NEW: 0.2})
    place(world, stable="rel_third")
    meet(world, 30, {OLD: 0.2, "rel_third": 0.2})
    found = figure(world)
    assert found["stable"] == "rel_third" and sum(found["users"].values()) == 30


def test_without_promotion_or_holdback_it_says_why_there_is_no_figure(world: World) -> None:
    assert "no user is held back" in figure(world)["why_not"]
    place(world, stable=OLD)
    assert "nothing was promoted" in figure(world)["why_not"]


def drawn_outcomes(world: World, since: datetime = AT) -> list[Any]:
    return user_outcomes(
        (i for _, i in world.store.interactions("f")),
        (f for _, _, f in world.store.feedback("f")),
        channel="f",
        drawn=canary_draw(OLD, "rel_third"),
        window=timedelta(0),
        since=since,
        now=world.later(),
    )


def test_who_is_held_back_is_in_no_canary_test_though_the_anchor_is_the_champion(world: World) -> None:
    place(world, stable=OLD, canary=TRIAL)
    met = meet(world, 400, {OLD: 0.2, "rel_third": 0.2})
    found = drawn_outcomes(world)
    assert 20 < met.count("holdback") < 70 and len(found) == 400 - met.count("holdback")
    assert {o.chance for o in found} == {0.5}  # of who is not held back, though the propensities are 0.45


def test_between_rollouts_nobody_was_drawn_for_a_canary(world: World) -> None:
    place(world, stable=OLD)
    assert set(meet(world, 200, {OLD: 0.2})) == {"stable", "holdback"} and drawn_outcomes(world) == []


def test_a_rollout_holds_back_the_same_users_each_time_and_lets_them_go_when_told(world: World) -> None:
    world.store.create_document("anchor", "f", "f", {"release_id": OLD})
    users = [f"u{i}" for i in range(500)]

    def held() -> set[str]:
        return {u for u in users if assign(world.channels.read("f"), u).channel == "holdback"}

    world.start(holdback=0.02)
    first = held()
    promote(*world.parts, "f", now=world.later(), by="ana", reason="x")
    assert held() == first and 2 <= len(first) <= 25 and world.channels.read("f").stable == NEW
    world.start("rel_third", "run-2", holdback=0.02)
    assert held() == first and {assign(world.channels.read("f"), u).release_id for u in first} == {OLD}
    assert world.rollback() == NEW and held() == first
    world.start("rel_third", "run-3", holdback=0)
    assert held() == set()


def test_without_a_first_release_nobody_can_be_held_back(world: World) -> None:
    with pytest.raises(BadInput, match="no first release"):
        world.start(holdback=0.01)


def test_a_holdback_of_too_few_to_tell_anything_is_refused() -> None:
    with pytest.raises(ValueError, match=r"from 0\.01"):
        RolloutPolicy(holdback=0.001)
