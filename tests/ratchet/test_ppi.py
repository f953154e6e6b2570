"""ratchet.ppi: cases by hand, a slow second implementation, and what intervals and tests cover."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import t

from ratchet.errors import BadInput
from ratchet.ppi import (
    DIFFERENCES,
    FEWEST_LABELS,
    Estimate,
    JudgedPair,
    estimate_difference,
    estimate_mean,
    ppi_not_better_p,
    swapped,
    why_refused,
)


def test_the_judge_is_put_right_by_its_mean_error() -> None:
    # the judge says 1, 1, 0, 1 (mean 0.75); people say 0 where it said 1 and 0 where it said 0: it is 0.5 too high
    found = estimate_mean([1.0, 1.0, 0.0, 1.0], [0.0, None, 0.0, None], judge_weight=1.0)
    assert (found.value, found.labels, found.items) == (pytest.approx(0.25), 2, 4)


def test_without_the_judge_the_interval_is_bonett_and_prices() -> None:
    # 40 labels of no. 3 to 1: (3 + 1 - 1 - 1) / 42, variance (4 + 2) / 42 - mean^2 over 41
    labels: list[float | None] = [1.0] * 3 + [-1.0] + [0.0] * 36
    found = estimate_mean([0.0] * 40, labels, ends=DIFFERENCES, judge_weight=0.0).interval()
    centre, error = 2 / 42, math.sqrt((6 / 42 - (2 / 42) ** 2) / 41)
    half = t.ppf(0.975, 39) * error
    assert found == pytest.approx((0.05, centre - half, centre + half))


def test_a_labelled_item_counts_by_how_seldom_its_like_are_drawn() -> None:
    found = estimate_mean([0.0] * 3, [1.0, 0.0, None], [0.5, 0.1, 0.1], judge_weight=0.0)
    assert found.value == pytest.approx(2 / 12)


def test_all_labelled_and_trusted_is_the_mean_of_the_labels_and_their_variance() -> None:
    judged, labels = [0.2, 0.9, 0.4, 0.6], [0.0, 1.0, 1.0, 0.0]
    found = estimate_mean(judged, labels, judge_weight=1.0)
    assert found.value == pytest.approx(0.5)
    beyond = np.array(labels) - np.array(judged)
    assert found.variance_of_items == pytest.approx((np.var(labels) - np.var(beyond)) / 4)


def test_the_weight_of_the_judge_agrees_with_a_slow_second_implementation() -> None:
    rng = np.random.default_rng(4)
    judged = rng.random(60)
    labels = [float(rng.random() < 0.3 + 0.4 * score) if i % 2 else None for i, score in enumerate(judged)]
    inclusion = [0.2 + 0.6 * float(rng.random()) for _ in judged]
    value, weight = slowly(judged.tolist(), labels, inclusion)
    found = estimate_mean(judged.tolist(), labels, inclusion)
    assert (found.value, found.judge_weight) == (pytest.approx(value), pytest.approx(weight))
    assert 0.1 < found.judge_weight < 0.9  # nowhere cut off


def slowly(judged: Sequence[float], labels: Sequence[float | None], inclusion: Sequence[float]) -> tuple[float, float]:
    """Value and judge's weight, each label's slope fitted on the others by least squares."""
    kept = [
        (score, label, 1 / p) for score, label, p in zip(judged, labels, inclusion, strict=True) if label is not None
    ]
    total, value, mean_slope = sum(w for *_, w in kept), 0.0, 0.0
    for i, (score, label, weight) in enumerate(kept):
        x, y, w = map(np.array, zip(*(row for j, row in enumerate(kept) if j != i), strict=True))
        design = np.stack([np.ones_like(x), x], axis=1) * np.sqrt(w)[:, None]
        slope = float(np.clip(np.linalg.lstsq(design, y * np.sqrt(w))[0][1], 0, 1))
        value += weight / total * (label - slope * score)
        mean_slope += weight / total * slope
    return value + mean_slope * float(np.mean(judged)), mean_slope


def test_a_judge_that_knows_nothing_is_not_weighed() -> None:
    found = estimate_mean([0.5] * 40, [1.0, 0.0] * 10 + [None] * 20)
    assert (found.judge_weight, found.value) == (0.0, 0.5)


def test_a_good_judge_makes_the_interval_narrower() -> None:
    pairs = drawn(np.random.default_rng(2), labels=80, right=0.97)
    alone = [JudgedPair(0.5, 0.5, *pair[2:]) for pair in pairs]
    assert width(estimate_difference(pairs)) < 0.8 * width(estimate_difference(alone))


def width(found: Estimate) -> float:
    """The width of the 95 % interval."""
    ends = found.interval()
    return ends.high - ends.low


def drawn(
    rng: np.random.Generator,
    *,
    labels: int,
    right: float = 0.8,
    gain: float = 0.15,
    loss: float = 0.05,
    favour: float = 0.0,
) -> list[JudgedPair]:
    """Three hundred items; the judge is right so often, and calls a bad answer of the candidate's good more often."""
    u = rng.random(300)
    old, new = (u < 0.5 + loss).astype(float), ((u < 0.5) | (u > 1 - gain)).astype(float)
    said = [np.where(rng.random(300) < right, h, 1 - h) for h in (old, new)]
    said[1] = np.maximum(said[1], rng.random(300) < favour)
    seen = set(rng.choice(300, labels, replace=False).tolist())
    people = [(float(old[i]), float(new[i])) if i in seen else (None, None) for i in range(300)]
    return [JudgedPair(float(said[0][i]), float(said[1][i]), *people[i], labels / 300) for i in range(300)]


@pytest.mark.parametrize("labels", [30, 100])
def test_intervals_cover_although_the_judge_favours_the_candidate(labels: int) -> None:
    rng, covered, judge_covered = np.random.default_rng(8), 0, 0
    for _ in range(400):
        pairs = drawn(rng, labels=labels, favour=0.3)
        found = estimate_difference(pairs).interval()
        covered += found.low <= 0.1 <= found.high
        gaps = [pair.judge_difference for pair in pairs]
        judge_covered += abs(np.mean(gaps) - 0.1) <= 1.96 * np.std(gaps) / math.sqrt(300)
    assert covered / 400 >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / 400)
    assert judge_covered / 400 < 0.8


def test_equal_releases_pass_no_more_often_than_alpha_although_the_judge_favours_the_candidate() -> None:
    rng = np.random.default_rng(9)
    p_values = [ppi_not_better_p(drawn(rng, labels=60, gain=0.1, loss=0.1, favour=0.3)) for _ in range(400)]
    assert np.mean(np.array(p_values) <= 0.05) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


def test_a_loss_of_just_the_margin_that_no_label_shows_is_not_ruled_out() -> None:
    unseen = [JudgedPair(1.0, 1.0, 1.0, 1.0)] * 100  # of 100 labels none differs: so it goes where 3 % are lost, too
    assert ppi_not_better_p(unseen, margin=0.03) > 0.97**100
    assert ppi_not_better_p(unseen * 5, margin=0.03) < 0.001


def test_a_better_candidate_is_found_and_a_worse_one_by_asking_the_reverse() -> None:
    pairs = drawn(np.random.default_rng(3), labels=150, right=0.9, gain=0.25, loss=0.02)
    assert ppi_not_better_p(pairs) < 0.001
    assert ppi_not_better_p(swapped(pairs)) > 0.99
    assert ppi_not_better_p(swapped(pairs), margin=0.4) < 0.01


def test_a_judge_with_too_few_labels_shows_nothing_and_is_refused() -> None:
    pairs = [JudgedPair(0.0, 1.0, 0.0, 1.0)] * (FEWEST_LABELS - 1) + [JudgedPair(0.0, 1.0, 0.0, None)] * 500
    assert ppi_not_better_p(pairs) == 1.0
    assert f"from {FEWEST_LABELS - 1} labelled items" in str(why_refused(pairs))
    more = [*pairs, JudgedPair(0.0, 1.0, 0.0, 1.0)]
    assert why_refused(more) is None
    assert ppi_not_better_p(more) < 0.05


@pytest.mark.parametrize(
    ("judged", "labels", "inclusion", "told"),
    [
        ([0.5, 0.5], [1.0], None, "aligned"),
        ([0.5, 0.5], [1.0, None], None, "two at least"),
        ([0.5, 1.5], [1.0, 0.0], None, "from 0 to 1"),
        ([0.5, math.nan], [1.0, 0.0], None, "from 0 to 1"),
        ([0.5, 0.5], [1.0, 0.0], [0.0, 1.0], "inclusion"),
    ],
)
def test_what_cannot_be_estimated_from_is_refused(
    judged: list[float], labels: list[float | None], inclusion: list[float] | None, told: str
) -> None:
    with pytest.raises(BadInput, match=told):
        estimate_mean(judged, labels, inclusion)
