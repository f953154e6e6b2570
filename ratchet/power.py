"""What a holdout can show, before anybody looks: the gain that is found four times in five, and the items it takes.

For the exact one-sided McNemar test on 0/1 scores, where two releases disagree on a share of the items
(`disagreement`); scores between 0 and 1 that differ by less are easier to tell apart. Items of one session count once:
give the number of sessions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ratchet.stats import exact_margin_greater

POWER = 0.8
DISAGREEMENTS = (0.1, 0.2, 0.4)
GAINS = (0.02, 0.05, 0.1)
MOST_ITEMS = 50_000


@dataclass(frozen=True)
class Plan:
    """What `items` can show at an error of `alpha`.

    Attributes:
        detectable: by disagreement, the smallest true gain that is found four times in five; None where none is.
        needed: by gain, the items that find it four times in five where releases disagree on a fifth of them; None:
            more than MOST_ITEMS.
    """

    items: int
    alpha: float
    detectable: dict[float, float | None]
    needed: dict[float, int | None]


def plan(items: int, alpha: float) -> Plan:
    """What a holdout of so many items can show at this error."""
    return Plan(
        items=items,
        alpha=alpha,
        detectable={d: detectable_gain(items, d, alpha) for d in DISAGREEMENTS},
        needed={gain: items_needed(gain, DISAGREEMENTS[1], alpha) for gain in GAINS},
    )


def power_of(items: int, gain: float, disagreement: float, alpha: float) -> float:
    """The probability that a true gain is found.

    Exact: over how many items differ (binomial), and of those over how many favour the candidate; checked against
    simulated tests in tests/ratchet/test_power.py. `gain` is at most the disagreement.
    """
    from scipy.stats import binom

    spread = 8 * math.sqrt(items * disagreement * (1 - disagreement)) + 10
    counts = np.arange(
        max(0, math.floor(items * disagreement - spread)), min(items, math.ceil(items * disagreement + spread)) + 1
    )
    critical = binom.isf(alpha, counts, 0.5)  # more than so many wins are significant
    wins = binom.sf(critical, counts, (disagreement + gain) / (2 * disagreement))
    return float(binom.pmf(counts, items, disagreement) @ wins)


def detectable_gain(items: int, disagreement: float, alpha: float, power: float = POWER) -> float | None:
    """The smallest true gain that is found with this power, to a tenth of a point; None where none is."""
    steps = math.floor(disagreement * 1000 + 1e-9)
    found = _first(steps, lambda step: power_of(items, step / 1000, disagreement, alpha) >= power)
    return None if found is None else found / 1000


def items_needed(gain: float, disagreement: float, alpha: float, power: float = POWER) -> int | None:
    """About how many items find a true gain with this power; None: more than MOST_ITEMS."""
    return _first(MOST_ITEMS, lambda items: power_of(items, gain, disagreement, alpha) >= power)


def items_to_rule_out(margin: float, alpha: float) -> int | None:
    """The fewest items on which a loss of the margin is ruled out although not one answer differs.

    No holdout that is smaller can ever accept with this margin. None: more than MOST_ITEMS, or no margin.
    """
    if margin <= 0:
        return None
    fewest = max(1, math.floor(math.log(alpha) / math.log1p(-min(margin, 0.999))))
    found = _first(
        min(MOST_ITEMS, 4 * fewest + 10) - fewest,
        lambda more: exact_margin_greater(0, 0, fewest + more, margin, gamma=alpha / 20) <= alpha,
    )
    return None if found is None else fewest + found


def most_lost(items: int, margin: float, alpha: float) -> int | None:
    """How many 0/1 scores may be lost, none being won, so that a loss of the margin is still ruled out.

    None: so few items never rule it out.
    """
    if margin <= 0 or exact_margin_greater(0, 0, items, margin, gamma=alpha / 20) > alpha:
        return None
    over = _first(items, lambda lost: exact_margin_greater(0, lost, items, margin, gamma=alpha / 20) > alpha)
    return items if over is None else over - 1


def smallest_margin(items: int, alpha: float) -> float | None:
    """The smallest margin, to a hundredth, that so many items rule out where not one 0/1 score is lost."""
    found = _first(99, lambda step: exact_margin_greater(0, 0, items, step / 100, gamma=alpha / 20) <= alpha)
    return None if found is None else found / 100


def loss_kept_out(items: int, lost: int, power: float = POWER) -> float:
    """The true loss, to a tenth of a point, with which more than `lost` of the scores are lost with this power."""
    from scipy.stats import binom

    found = _first(1000, lambda step: float(binom.sf(lost, items, step / 1000)) >= power)
    return 1.0 if found is None else found / 1000


def _first(most: int, is_enough: Callable[[int], bool]) -> int | None:
    """The smallest whole number from 1 to `most` that is enough, where each above it is too; None without one."""
    if most < 1 or not is_enough(most):
        return None
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high
