"""Intervals and exact paired tests that the gate decides by; a rollout bets (ratchet/betting.py).

Differences are always new minus old, higher is better. Each formula cites its source, and tests/ratchet/test_stats.py
checks it on known answers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES = 4000
FLIPS = 99_999
EXACT_PAIRS = 16  # up to so many non-zero differences every pattern of signs is counted
NEGLIGIBLE = 1e-18  # a probability that no p-value shows
CHUNK = 2_000_000  # random numbers drawn at once


class Interval(NamedTuple):
    """The ends of a confidence interval."""

    low: float
    high: float


class Difference(NamedTuple):
    """A mean paired difference with its confidence interval."""

    estimate: float
    low: float
    high: float


def wilson_interval(k: int, n: int, level: float = 0.95) -> Interval:
    """The score interval of a proportion, k of n (Wilson, JASA 22, 1927). n = 0 gives (0, 1)."""
    if n == 0:
        return Interval(0.0, 1.0)
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, spread = k / n, z * z / n
    centre = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return Interval(0.0 if k == 0 else max(0.0, centre - half), 1.0 if k == n else min(1.0, centre + half))


def bootstrap_mean_interval(values: Sequence[float], seed: int, level: float = 0.95) -> Interval:
    """The percentile bootstrap interval of a mean (Efron & Tibshirani 1993, section 13.3).

    Args:
        values: at least one number.
        seed: equal seeds give equal intervals.
        level: coverage.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.size == 0:
        raise ValueError("a mean needs at least one value")
    rng = np.random.default_rng(seed)
    step = max(1, CHUNK // sample.size)
    means = [
        sample[rng.integers(0, sample.size, size=(min(step, RESAMPLES - done), sample.size))].mean(axis=1)
        for done in range(0, RESAMPLES, step)
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def is_binary(values: Sequence[float]) -> bool:
    """Whether every score is 0 or 1."""
    return all(value in (0.0, 1.0) for value in values)


def paired_difference_interval(
    champion: Sequence[float], candidate: Sequence[float], *, seed: int = 17, level: float = 0.95
) -> Difference:
    """The mean of candidate minus champion on the same items, with its interval.

    Method 10 of Newcombe (Statistics in Medicine 17, 1998, 2635-2650) for 0/1 scores, a seeded percentile bootstrap of
    the paired differences for others. Both sequences are aligned and not empty.
    """
    if len(champion) != len(candidate) or not champion:
        raise ValueError("paired scores must be aligned and not empty")
    old, new = np.asarray(champion, dtype=np.float64), np.asarray(candidate, dtype=np.float64)
    if not (is_binary(champion) and is_binary(candidate)):
        interval = bootstrap_mean_interval((new - old).tolist(), seed, level)
        return Difference(float((new - old).mean()), *interval)
    both, only_new = int((new * old).sum()), int((new * (1 - old)).sum())
    only_old = int((old * (1 - new)).sum())
    return newcombe_interval(both, only_new, only_old, len(old) - both - only_new - only_old, level)


def newcombe_interval(both: int, only_new: int, only_old: int, neither: int, level: float = 0.95) -> Difference:
    """The difference of two paired proportions, new minus old (Newcombe 1998, method 10)."""
    n = both + only_new + only_old + neither
    new_share, old_share = (both + only_new) / n, (both + only_old) / n
    new, old = wilson_interval(both + only_new, n, level), wilson_interval(both + only_old, n, level)
    product = (both + only_new) * (only_old + neither) * (both + only_old) * (only_new + neither)
    agreement = both * neither - only_new * only_old
    corrected = max(agreement - n / 2, 0.0) if agreement > 0 else float(agreement)
    phi = corrected / math.sqrt(product) if product else 0.0
    down = _joined(new_share - new.low, old.high - old_share, phi)
    up = _joined(new.high - new_share, old_share - old.low, phi)
    estimate = new_share - old_share
    return Difference(estimate, estimate - down, estimate + up)


def exact_mcnemar_greater(only_candidate: int, only_champion: int) -> float:
    """One-sided p-value of `the candidate is not better`: only the items that one of the two got right count.

    The exact binomial form of McNemar's test (Psychometrika 12, 1947). No such item gives 1.
    """
    from scipy.stats import binom

    return float(binom.sf(only_candidate - 1, only_candidate + only_champion, 0.5))


def exact_margin_greater(only_candidate: int, only_other: int, n: int, margin: float, gamma: float = 1e-3) -> float:
    """One-sided p-value of `the candidate is worse than the other by margin or more` for 0/1 scores of n pairs.

    The exact unconditional distribution of the difference of the two counts at the edge of the hypothesis, where
    P(only other) - P(only candidate) = margin, maximised over the unknown share of pairs that differ. That share is
    sought inside its Clopper-Pearson interval of level 1 - gamma, and gamma is added (Berger & Boos, JASA 89, 1994), so
    the p-value holds at any n. `gamma` should be well below the level that the p-value is held against; `margin` may
    be negative.
    """
    from scipy.stats import beta, binom

    differing = only_candidate + only_other
    low = float(beta.ppf(gamma / 2, differing, n - differing + 1)) if differing else 0.0
    high = float(beta.isf(gamma / 2, differing + 1, n - differing)) if differing < n else 1.0
    low, high = max(low, abs(margin)), max(high, abs(margin))
    shares = np.linspace(low, high, 201)[:, None]
    favourable = np.divide(shares - margin, 2 * shares, out=np.full_like(shares, 0.5), where=shares > 0)
    chances = binom.pmf(np.arange(n + 1), n, shares)
    counts = np.flatnonzero(chances.max(axis=0) > NEGLIGIBLE)
    at_least = np.ceil((counts + only_candidate - only_other) / 2)  # of `counts` that differ, so many favour us
    tails = chances[:, counts] * binom.sf(at_least - 1, counts, favourable)
    largest = float(tails.sum(axis=1).max())
    return min(1.0, largest + gamma)


def sign_flip_greater(differences: Sequence[float], seed: int) -> float:
    """One-sided p-value of `the mean paired difference is not above 0`, by flipping signs.

    Fisher's randomisation test (The Design of Experiments, 1935, section 21); exact where differences are symmetric
    under the hypothesis. Every pattern is counted up to 16 non-zero differences; above, 99,999 seeded patterns and the
    observed one (Phipson & Smyth 2010), so the smallest p-value is 1e-5. No non-zero difference gives 1.
    """
    values = np.asarray([d for d in differences if d != 0.0], dtype=np.float64)
    if values.size == 0:
        return 1.0
    observed = values.sum() - 1e-9 * np.abs(values).sum()
    if values.size <= EXACT_PAIRS:
        patterns = (np.arange(2**values.size)[:, None] >> np.arange(values.size)) & 1
        return float(((1 - 2 * patterns) @ values >= observed).mean())
    rng = np.random.default_rng(seed)
    hits, done = 0, 0
    while done < FLIPS:
        size = min(FLIPS - done, max(1, CHUNK // values.size))
        signs = 1 - 2 * rng.integers(0, 2, size=(size, values.size), dtype=np.int8)
        hits += int((signs @ values >= observed).sum())
        done += size
    return (hits + 1) / (FLIPS + 1)


def not_better_p(
    champion: Sequence[float], candidate: Sequence[float], *, alpha: float, seed: int = 17, margin: float = 0.0
) -> float:
    """One-sided p-value of `candidate minus champion is at most -margin` on aligned scores, to be held against alpha.

    0/1 scores: `exact_mcnemar_greater`, or `exact_margin_greater` where there is a margin. Others:
    `sign_flip_greater` of the differences plus the margin. To ask the reverse, swap the two and negate the margin.
    """
    pairs = list(zip(champion, candidate, strict=True))
    if not (is_binary(champion) and is_binary(candidate)):
        return sign_flip_greater([new - old + margin for old, new in pairs], seed)
    gains, losses = pairs.count((0.0, 1.0)), pairs.count((1.0, 0.0))
    if margin == 0.0:
        return exact_mcnemar_greater(gains, losses)
    return exact_margin_greater(gains, losses, len(pairs), margin, gamma=alpha / 20)


def _joined(one: float, other: float, phi: float) -> float:
    return math.sqrt(max(0.0, one * one - 2 * phi * one * other + other * other))
