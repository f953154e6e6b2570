"""How often each interval of the gate holds the truth, and how wide it is; part of bench_gate.

Nominal is 95 %. The judge's prediction-powered intervals are measured in bench_judge.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ratchet.clustered import clustered_interval
from ratchet.stats import paired_difference_interval, wilson_interval

Floats = NDArray[np.float64]
Ends = tuple[float, float]
Experiment = Callable[[np.random.Generator], tuple[float, Ends]]  # the truth, and an interval for it

ACCURACY, PER_SESSION = 0.7, 5


def experiments() -> dict[str, Experiment]:
    """By estimator and design."""
    found: dict[str, Experiment] = {}
    for n in (30, 100, 300):
        for share in (0.5, 0.7, 0.95):
            found[f"Wilson, one release, right on {share:.0%}, n={n}"] = partial(_one_release, n, share)
        for differ in (0.05, 0.1, 0.4):
            found[f"Newcombe, paired 0/1 scores, {differ:.0%} differ, n={n}"] = partial(_paired, n, differ)
        found[f"bootstrap, paired scores from 0 to 1, n={n}"] = partial(_graded, n)
    for sessions in (10, 30, 100):
        found[f"cluster-robust, {sessions} sessions of {PER_SESSION}"] = partial(_clustered, sessions)
    return found


def coverage(name: str, times: int, rng: np.random.Generator) -> dict[str, float]:
    """The share of intervals that hold the truth, and their mean width."""
    experiment, held, width = experiments()[name], 0, 0.0
    for _ in range(times):
        truth, (low, high) = experiment(rng)
        held += low <= truth <= high
        width += high - low
    return {"coverage": round(held / times, 4), "width": round(width / times, 4)}


def _one_release(n: int, share: float, rng: np.random.Generator) -> tuple[float, Ends]:
    return share, wilson_interval(int(rng.binomial(n, share)), n)


def _paired(n: int, differ: float, rng: np.random.Generator, gain: float = 0.02) -> tuple[float, Ends]:
    old = rng.random(n) < ACCURACY
    lost, won = (differ - gain) / 2 / ACCURACY, (differ + gain) / 2 / (1 - ACCURACY)
    new = old ^ (rng.random(n) < np.where(old, lost, won))
    found = paired_difference_interval(old.astype(float).tolist(), new.astype(float).tolist())
    return gain, (found.low, found.high)


def _graded(n: int, rng: np.random.Generator) -> tuple[float, Ends]:
    """Scores such as token F1: half of the items are alike, of the others the new answer is mostly a little better."""
    old = rng.beta(4, 2, n)
    is_other = rng.random(n) < 0.5
    new = np.where(is_other, rng.beta(5, 2, n), old)
    truth = 0.5 * (5 / 7 - 4 / 6)
    found = paired_difference_interval(old.tolist(), new.tolist(), seed=int(rng.integers(2**31)))
    return truth, (found.low, found.high)


def _clustered(sessions: int, rng: np.random.Generator, gain: float = 0.02) -> tuple[float, Ends]:
    """Differences of -1, 0 and 1, of which those of a session hang together."""
    leaning = np.repeat(rng.normal(0, 0.1, sessions), PER_SESSION)
    chance = rng.random(sessions * PER_SESSION)
    up = np.clip(0.1 + (gain + leaning) / 2, 0, 1)
    down = np.clip(0.1 - (gain + leaning) / 2, 0, 1)
    differences = (chance < up).astype(float) - (chance > 1 - down)
    found = clustered_interval(differences.tolist(), np.repeat(np.arange(sessions), PER_SESSION).tolist())
    assert found is not None
    return gain, (found.low, found.high)
