"""How many judged answers a canary must gather before any test can tell that answers got worse.

A test that may look at any time and is wrong with probability alpha at most needs, on average, log(1/alpha) / KL
answers to see a share of bad answers of p1 where p0 is known (Wald 1945; KL is the Kullback-Leibler divergence of the
two Bernoulli distributions). p0 is not known in practice, so more are needed: the second figure is what Ratchet's own
test needs, at its mean growth, when as many answers of the release in service stand beside the canary's.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np

from ratchet.betting import EFFECTS, KEPT, MOST
from tasks.try_out.counts import Counts, Rate

ALPHA = 0.05
DROPS = (0.05, 0.10)
LEAST_JUDGED = 20  # with fewer nobody knows today's share of bad answers, let alone a change of it
CANARY_SHARE = 0.2  # the first step of a rollout, unless feature.yaml says otherwise


@dataclass(frozen=True)
class Need:
    """To see that the share of bad answers rose by `drop`.

    `users_ratchet`: the same for the share of users who complain, which is what a rollout counts; None without users.
    `days`: until the answers are there; None where traffic per day is not known.
    """

    drop: float
    judged_bound: int
    judged_ratchet: int
    requests: int
    users_ratchet: int | None
    days: float | None


@dataclass(frozen=True)
class Canary:
    """At which rates; `needs` is empty, with the reason, where nothing can be said."""

    base: float | None
    feedback_rate: float | None
    per_day: float | None
    needs: tuple[Need, ...]
    why_not: str | None


def plan_canary(counts: Counts) -> Canary:
    """What a canary at a fifth of the traffic would need at the observed rates."""
    size, judged = counts.size, counts.judged
    per_day = size.interactions / size.days if size.days else None
    if not judged.n:
        return Canary(None, 0.0 if size.interactions else None, per_day, (), "no answer was judged by anybody")
    if judged.n < LEAST_JUDGED:
        few = f"only {judged.n} answers were judged, so today's share of bad answers is not known"
        return Canary(None, judged.n / size.interactions, per_day, (), few)
    base, rate = (judged.k + 0.5) / (judged.n + 1), judged.n / size.interactions
    needs = []
    for drop in DROPS:
        worse = base + drop
        if worse < 1:
            bound, ours = bound_needed(base, worse), ratchet_needed(base, worse)
            requests = math.ceil(ours / rate)
            days = requests / (per_day * CANARY_SHARE) if per_day else None
            needs.append(Need(drop, bound, ours, requests, _users(counts.complaining, drop), days))
    return Canary(base, rate, per_day, tuple(needs), None if needs else "nearly every judged answer is bad already")


def _users(complaining: Rate, drop: float) -> int | None:
    base = (complaining.k + 0.5) / (complaining.n + 1)
    return ratchet_needed(base, base + drop) if complaining.n and base + drop < 1 else None


def bound_needed(base: float, worse: float, alpha: float = ALPHA) -> int:
    """Judged answers that no test with error `alpha` can do without, on average; both shares are inside (0, 1)."""
    divergence = worse * math.log(worse / base) + (1 - worse) * math.log((1 - worse) / (1 - base))
    return math.ceil(math.log(1 / alpha) / divergence)


def ratchet_needed(base: float, worse: float, alpha: float = ALPHA, limit: int = 10_000_000) -> int:
    """Pairs (one answer of each release) after which the betting test's wealth, at its mean growth, reaches 1/alpha."""
    middle = (base + worse) / 2  # expected of either release once both were seen
    bets = np.minimum(EFFECTS / (middle * (1 - middle)), MOST / (max(middle, 1 - middle) / 2))
    growth = sum(
        share * np.log1p(side * bets / 2 * (bad - middle))
        for side, rate in ((1, worse), (-1, base))
        for bad, share in ((1, rate), (0, 1 - rate))
    )

    def is_enough(n: int) -> bool:
        spread = math.log((1 - KEPT) / len(EFFECTS))
        return float(np.logaddexp.reduce(n * growth)) + spread >= math.log(1 / alpha)

    return bisect_left(range(limit), True, key=is_enough)
