"""Betting on a randomised difference between canary and stable: many tests side by side, one user after another.

A user's outcome y (0 to 1) comes from the canary (C = 1) with a probability p that was fixed before it. Under "the
canary changes y by `shift`" the product z = (C - p) (y - shift C - m) has mean 0 given the past, whatever m is
expected of y, however y drifts, and whoever the user is: only the draw of C is random (design-based, after Ham,
Bojinov, Lindon & Tingley, arXiv 2210.08639). Wealth multiplied by 1 + bet z is then a fair game, so it ever reaches
1/alpha with probability alpha at most (Ville; Waudby-Smith & Ramdas, JRSS-B 86(1), 2024, section 4). The bet that
grows fastest on an effect e is e / var(y); e is not known, so the wealth is spread over `EFFECTS`. A tenth is kept and
bet bit by bit later on, or a canary that was fine for thousands of users would have lost all that could accuse it.
tests/ratchet/test_betting.py checks it by hand and by simulation.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

EFFECTS: Floats = np.array([0.04, 0.08, 0.16, 0.32])
MOST = 0.8  # of the wealth that one user may cost
MEMORY = 200  # users over which the expectation is formed: long against noise, short against a day
RANKED = 1000  # values that a number is ranked among
LEAST_VARIANCE = 1e-4
KEPT = 0.1  # of the wealth at first
KEPT_FOR = 1000  # users; after n of them 1 / (n + KEPT_FOR) of what is kept is bet with each


class Expectation:
    """The mean and the variance of the outcomes of K tests, from the users before; shape (K,)."""

    def __init__(self, k: int = 0) -> None:
        self.mean = np.full(k, 0.5)
        self.variance = np.full(k, 0.25)
        self._seen = np.zeros(k)

    def grow(self, k: int) -> None:
        """Room for K tests; the new ones know nothing yet."""
        more = Expectation(k - len(self.mean))
        self.mean = np.concatenate([self.mean, more.mean])
        self.variance = np.concatenate([self.variance, more.variance])
        self._seen = np.concatenate([self._seen, np.zeros(len(more.mean))])

    def learn(self, y: Floats) -> None:
        """Take a user's outcomes in; a missing one (nan) teaches nothing."""
        there = ~np.isnan(y)
        self._seen += there
        gain = np.where(there, np.maximum(1 / (self._seen + 1), 1 / MEMORY), 0.0)
        off = np.where(there, y, 0.0) - self.mean
        self.variance += gain * (off * off - self.variance)
        self.mean += gain * off


class Wealths:
    """The log wealth of K tests; side +1 bets that the effect is above `shift`, -1 that it is below."""

    def __init__(self) -> None:
        self._sides: Floats = np.zeros(0)
        self._shifts: Floats = np.zeros(0)
        self._bet: Floats = np.zeros((0, len(EFFECTS)))
        self._kept: Floats = np.zeros(0)
        self._played: Floats = np.zeros(0)

    def add(self, sides: Sequence[float], shifts: Sequence[float]) -> None:
        """More tests, which begin with a wealth of 1."""
        self._sides = np.concatenate([self._sides, np.asarray(sides, dtype=np.float64)])
        self._shifts = np.concatenate([self._shifts, np.asarray(shifts, dtype=np.float64)])
        begin = np.full((len(sides), len(EFFECTS)), math.log((1 - KEPT) / len(EFFECTS)))
        self._bet = np.concatenate([self._bet, begin])
        self._kept = np.concatenate([self._kept, np.full(len(sides), KEPT)])
        self._played = np.concatenate([self._played, np.zeros(len(sides))])

    def play(self, y: Floats, *, is_canary: Floats | float, p: Floats | float, mean: Floats, variance: Floats) -> None:
        """One user.

        Args:
            y: the outcomes (K,), nan where missing; such a test stands still.
            is_canary: 1 or 0.
            p: the probability of the canary, inside (0, 1).
            mean: what was expected of y before, over both channels.
            variance: of y, as it was before.
        """
        shifts, m = self._shifts, mean - p * self._shifts
        z = (is_canary - p) * (y - shifts * is_canary - m)
        is_up = self._sides > 0
        if_canary, if_stable = np.where(is_up, m + shifts, 1 - shifts - m), np.where(is_up, 1 - m, m)
        worst = np.maximum(np.maximum((1 - p) * if_canary, p * if_stable), 1e-9)
        bets = np.minimum(EFFECTS / np.maximum(variance, LEAST_VARIANCE)[:, None], (MOST / worst)[:, None])
        there = ~np.isnan(y)
        part = np.where(there, 1 / (self._played + KEPT_FOR), 0.0)
        fresh = np.log(np.maximum(self._kept * part, 1e-300) / len(EFFECTS))
        won = np.log1p(bets * np.where(there, self._sides * z, 0.0)[:, None])
        self._bet = np.logaddexp(self._bet, fresh[:, None]) + won
        self._kept *= 1 - part
        self._played += there

    @property
    def logs(self) -> Floats:
        """The log wealth of each test now, (K,)."""
        mixed: Floats = np.logaddexp(np.logaddexp.reduce(self._bet, axis=1), np.log(self._kept))
        return mixed

    def __len__(self) -> int:
        return len(self._sides)


class Ranks:
    """Turns a number into the share of the last thousand numbers that lie below it, ties half; 0.5 for the first."""

    def __init__(self) -> None:
        self._sorted: list[float] = []
        self._order: deque[float] = deque()

    def rank(self, value: float) -> float:
        """The rank among those before, which the value then joins."""
        below, upto = bisect_left(self._sorted, value), bisect_right(self._sorted, value)
        found = (below + upto) / (2 * len(self._sorted)) if self._sorted else 0.5
        insort(self._sorted, value)
        self._order.append(value)
        if len(self._order) > RANKED:
            del self._sorted[bisect_left(self._sorted, self._order.popleft())]
        return found
