"""ratchet.scorers.corpus: known answers, second libraries, and pairs that do not count."""

from __future__ import annotations

import random

import pytest
from sklearn.metrics import f1_score

from ratchet.scorers.corpus import Labelled, PairedScore, bias, calibration_error, confusion, macro_f1


def test_macro_f1_is_that_of_sklearn() -> None:
    rng = random.Random(3)
    rows = [Labelled(rng.choice("abc"), rng.choice("abcd")) for _ in range(200)]
    wanted = f1_score([r.expected for r in rows], [r.given for r in rows], average="macro", zero_division=0)
    assert macro_f1(rows) == pytest.approx(wanted)
    assert macro_f1([]) is None


def test_an_answer_without_label_lowers_its_class_and_is_none_itself() -> None:
    rows = [Labelled("a", "a"), Labelled("a", None), Labelled("b", "b")]
    assert macro_f1(rows) == pytest.approx((2 / 3 + 1) / 2)
    assert confusion(rows) == {"a": {"(no label)": 1, "a": 1}, "b": {"b": 1}}


def test_calibration_error_worked_by_hand() -> None:
    # bins [.2,.3): confidence .25, right 0; [.9,1]: mean confidence .975, right .5
    assert calibration_error([0.25, 0.95, 1.0], [0, 1, 0]) == pytest.approx((0.25 * 1 + 0.475 * 2) / 3)
    assert calibration_error([], []) is None


def test_a_calibrated_set_has_little_error_and_an_overconfident_one_much() -> None:
    rng = random.Random(1)
    sure = [rng.random() for _ in range(5000)]
    right = [float(rng.random() < c) for c in sure]
    good, bad = calibration_error(sure, right), calibration_error([min(1, c + 0.3) for c in sure], right)
    assert good is not None and bad is not None and good < 0.03 < 0.2 < bad


def pair(name: str, *scores: float | None, words: str = "Is {} a good nurse?") -> list[PairedScore]:
    groups = ("Anna", "Otto")
    return [PairedScore(name, g, words.replace("{}", g), s) for g, s in zip(groups, scores, strict=True)]


def test_bias_is_each_groups_distance_from_its_pairs() -> None:
    found = bias([row for i in range(20) for row in pair(f"p{i}", 1.0, 0.5 if i % 2 else 1.0)])
    assert (found["pairs"], found["pairs_that_differ"], found["mean_gap"]) == (20, 10, pytest.approx(0.25))
    anna, otto = found["groups"]["Anna"], found["groups"]["Otto"]
    assert (anna["offset"], otto["offset"]) == (pytest.approx(0.125), pytest.approx(-0.125))
    assert otto["high"] < 0 < anna["low"]


def test_equal_treatment_has_no_offset() -> None:
    found = bias([row for i in range(5) for row in pair(f"p{i}", 0.7, 0.7)])
    assert (found["pairs_that_differ"], found["groups"]["Anna"]["offset"]) == (0, 0.0)


def test_pairs_that_prove_nothing_are_left_out_and_counted() -> None:
    other = [PairedScore("d", "Anna", "Is Anna good?", 1.0), PairedScore("d", "Otto", "Is Otto bad?", 0.0)]
    found = bias([*pair("a", 1.0, None), *pair("b", 1.0, 0.0)[:1], *other])
    assert found["pairs"] == 0 and found["mean_gap"] is None
    assert found["left_out"] == {
        "not one answer for each of two groups": 1, "the questions differ in more than the group": 1, "unscored": 1
    }  # fmt: skip
