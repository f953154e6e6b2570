"""benchmarks.bench_lab: its world is what it says, and a loop without a defence is fooled where one with it is not."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.lab_loop import TARGETS, Defences, Loop, Told
from benchmarks.lab_world import (
    INTENTS,
    IS_EARLY,
    ROUTE_OF,
    Texts,
    World,
    ask,
    make_world,
    mix,
    said_in,
    victim_and_goal,
)
from ratchet.params import load_params

PER_INTENT = 60


@pytest.fixture(scope="module")
def texts() -> Texts:
    """Intents as clouds of points that overlap."""
    rng = np.random.default_rng(1)
    intents = np.repeat(np.arange(len(INTENTS)), PER_INTENT)
    found = rng.normal(size=(len(INTENTS), 256))[intents] * 0.5 + rng.normal(size=(len(intents), 256))
    vectors = found / np.linalg.norm(found, axis=1, keepdims=True)
    names = tuple(f"{INTENTS[k]} {n} {rng.integers(10**9)}" for n, k in enumerate(intents))
    return Texts(names, intents, vectors, tuple(range(len(names))))


@pytest.fixture(scope="module")
def world(texts: Texts) -> World:
    """The first of the worlds."""
    return make_world(texts, 0)


def play(world: World, defences: Defences, cycles: int = 8) -> Told:
    """A loop's end."""
    return Loop(world, defences, load_params(), {}).run(cycles)


def test_traffic_drifts_from_the_early_intents_to_the_late() -> None:
    assert mix(0)[IS_EARLY].sum() > 0.8
    assert mix(19)[IS_EARLY].sum() < 0.2
    assert mix(7).sum() == pytest.approx(1)


def test_what_is_asked_never_judges(world: World) -> None:
    assert not set(np.concatenate(world.learn).tolist()) & set(world.judge.tolist())
    assert world.weights(3).sum() == pytest.approx(1)


def test_people_are_the_same_whatever_they_are_answered(world: World) -> None:
    asked = ask(world, 2)
    truth = ROUTE_OF[world.texts.intents[asked]]
    content, wrong = (said_in(world, 2, asked, answers, TARGETS) for answers in (truth, (truth + 1) % 6))
    assert (asked == ask(world, 2)).all()
    assert sum(row["claims"][0].kind == "correction" for row in content) < 8
    assert sum(row["claims"][0].kind == "correction" for row in wrong) > 15


def test_attackers_call_the_victims_route_the_goal(world: World) -> None:
    asked = ask(world, 6)
    rows = said_in(world, 6, asked, ROUTE_OF[world.texts.intents[asked]], TARGETS)
    victim, goal = victim_and_goal(world)
    lies = [row for row in rows if row["user_id"].startswith("other")]
    assert {(row["claims"][0].own, row["claims"][0].target) for row in lies} == {(TARGETS[victim], TARGETS[goal])}
    assert {ROUTE_OF[world.texts.intents[row["position"]]] for row in lies} == {victim}


def test_a_loop_learns_and_claims_what_is_about_true(world: World) -> None:
    told = play(world, Defences())
    assert told.counts["promoted"]
    assert told.true[-1] > told.anchor[-1]
    assert told.claimed[-1] == pytest.approx(told.true[-1], abs=0.15)


def test_complaints_as_holdout_claim_what_is_not_true(world: World) -> None:
    told = play(world, Defences(blind_holdout=False))
    assert told.claimed[-1] is not None
    assert abs(told.claimed[-1] - told.true[-1]) > 0.15


def test_a_loop_that_counts_no_looks_keeps_one_holdout_for_ever(world: World) -> None:
    told = play(world, Defences(looks=False))
    assert told.counts["holdouts"] == 1
    assert told.counts["accepted"] > play(world, Defences()).counts["accepted"]


def test_without_rehearsal_only_corrections_are_learned_from(world: World) -> None:
    loop = Loop(world, Defences(rehearsal=False), load_params(), {})
    loop.run(4)
    assert {row["origin"] for row in loop._curated().train} == {"correction"}


def test_without_a_poisoning_defence_lies_are_learned_from(world: World) -> None:
    told = {}
    for has_defence in (True, False):
        loop = Loop(world, Defences(poisoning=has_defence), load_params(), {})
        loop.run(14)
        told[has_defence] = sum(str(row["user_id"]).startswith("other") for row in loop._curated().train)
    assert told[True] < told[False] / 2
