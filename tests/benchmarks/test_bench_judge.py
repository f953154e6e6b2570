"""benchmarks.bench_judge: its worlds are what they say, and the bound in use is one that it measured."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
from scipy.stats import norm

from benchmarks.bench_judge import DRAWS, LABELS, METHODS, World, coverage, simulate, take
from benchmarks.report import RESULTS
from ratchet.ppi import FEWEST_LABELS

COLUMNS = [f"coverage, drawn {how}" for how in DRAWS]
BIASED = World(0.45, 0.2, 0.1, 0.8, 0.7, False, 0.2)


def test_a_world_has_the_difference_and_the_judge_that_it_says() -> None:
    rng = np.random.default_rng(1)
    judge, human = map(np.concatenate, zip(*(simulate(BIASED, rng) for _ in range(60)), strict=True))
    old, new, says_old, says_new = human[::2], human[1::2], judge[::2], judge[1::2]
    assert (new - old).mean() == pytest.approx(0.1, abs=0.01)
    assert says_old[old == 1].mean() == pytest.approx(0.8, abs=0.01)
    assert says_old[old == 0].mean() == pytest.approx(0.3, abs=0.01)
    assert says_new[new == 0].mean() == pytest.approx(0.5, abs=0.01)


def test_a_biased_judge_alone_misses_what_the_prediction_powered_interval_covers() -> None:
    found = coverage(BIASED, 40, 1)
    assert found["evenly", 300, "judge alone"][0] < 0.5
    assert found["evenly", 300, "ratchet.ppi"][0] > 0.85
    assert {method for _, _, method in found} == set(METHODS)


def test_labels_are_those_of_the_drawn_items() -> None:
    rng = np.random.default_rng(2)
    judge, human = simulate(BIASED, rng)
    sample = take(judge, human, 50, "as ratchet judge draw", rng)
    at = np.flatnonzero(~np.isnan(sample.labels))
    assert len(at) == 50
    assert sample.labels[at].tolist() == (human[1] - human[0])[at].tolist()


def test_the_bound_in_use_is_measured() -> None:
    page = RESULTS / "bench_judge.md"
    block = re.search(r"```json\n(.*?)\n```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    figures = json.loads(block[1])["figures"]
    assert FEWEST_LABELS in LABELS
    cells = 2 * figures["simulations"]["worlds"]  # of one number of labels: the worst of so many is what is looked at
    error = float(norm.ppf(1 - 0.05 / cells)) * math.sqrt(0.95 * 0.05 / figures["simulations"]["each"])
    for number in (n for n in LABELS if n >= FEWEST_LABELS):
        worst = [figures[how][f"{number} labels"]["ratchet.ppi"]["worst"] for how in COLUMNS]
        assert min(worst) >= 0.95 - error, number
