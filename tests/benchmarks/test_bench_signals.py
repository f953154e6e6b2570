"""benchmarks.bench_signals: its arithmetic on known answers, and that the weights in use are those it measured."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from benchmarks.bench_signals import auroc, judged, weights
from benchmarks.report import RESULTS
from ratchet.signals import WEIGHT


def test_auroc_is_the_chance_that_a_bad_answer_scores_higher_ties_counting_half() -> None:
    bad = np.array([True, True, False, False])
    assert auroc(np.array([3.0, 1.0, 2.0, 0.0]), bad) == 0.75
    assert auroc(np.array([1.0, 1.0, 1.0, 1.0]), bad) == 0.5


def test_an_interval_over_few_users_is_wider_than_over_many() -> None:
    rng = np.random.default_rng(1)
    bad = rng.random(400) < 0.3
    values = bad + rng.normal(0, 2, 400)
    few, many = (judged(values, bad, [str(i % n) for i in range(400)], 300)["interval"] for n in (4, 400))
    assert few != many
    assert many[0] < auroc(values, bad) < many[1]


@pytest.mark.parametrize(("interval", "worth"), [([0.51, 0.6], 0.2), ([0.49, 0.6], 0.0), (None, 0.0)])
def test_a_signal_weighs_only_where_it_predicts(interval: list[float] | None, worth: float) -> None:
    one: dict[str, Any] = {"interval": interval, "bad_rate_interval": [0.3, 0.8]}
    none = {"interval": None, "bad_rate_interval": [0.0, 1.0]}
    found = {"bad_rate": 0.1, "rephrase": one, "abandon": none, "escalation": none, "accept": none}
    assert weights(found) == {"rephrase": worth, "abandon": 0.0, "escalation": 0.0, "accept": 0.0}


def test_the_weights_in_use_are_those_of_the_kept_measurement() -> None:
    page = (RESULTS / "bench_signals.md").read_text(encoding="utf-8")
    kept = re.search(r"```json\n(.*)```", page, re.DOTALL)
    assert kept is not None
    assert json.loads(kept[1])["figures"]["weights"] == dict(WEIGHT)
