"""Rules that take a canary back, on the same thumbs: Ratchet's bet, mixture SPRT, Flagger's and Kayenta's.

Each gives, per stream, a statistic after each canary outcome (n_runs, n) that is alarming when high; its knob is the
line. So one pass serves every setting of a knob.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import log_ndtr
from scipy.stats import mannwhitneyu

from ratchet.betting import Expectation, Floats, Wealths

WINDOW, FAILURES, BURN_IN, TAU = 60, 5, 50, 0.1
NEVER = -np.inf


class Streams(NamedTuple):
    """The same thumbs (1 good) twice: of both channels (n_runs, n), and of the users as they came (n_runs, n_users).

    `drawn` is 1 for a canary user; the channels' outcomes are those of their first n users, in order.
    """

    canary: Floats
    control: Floats
    good: Floats
    drawn: Floats
    base: float


def of_users(good: Floats, drawn: Floats, n: int, base: float) -> Streams:
    """Streams of users; each run has at least n of either channel."""
    canary, control = (np.array([y[c == side][:n] for y, c in zip(good, drawn, strict=True)]) for side in (1, 0))
    return Streams(canary, control, good, drawn, base)


def bets(y: Floats, drawn: Floats, p: float = 0.5, side: float = -1.0) -> Floats:
    """Ratchet's log wealth after each user: outcomes and draws (n_runs, n_users) -> the same; nan plays nothing."""
    n_runs, n_users = y.shape
    game, expected = Wealths(), Expectation(n_runs)
    game.add([side] * n_runs, [0.0] * n_runs)
    path: Floats = np.empty((n_runs, n_users))
    for t in range(n_users):
        game.play(y[:, t], is_canary=drawn[:, t], p=p, mean=expected.mean, variance=expected.variance)
        expected.learn(y[:, t])
        path[:, t] = game.logs
    return path


def by_canary(path: Floats, drawn: Floats, n: int) -> Floats:
    """A path per user as one per canary outcome: what stood highest up to just before the next canary user."""
    top = np.maximum.accumulate(path, axis=1)
    found = np.full((len(path), n), NEVER)
    for run in range(len(path)):
        at = np.flatnonzero(drawn[run])[:n]
        found[run, : len(at)] = top[run, at]
        found[run, len(at) :] = top[run, -1]
    return found


def ratchet(streams: Streams) -> Floats:
    """The log wealth of ratchet/betting.py."""
    return by_canary(bets(streams.good, streams.drawn), streams.drawn, streams.canary.shape[1])


def mixture_sprt(streams: Streams) -> Floats:
    """The log likelihood ratio under a half-normal prior on the drop (Johari et al. 2022), after 50 outcomes."""
    t = np.arange(1, streams.canary.shape[1] + 1)
    new, old = np.cumsum(streams.canary, axis=1) / t, np.cumsum(streams.control, axis=1) / t
    v = np.maximum((new + old) / 2 * (1 - (new + old) / 2), 1e-6) * 2
    s, drop = v + t * TAU**2, old - new
    found = np.log(2) + 0.5 * np.log(v / s) + (t * TAU * drop) ** 2 / (2 * v * s)
    found = found + log_ndtr(t * TAU * drop / np.sqrt(v * s))
    found[:, :BURN_IN] = NEVER
    return np.asarray(found)


def flagger_in_a_row(streams: Streams) -> Floats:
    """The least excess of bad outcomes over the base in five windows of 60 in a row (Flagger as it is described)."""
    excess = _excess(streams)
    return _spread(np.array([_least_of_five(row) for row in excess]), streams)


def flagger_as_coded(streams: Streams) -> Floats:
    """The fifth highest excess so far: failed checks of an analysis add up, a passed one resets nothing."""
    excess = _excess(streams)
    found = np.full(excess.shape, NEVER)
    for i in range(FAILURES - 1, excess.shape[1]):
        found[:, i] = np.sort(excess[:, : i + 1], axis=1)[:, -FAILURES]
    return _spread(found, streams)


def kayenta(streams: Streams) -> Floats:
    """-log p of Mann-Whitney on the rates per 60 since the start, every 10 windows (Kayenta's growing look-back)."""
    new, old = _rates(streams.canary), _rates(streams.control)
    found = np.full(new.shape, NEVER)
    for i in range(10, new.shape[1] + 1, 10):
        test = mannwhitneyu(new[:, :i], old[:, :i], alternative="less", axis=1, method="asymptotic")
        found[:, i - 1] = -np.log(np.maximum(np.nan_to_num(test.pvalue, nan=1.0), 1e-300))
    return _spread(found, streams)


RULES: dict[str, Callable[[Streams], Floats]] = {
    "ratchet": ratchet,
    "mixture SPRT": mixture_sprt,
    "Flagger, 5 in a row": flagger_in_a_row,
    "Flagger, as coded": flagger_as_coded,
    "Kayenta, Mann-Whitney": kayenta,
}


def first_alarm(statistic: Floats, line: float) -> Floats:
    """The canary outcome at which each run is taken back; 0 for never."""
    over = statistic >= line
    return np.where(over.any(axis=1), over.argmax(axis=1) + 1, 0).astype(np.float64)


def line_for(statistics: list[Floats], alpha: float) -> float:
    """The lowest line that at most a share `alpha` of the runs reach, in each of several sets of harmless streams."""
    lines = []
    for statistic in statistics:
        highest = np.sort(statistic.max(axis=1))[::-1]
        lines.append(float(highest[int(alpha * len(highest))]))
    return float(np.nextafter(max(lines), np.inf))


def _rates(x: Floats) -> Floats:
    n = x.shape[1] // WINDOW
    found: Floats = x[:, : n * WINDOW].reshape(len(x), n, WINDOW).mean(axis=2)
    return found


def _excess(streams: Streams) -> Floats:
    found: Floats = streams.base - _rates(streams.canary)
    return found


def _least_of_five(row: Floats) -> Floats:
    found = np.full(len(row), NEVER)
    windows = np.lib.stride_tricks.sliding_window_view(row, FAILURES).min(axis=1)
    found[FAILURES - 1 :] = windows
    return found


def _spread(per_window: Floats, streams: Streams) -> Floats:
    """A statistic per window as one per outcome: it is known at the window's last outcome."""
    found = np.full(streams.canary.shape, NEVER)
    n = per_window.shape[1]
    found[:, WINDOW - 1 : n * WINDOW : WINDOW] = per_window
    return found
