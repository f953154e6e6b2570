"""ratchet.selection: known answers, and bias and coverage where the gate's own test selects."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom, norm

from ratchet.selection import corrected_gain
from ratchet.stats import exact_mcnemar_greater

ALPHA = 0.025
GATES = 2000


def test_the_median_given_the_pass_is_half_the_tail() -> None:
    found = corrected_gain(0.1, 0.04, p_value=norm.sf(2.5), alpha=ALPHA)
    mean = found.estimate / 0.04 + 2.5 - 0.1 / 0.04
    bar = norm.isf(ALPHA)
    assert norm.sf(2.5 - mean) / norm.sf(bar - mean) == pytest.approx(0.5)


def test_an_overwhelming_gain_is_left_as_it_is() -> None:
    found = corrected_gain(0.3, 0.03, p_value=norm.sf(10), alpha=ALPHA)
    assert found.estimate == pytest.approx(0.3, abs=1e-6)
    assert (found.low, found.high) == pytest.approx((0.3 - 1.96 * 0.03, 0.3 + 1.96 * 0.03), abs=1e-4)


def test_a_gain_that_just_passed_may_be_none() -> None:
    found = corrected_gain(0.1, 0.05, p_value=ALPHA, alpha=ALPHA)
    assert found.estimate == 0.0 and found.low == -1.0 and found.high == 0.0


def test_the_correction_never_adds_and_fades_with_the_evidence() -> None:
    taken = [0.1 - corrected_gain(0.1, 0.03, p_value=norm.sf(z), alpha=ALPHA).estimate for z in (2.0, 2.5, 3, 4, 6)]
    assert taken == sorted(taken, reverse=True) and taken[-1] >= 0


def test_a_p_value_that_underflowed_is_no_error() -> None:
    assert corrected_gain(1.0, 0.0, p_value=0.0, alpha=ALPHA) == (1.0, 1.0, 1.0)


def test_what_did_not_pass_was_not_selected() -> None:
    with pytest.raises(ValueError, match="passed"):
        corrected_gain(0.1, 0.05, p_value=0.03, alpha=ALPHA)


def accepted(gain: float, *, n: int, seed: int) -> np.ndarray:
    """Accepts of the exact test on n pairs of which 20 % differ: rows of true gain, raw, corrected, low, high."""
    rng = np.random.default_rng(seed)
    rows = []
    for differing in binom.rvs(n, 0.2, size=GATES, random_state=rng):
        wins = int(rng.binomial(differing, (1 + gain / 0.2) / 2))
        raw, p = (2 * wins - differing) / n, exact_mcnemar_greater(wins, differing - wins)
        if p <= ALPHA:
            error = math.sqrt((differing / n - raw**2) / (n - 1))
            rows.append((gain, raw, *corrected_gain(raw, error, p_value=p, alpha=ALPHA)))
    return np.array(rows)


@pytest.mark.parametrize(("gain", "raw_bias"), [(0.03, 0.03), (0.05, 0.012), (0.08, 0.001)])
def test_accepted_gains_are_too_high_and_corrected_ones_hardly(gain: float, raw_bias: float) -> None:
    found = accepted(gain, n=300, seed=7)
    raw, corrected = found[:, 1].mean() - gain, found[:, 2].mean() - gain
    assert raw > raw_bias and abs(corrected) < max(raw / 3, 0.007)


@pytest.mark.parametrize("gain", [0.0, 0.03, 0.05, 0.1])
def test_the_interval_covers_the_true_gain_among_accepts_as_the_raw_one_does_not(gain: float) -> None:
    found = np.vstack([accepted(gain, n=300, seed=seed) for seed in ((11, 12, 13) if gain == 0 else (11,))])
    covered = ((found[:, 3] <= gain + 1e-12) & (gain <= found[:, 4] + 1e-12)).mean()
    assert covered > 0.95 - 3 * math.sqrt(0.95 * 0.05 / len(found))
