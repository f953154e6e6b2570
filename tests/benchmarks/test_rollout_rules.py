"""benchmarks.rollout_rules and bench_rollout: peers' rules and the bound by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.bench_rollout import bound, draw
from benchmarks.rollout_rules import (
    NEVER,
    Streams,
    first_alarm,
    flagger_as_coded,
    flagger_in_a_row,
    kayenta,
    line_for,
    mixture_sprt,
    of_users,
    ratchet,
)

GOOD, BAD = np.ones(60), np.zeros(60)


def windows(*canary: np.ndarray) -> Streams:
    new = np.concatenate(canary)[None, :]
    return Streams(new, np.ones_like(new), np.zeros((1, 0)), np.zeros((1, 0)), 1.0)


def test_flagger_counts_failed_checks_and_in_a_row_forgets_them() -> None:
    streams = windows(BAD, BAD, BAD, GOOD, BAD, BAD, GOOD)
    assert first_alarm(flagger_as_coded(streams), 0.5).tolist() == [6 * 60]
    assert first_alarm(flagger_in_a_row(streams), 0.5).tolist() == [0]
    assert first_alarm(flagger_in_a_row(windows(GOOD, *[BAD] * 5)), 0.5).tolist() == [6 * 60]


def test_the_streams_of_the_channels_are_those_of_their_users() -> None:
    good, drawn = np.array([[1.0, 0.0, 1.0, 0.0]]), np.array([[1.0, 0.0, 0.0, 1.0]])
    streams = of_users(good, drawn, 2, 0.5)
    assert streams.canary.tolist() == [[1.0, 0.0]] and streams.control.tolist() == [[0.0, 1.0]]


def test_a_line_is_reached_by_at_most_a_share_alpha() -> None:
    statistic = np.arange(100.0)[:, None]
    line = line_for([statistic, statistic / 2], 0.05)
    assert (first_alarm(statistic, line) > 0).mean() == 0.05


def test_the_bound_by_hand() -> None:
    kl = (
        0.7 * math.log(0.7 / 0.75)
        + 0.3 * math.log(0.3 / 0.25)
        + 0.8 * math.log(0.8 / 0.75)
        + 0.2 * math.log(0.2 / 0.25)
    )
    assert bound(0.8, 0.1) == pytest.approx(math.log(20) / kl)


@pytest.mark.parametrize("rule", [ratchet, mixture_sprt, kayenta])
def test_a_statistic_is_high_where_the_canary_is_worse(rule: object) -> None:
    rng = np.random.default_rng(1)
    worse, equal = (rule(draw(rng, 5, 900, 0.8, drop)) for drop in (0.4, 0.0))  # type: ignore[operator]
    assert worse.shape == (5, 900) and worse.max(axis=1).min() > equal.max(axis=1).max() > NEVER
