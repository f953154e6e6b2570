"""ratchet.scorers: the scorers that evaluate has always used, pattern and length, and the summary."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ratchet.features import Feature, ScorerSpec
from ratchet.scorers import (
    BINARY_SCORERS,
    SCORERS,
    Item,
    exact_match,
    label_accuracy,
    score_items,
    summarise,
    token_f1,
)
from ratchet.scorers.text import length, match, regex

SCHEMA = {"type": "object", "properties": {"route": {"type": "string", "enum": ["cards", "loans"]}}}


def feature(**changes: Any) -> Feature:
    fields = {
        "name": "routing",
        "intent": "route",
        "owners": ["a"],
        "scorer": "label_accuracy",
        "output_schema": SCHEMA,
    }
    return Feature.model_validate(fields | changes)


@pytest.mark.parametrize(
    ("output", "score"),
    [
        ('{"route": "cards"}', 1.0),
        ('{"route":"cards"}', 1.0),
        ('{"route": "loans"}', 0.0),
        ('{"route": "unknown"}', 0.0),
        ('{"route": ["cards"]}', 0.0),
        ('{"route": "car', 0.0),
        ("cards", 0.0),
        ("[1]", 0.0),
        ("", 0.0),
    ],
)
def test_label_accuracy_of(output: str, score: float) -> None:
    assert label_accuracy(output, '{"route": "cards"}', feature()) == score


def test_label_accuracy_without_an_expected_label_is_unscored() -> None:
    assert label_accuracy('{"route": "cards"}', "cards", feature()) is None
    assert label_accuracy("cards", "cards", feature(output_schema=None)) is None


@pytest.mark.parametrize(
    ("output", "expected", "score"),
    [(" Yes,\n  Sir ", "yes, sir", 1.0), ("ＹＥＳ", "yes", 1.0), ("yes", "no", 0.0), ("", "no", 0.0), ("", " ", None)],
)
def test_exact_match_evens_out_case_and_space(output: str, expected: str, score: float | None) -> None:
    assert exact_match(output, expected, feature()) == score


@pytest.mark.parametrize(
    ("output", "expected", "score"),
    [
        ("The cat sat.", "a cat sat", 1.0),
        ("cat", "cat sat down", 0.5),  # precision 1, recall 1/3
        ("cat cat sat", "cat dog", 0.4),  # one shared word: precision 1/3, recall 1/2
        ("dog", "cat", 0.0),
        ("", "cat", 0.0),
        ("the", "cat", 0.0),
        ("cat", "", None),
        ("cat", "The!", None),
    ],
)
def test_token_f1_worked_by_hand(output: str, expected: str, score: float | None) -> None:
    assert token_f1(output, expected, feature()) == (None if score is None else pytest.approx(score))


@pytest.mark.parametrize("name", sorted(SCORERS))
def test_a_function_and_the_scorer_of_its_name_say_the_same(name: str) -> None:
    texts = ["", "the card", "The  CARD", '{"route": "cards"}', '{"route": "loans"}', "a lost card"]
    items = [Item(output=a, expected=b) for a in texts for b in texts]
    found = score_items(ScorerSpec(name=name), items, labelled := feature())
    assert [s.score for s in found] == [SCORERS[name](i.output, i.expected or "", labelled) for i in items]
    assert set(SCORERS) >= BINARY_SCORERS


def test_unscored_items_do_not_count_as_wrong() -> None:
    found = summarise([1.0, None, 0.0, 1.0], scorer="label_accuracy", seed=1)
    assert (found.n, found.unscored, found.score) == (3, 1, pytest.approx(2 / 3))


def test_a_binary_summary_has_the_wilson_interval() -> None:
    found = summarise([1.0] * 8 + [0.0] * 2, scorer="exact_match", seed=1)
    assert (found.low, found.high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))


def test_a_mean_summary_has_a_seeded_interval_around_the_mean() -> None:
    scores = [0.2, 0.4, 0.9, 0.5, 0.7]
    found = summarise(scores, scorer="token_f1", seed=3)
    assert found == summarise(scores, scorer="token_f1", seed=3)
    assert found.low is not None and found.high is not None and 0.2 < found.low < 0.54 < found.high < 0.9


def test_nothing_scored_has_no_score() -> None:
    assert summarise([None, None], scorer="token_f1", seed=1).as_dict() == {
        "n": 0, "unscored": 2, "score": None, "low": None, "high": None
    }  # fmt: skip


@pytest.mark.parametrize(
    ("found", "output", "score"),
    [(True, "Dear Ana", 1.0), (True, "Hi", 0.0), (False, "Dear Ana", 0.0), (False, "", 1.0)],
)
def test_a_pattern_is_found_or_must_not_be(found: bool, output: str, score: float) -> None:
    assert regex(Item(output=output), pattern=re.compile("^Dear"), found=found).score == score


@pytest.mark.parametrize(
    ("unit", "most", "score"), [("words", 4, 1.0), ("words", 3, 0.0), ("sentences", 1, 0.0), ("characters", 14, 1.0)]
)
def test_length_in_each_unit(unit: Any, most: int, score: float) -> None:
    assert length(Item(output="One 2. And 34."), most=most, unit=unit).score == score


def test_an_empty_answer_is_too_short() -> None:
    assert length(Item(output="  ")).score == 0.0


def test_normalise_false_compares_letter_by_letter() -> None:
    item = Item(output="yes", expected="Yes")
    assert (match(item).score, match(item, normalise=False).score) == (1.0, 0.0)
    assert match(Item(output="yes")).score is None
