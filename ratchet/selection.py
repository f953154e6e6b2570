"""What a gain is worth after it was selected: an estimate that comes with an accept is too high on average.

Only differences that pass a test become an accept, so those that chance made too small are missing among them. The
correction conditions on the pass. tests/ratchet/test_selection.py plays the gate and measures bias and coverage.
"""

from __future__ import annotations

import math

from ratchet.stats import Difference

LOWEST_P = 1e-300  # beyond it a p-value is 0 in floating point
SEARCHED = 40.0  # standard errors below and above the observed one


def corrected_gain(estimate: float, error: float, *, p_value: float, alpha: float, level: float = 0.95) -> Difference:
    """The median-unbiased gain given that its test passed, with the interval of that coverage.

    The statistic is taken as normal with unit variance around the true gain over its standard error, and as seen only
    where it exceeds the quantile of `alpha`. The ends solve P(Z >= z | Z >= c; true) = q for q of (1 - level) / 2, 1/2
    and (1 + level) / 2: the truncated Gaussian pivot (Zhong & Prentice, Biostatistics 9, 2008, on the bias and the
    conditional likelihood; Lee, Sun, Sun & Taylor, Annals of Statistics 44, 2016, on the pivot). z is that of the
    p-value, so that what the gate passed is what is conditioned on.

    Args:
        estimate: the observed difference, higher is better.
        error: its standard error; 0 leaves the estimate as it is.
        p_value: one-sided, of `not better`; at most `alpha`.
        alpha: what the test was held against.
        level: coverage of the interval, given that the test passed.

    Returns:
        The estimate from 0 to the observed one: where no gain at all fits as well as any it is 0. The lower end is -1
        at least.

    Raises:
        ValueError: the test did not pass, so nothing was selected.
    """
    from scipy.special import ndtri

    if p_value > alpha:
        raise ValueError("only what passed its test was selected")
    seen, bar = -float(ndtri(max(p_value, LOWEST_P))), -float(ndtri(alpha))
    low, middle, high = (
        estimate + error * (_true_at(seen, bar, share) - seen) for share in ((1 - level) / 2, 0.5, (1 + level) / 2)
    )
    gain = min(max(middle, 0.0), max(estimate, 0.0))
    return Difference(gain, max(min(low, gain), -1.0), max(high, gain))


def _true_at(seen: float, bar: float, share: float) -> float:
    """The true mean at which a normal that exceeds `bar` exceeds `seen` with probability `share`; rises with share."""
    from scipy.optimize import brentq
    from scipy.special import log_ndtr

    def excess(mean: float) -> float:
        return float(log_ndtr(mean - seen) - log_ndtr(mean - bar)) - math.log(share)

    low, high = seen - SEARCHED, seen + SEARCHED
    return low if excess(low) >= 0 else float(brentq(excess, low, high))
