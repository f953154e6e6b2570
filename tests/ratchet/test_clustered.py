"""ratchet.clustered: known answers, and what the item-wise test gets wrong when items hang together."""

from __future__ import annotations

import numpy as np
import pytest

from ratchet.clustered import clustered_interval, clustered_not_better_p, detectable, holm, standard_error
from ratchet.stats import sign_flip_greater


def test_single_items_give_the_sign_flip_test_itself() -> None:
    differences = [0.5, 0.25, -0.1, 0.4]
    assert clustered_not_better_p(differences, [1, 2, 3, 4]) == sign_flip_greater(differences, 17)


def test_one_session_is_one_piece_of_evidence() -> None:
    assert clustered_not_better_p([1.0] * 40, ["s"] * 40) == 0.5
    assert clustered_not_better_p([1.0] * 40, list(range(40))) < 1e-4


def test_the_margin_counts_once_an_item() -> None:
    clusters = [str(i // 2) for i in range(40)]
    assert clustered_not_better_p([-0.01] * 40, clusters, margin=0.02) < 1e-4
    assert clustered_not_better_p([-0.03] * 40, clusters, margin=0.02) == 1.0


def test_standard_error_of_single_items_is_the_usual_one() -> None:
    values = [0.0, 1.0, 1.0, 0.0, 1.0]
    assert standard_error(values, range(5)) == pytest.approx(np.std(values, ddof=1) / np.sqrt(5))


def test_standard_error_by_hand_for_two_sessions() -> None:
    # means .5; residual sums +1 and -1; 2 / (2 - 1) * (1 + 1) / 16
    assert standard_error([1.0, 1.0, 0.0, 0.0], ["a", "a", "b", "b"]) == pytest.approx(0.5)
    assert clustered_interval([1.0], ["a"]) is None


def test_interval_covers_where_items_of_a_session_agree() -> None:
    rng, covered = np.random.default_rng(5), 0
    for _ in range(400):
        moods = np.repeat(rng.normal(0.1, 0.3, size=30), 6)
        found = clustered_interval((moods + rng.normal(0, 0.05, size=180)).tolist(), [i // 6 for i in range(180)])
        assert found is not None
        covered += found.low <= 0.1 <= found.high
    assert 0.92 <= covered / 400 <= 0.98


def test_equal_candidates_pass_no_more_often_than_alpha_where_sessions_have_moods() -> None:
    rng, passed, naive = np.random.default_rng(6), 0, 0
    for number in range(300):
        moods = np.repeat(rng.choice([-1.0, 0.0, 1.0], size=12), 10)
        passed += clustered_not_better_p(moods.tolist(), [i // 10 for i in range(120)]) <= 0.05
        naive += number < 40 and sign_flip_greater(moods.tolist(), 17) <= 0.05
    assert passed / 300 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)
    assert naive / 40 > 0.2  # the same items, taken for independent


def test_holm_by_hand() -> None:
    assert holm({"a": 0.04, "b": 0.01, "c": 0.03}) == pytest.approx({"a": 0.06, "b": 0.03, "c": 0.06})
    assert holm({}) == {}


def test_detectable_difference_by_hand() -> None:
    assert detectable(0.01, alpha=0.05) == pytest.approx(0.01 * (1.6449 + 0.8416), abs=1e-5)
