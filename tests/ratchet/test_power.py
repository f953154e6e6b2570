"""ratchet.power: what a holdout can show, against the test itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multinomial

from ratchet.power import detectable_gain, items_needed, items_to_rule_out, plan, power_of
from ratchet.stats import exact_margin_greater, exact_mcnemar_greater


@pytest.mark.parametrize("gain", [0.0, 0.1, 0.4])
def test_power_is_the_sum_over_every_outcome_of_the_test(gain: float) -> None:
    n, disagreement, alpha = 14, 0.4, 0.05
    shares = [(disagreement + gain) / 2, (disagreement - gain) / 2, 1 - disagreement]
    outcomes = [(w, lost, n - w - lost) for w in range(n + 1) for lost in range(n + 1 - w)]
    found = sum(multinomial.pmf(o, n, shares) for o in outcomes if exact_mcnemar_greater(o[0], o[1]) <= alpha)
    assert power_of(n, gain, disagreement, alpha) == pytest.approx(found)
    if gain == 0.0:
        assert found <= alpha


def test_power_is_what_simulated_gates_find() -> None:
    rng = np.random.default_rng(3)
    drawn = rng.multinomial(300, [0.1375, 0.0625, 0.8], size=2000)  # a gain of 7.5 points
    found = np.mean([exact_mcnemar_greater(int(w), int(lost)) <= 0.025 for w, lost, _ in drawn])
    assert (
        found == pytest.approx(power_of(300, 0.075, 0.2, 0.025), abs=0.03) and detectable_gain(300, 0.2, 0.025) == 0.075
    )


def test_the_items_needed_find_the_gain_and_fewer_do_not() -> None:
    needed = items_needed(0.1, 0.2, 0.025)
    assert needed is not None
    assert power_of(needed, 0.1, 0.2, 0.025) >= 0.8 > power_of(needed - 15, 0.1, 0.2, 0.025)


def test_a_smaller_error_and_fewer_items_find_less() -> None:
    gains = [detectable_gain(n, 0.2, alpha) or 1.0 for n, alpha in ((1000, 0.05), (300, 0.05), (300, 0.0125))]
    assert gains == sorted(gains) and detectable_gain(10, 0.1, 0.025) is None


def test_a_margin_needs_so_many_items_and_not_one_less() -> None:
    fewest = items_to_rule_out(0.05, 0.025)
    assert fewest is not None and items_to_rule_out(0.0, 0.025) is None
    assert exact_margin_greater(0, 0, fewest, 0.05, gamma=0.025 / 20) <= 0.025
    assert exact_margin_greater(0, 0, fewest - 1, 0.05, gamma=0.025 / 20) > 0.025


def test_a_plan_of_few_items_promises_nothing() -> None:
    assert set(plan(3, 0.025).detectable.values()) == {None}
