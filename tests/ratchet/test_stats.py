"""ratchet.stats: known answers worked by hand, from the cited papers or from scipy, and properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest, bootstrap, permutation_test

from ratchet.stats import (
    bootstrap_mean_interval,
    exact_margin_greater,
    exact_mcnemar_greater,
    newcombe_interval,
    not_better_p,
    paired_difference_interval,
    sign_flip_greater,
    wilson_interval,
)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (8, 10), (10, 10), (37, 300)])
def test_wilson_agrees_with_scipy(k: int, n: int) -> None:
    expected = binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(k, n) == pytest.approx((expected.low, expected.high))


def test_wilson_of_nothing_is_everything() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_bootstrap_agrees_with_scipy_and_repeats() -> None:
    values = np.random.default_rng(1).normal(0.5, 0.2, 80).tolist()
    expected = bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(2)).confidence_interval
    assert bootstrap_mean_interval(values, 3) == pytest.approx((expected.low, expected.high), abs=0.01)
    assert bootstrap_mean_interval(values, 3) == bootstrap_mean_interval(values, 3)


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [((36, 12, 2, 0), 0.0569, 0.3404), ((54, 0, 0, 0), -0.0664, 0.0664)],  # Newcombe 1998, table III
)
def test_newcombe_method_10_gives_the_papers_values(table: tuple[int, int, int, int], low: float, high: float) -> None:
    found = newcombe_interval(*table)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_newcombe_is_antisymmetric() -> None:
    one, other = newcombe_interval(20, 9, 4, 7), newcombe_interval(20, 4, 9, 7)
    assert (one.estimate, one.low, one.high) == pytest.approx((-other.estimate, -other.high, -other.low))


def test_binary_pairs_use_newcombe_and_others_the_bootstrap() -> None:
    assert paired_difference_interval([0, 0, 1, 1], [1, 1, 1, 0]) == newcombe_interval(1, 2, 1, 0)
    found = paired_difference_interval([0.1, 0.2, 0.3], [0.6, 0.7, 0.8])
    assert found == pytest.approx((0.5, 0.5, 0.5))


def test_paired_difference_refuses_unaligned_scores() -> None:
    with pytest.raises(ValueError, match="aligned"):
        paired_difference_interval([1.0], [1.0, 0.0])


@pytest.mark.parametrize(("wins", "losses"), [(10, 2), (5, 5), (0, 4)])
def test_mcnemar_is_the_binomial_test(wins: int, losses: int) -> None:
    expected = binomtest(wins, wins + losses, 0.5, alternative="greater").pvalue
    assert exact_mcnemar_greater(wins, losses) == pytest.approx(expected)


def test_mcnemar_without_a_difference_is_one() -> None:
    assert exact_mcnemar_greater(0, 0) == 1.0
    assert exact_mcnemar_greater(3, 0) == 0.125


def test_the_margin_test_by_hand_where_one_pair_tells() -> None:
    """n = 1, margin 1: at the edge the other always wins, so P(difference >= 0) is 0; only gamma stays."""
    assert exact_margin_greater(0, 0, 1, 1.0, gamma=0.01) == pytest.approx(0.01)
    assert exact_margin_greater(0, 1, 1, 1.0, gamma=0.01) == 1.0


@pytest.mark.parametrize("differing", [0.1, 0.3, 0.6])
def test_the_margin_test_errs_no_more_often_than_its_level(differing: float) -> None:
    margin, n, rng = 0.05, 120, np.random.default_rng(7)
    shares = [(differing - margin) / 2, (differing + margin) / 2, 1 - differing]
    draws = rng.multinomial(n, shares, size=400)
    p = {(g, lost): exact_margin_greater(g, lost, n, margin) for g, lost in {(d[0], d[1]) for d in draws.tolist()}}
    assert np.mean([p[d[0], d[1]] <= 0.05 for d in draws.tolist()]) <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 400)


def test_a_larger_margin_is_easier_to_hold() -> None:
    p = [exact_margin_greater(15, 18, 300, margin) for margin in (0.02, 0.05, 0.1)]
    assert p == sorted(p, reverse=True) and p[2] < 0.01 < p[0]


def test_a_clear_loss_is_shown_with_the_roles_swapped() -> None:
    champion, candidate = [1.0] * 60 + [0.0] * 40, [1.0] * 30 + [0.0] * 70
    assert not_better_p(candidate, champion, alpha=0.05, margin=-0.05) < 0.01
    assert not_better_p(champion, candidate, alpha=0.05, margin=0.05) > 0.99


def test_sign_flips_are_counted_by_hand_for_few() -> None:
    assert sign_flip_greater([1.0, 2.0, 3.0], seed=1) == 1 / 8
    assert sign_flip_greater([1.0, -1.0], seed=1) == 3 / 4
    assert sign_flip_greater([0.0, 0.0], seed=1) == 1.0


def test_sign_flips_agree_with_scipy_for_many() -> None:
    values = np.random.default_rng(5).normal(0.15, 1, 100)
    expected = permutation_test(
        (values, np.zeros(100)), lambda a, b: np.mean(a - b), permutation_type="samples", alternative="greater",
        n_resamples=9999, rng=np.random.default_rng(6),
    ).pvalue  # fmt: skip
    assert sign_flip_greater(values.tolist(), seed=1) == pytest.approx(expected, abs=0.02)
    assert sign_flip_greater(values.tolist(), seed=1) == sign_flip_greater(values.tolist(), seed=1)
