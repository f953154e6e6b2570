"""tasks.try_out.canary: how much a canary needs, against theory and simulation."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from ratchet.betting import Expectation, Wealths
from tasks.try_out.canary import bound_needed, plan_canary, ratchet_needed
from tests.tasks.try_out.logs import asked, said, tried


def test_the_bound_is_log_one_over_alpha_over_the_divergence() -> None:
    """By hand: KL(0.2 || 0.1) = 0.2 ln 2 + 0.8 ln(8/9) = 0.04440; ln 20 / 0.04440 = 67.5."""
    assert bound_needed(0.1, 0.2) == 68


@pytest.mark.parametrize(("base", "worse"), [(0.05, 0.1), (0.1, 0.2), (0.5, 0.55), (0.88, 0.93)])
def test_no_test_beats_the_bound(base: float, worse: float) -> None:
    assert ratchet_needed(base, worse) > bound_needed(base, worse)


def test_the_betting_test_raises_the_alarm_about_when_it_is_said_to() -> None:
    rng, needed, runs = np.random.default_rng(5), ratchet_needed(0.1, 0.3), 300
    game, expected, alarms = Wealths(), Expectation(runs), np.zeros(runs)
    game.add([1.0] * runs, [0.0] * runs)  # of complaints, more are worse
    for user in range(40 * needed):
        canary = (rng.random(runs) < 0.5).astype(np.float64)
        bad = (rng.random(runs) < np.where(canary, 0.3, 0.1)).astype(np.float64)
        game.play(bad, is_canary=canary, p=0.5, mean=expected.mean, variance=expected.variance)
        expected.learn(bad)
        alarms = np.where((alarms == 0) & (game.logs >= math.log(20)), (user + 1) / 2, alarms)
    assert 0.6 * needed < np.median(alarms) < 1.4 * needed


def test_days_follow_from_traffic_and_from_how_many_answers_are_judged(tmp_path: Path) -> None:
    rows = [asked(i, f"q{i}") for i in range(101)]
    counts = tried(tmp_path, *rows, *(said(i, "thumb", i % 10 > 0) for i in range(0, 100, 2))).counts
    found = plan_canary(counts)
    assert found.per_day == pytest.approx(101 / (100 / 24))
    need = found.needs[0]
    assert need.requests == math.ceil(need.judged_ratchet / (50 / 101))
    assert need.days == pytest.approx(need.requests / (found.per_day * 0.2))


def test_with_a_handful_of_verdicts_nothing_is_said(tmp_path: Path) -> None:
    found = plan_canary(tried(tmp_path, asked(1, "a"), said(1, "thumb", False)).counts)
    assert found.needs == () and found.why_not is not None and "only 1 answers" in found.why_not
