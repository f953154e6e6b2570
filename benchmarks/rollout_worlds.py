"""Traffic of harmless canaries as it is: users of persistent mood and heavy tails, days, drift, delays, silence."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from benchmarks.rollout_rules import Streams
from ratchet.betting import Floats

WORLDS = ("moods and heavy tails", "daily cycle", "drifting base", "delayed feedback", "silent unhappy users")
DAY = 1.0  # a run lasts five days
DAYS = 5.0
MEAN, CONCENTRATION = 0.8, 2.0  # of a user's own rate of good answers: a Beta, wide
MOST_ANSWERS = 300


class Traffic(NamedTuple):
    """The same traffic, seen by answer (for rules that count answers) and by user (as Ratchet does)."""

    answers: Streams
    good: Floats
    drawn: Floats


def traffic(rng: np.random.Generator, world: str, n_runs: int, n: int) -> Traffic:
    """A/A traffic with `n` canary answers a run; users in the order in which they are decided, nan at the end."""
    runs = [_run(rng, world, n) for _ in range(n_runs)]
    longest = max(len(run[2]) for run in runs)
    canary, control = (np.array([run[i] for run in runs]) for i in (0, 1))
    good, drawn = np.full((n_runs, longest), np.nan), np.zeros((n_runs, longest))
    for i, run in enumerate(runs):
        good[i, : len(run[2])], drawn[i, : len(run[3])] = run[2], run[3]
    base = float(np.nanmean(control))
    return Traffic(Streams(canary, control, good, drawn, base), good, drawn)


def _run(rng: np.random.Generator, world: str, n: int) -> tuple[Floats, Floats, Floats, Floats]:
    n_users = n  # some four answers each: enough for n of either channel
    counts = np.minimum(rng.zipf(1.7, n_users), MOST_ANSWERS)
    while counts.sum() < 5 * n:
        counts = np.concatenate([counts, np.minimum(rng.zipf(1.7, n_users), MOST_ANSWERS)])
    n_users = len(counts)
    drawn = (rng.random(n_users) < 0.5).astype(np.float64)
    mood = rng.beta(MEAN * CONCENTRATION, (1 - MEAN) * CONCENTRATION, n_users)
    met = rng.random(n_users) * DAYS
    user = np.repeat(np.arange(n_users), counts)
    at = met[user] + np.where(np.arange(len(user)) == np.searchsorted(user, user), 0.0, rng.exponential(0.3, len(user)))
    good = (rng.random(len(user)) < _rate(world, mood[user], at)).astype(np.float64)
    seen_at, speaks = at, np.ones(len(user), dtype=bool)
    if world == "delayed feedback":  # complaints come at once, praise late
        seen_at = at + rng.exponential(np.where(good == 1, 0.5, 0.05))
    if world == "silent unhappy users":
        speaks = rng.random(len(user)) < np.where(good == 1, 0.5, 0.2)
    order = np.argsort(seen_at[speaks])
    y, c = good[speaks][order], drawn[user][speaks][order]
    canary, control = y[c == 1][:n], y[c == 0][:n]
    complained = (good == 0) & speaks & (seen_at <= met[user] + DAY)
    in_window = at <= met[user] + DAY
    bad = np.bincount(user, complained & in_window, n_users) / np.maximum(np.bincount(user, in_window, n_users), 1)
    by_time = np.argsort(met)
    return _filled(canary, n), _filled(control, n), 1 - bad[by_time], drawn[by_time]


def _rate(world: str, mood: Floats, at: Floats) -> Floats:
    change: Floats = np.zeros(len(at))
    if world == "daily cycle":
        change = 0.15 * np.sin(2 * np.pi * at / DAY)
    if world == "drifting base":
        change = -0.3 * at / DAYS
    return np.clip(mood + change, 0, 1)


def _filled(x: Floats, n: int) -> Floats:
    """Streams of one length: where a run has fewer outcomes, its last ones come again."""
    return x if len(x) == n else np.concatenate([x, x[-(n - len(x)) :]])
