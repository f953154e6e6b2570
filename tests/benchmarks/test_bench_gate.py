"""benchmarks.bench_gate: its pairs have the truth that they say, and its rules are the gate's."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.bench_gate import ANALYSTS, CHAINS, COST, SEALED, draw_pair
from benchmarks.estimator_coverage import coverage, experiments

RNG = np.random.default_rng


def test_a_pair_differs_on_the_share_of_items_and_by_the_gain_that_it_says() -> None:
    old, new = draw_pair(RNG(1), 200_000, 0.2, 0.05)
    assert (old ^ new).mean() == pytest.approx(0.2, abs=0.005)
    assert new.mean() - old.mean() == pytest.approx(0.05, abs=0.005)


def test_an_analyst_of_the_gate_sees_no_score_until_an_accept() -> None:
    old = RNG(1).random(300) < 0.7
    assert ANALYSTS[SEALED](old, old ^ (RNG(2).random(300) < 0.05), 1) == (False, False)
    assert ANALYSTS[SEALED](old, np.ones(300, bool), 1) == (True, True)


def test_where_cost_is_the_objective_the_anchor_stops_what_the_champion_lets_by() -> None:
    rule, anchor = CHAINS[COST][0], np.ones(300, bool)
    champion = anchor.copy()
    champion[:30] = False
    assert rule(anchor, anchor, anchor)
    assert not rule(champion, champion, anchor)


@pytest.mark.parametrize("name", [name for name in experiments() if "n=100" in name or "30 sessions" in name])
def test_intervals_hold_the_truth_about_as_often_as_they_say(name: str) -> None:
    assert coverage(name, 150, RNG(3))["coverage"] > 0.88
