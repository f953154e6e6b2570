"""ratchet.scorers.item: what rows become items, and what a scorer may say."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ratchet.records import Rejected
from ratchet.scorers.item import Item, Score, as_score, parse_item


def parsed(row: dict[str, Any]) -> Item:
    item = parse_item(row, "f:1")
    assert isinstance(item, Item)
    return item


def test_output_and_expected_of_any_form_become_text() -> None:
    assert parsed({"output": {"content": "hi"}}).output == "hi"
    assert parsed({"output": {"content": None}}).output == ""
    assert parsed({"output": {"route": "cards"}, "expected": 3}).output == '{"route": "cards"}'
    assert parsed({"output": "x", "expected": {"a": 1}}).expected == '{"a": 1}'


def test_bare_contexts_are_numbered() -> None:
    item = parsed({"output": "x", "contexts": ["one", {"id": "b", "text": "two"}], "variables": None, "messages": None})
    assert [(c.id, c.text) for c in item.contexts] == [("1", "one"), ("b", "two")]


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"output": None},
        {"output": "x", "messages": "secret words"},
        {"output": "x", "contexts": ["secret words", 3]},
        {"output": "x", "variables": ["secret words"]},
        {"output": "secret words \ud800"},
    ],
)
def test_a_malformed_row_is_rejected_without_its_text(row: dict[str, Any]) -> None:
    found = parse_item(row, "f:1")
    assert isinstance(found, Rejected) and found.reason and "secret" not in found.reason


@pytest.mark.parametrize(("said", "score"), [(1, 1.0), (0.25, 0.25), (True, 1.0), (False, 0.0), (Score(0.5, "x"), 0.5)])
def test_numbers_from_0_to_1_and_truth_values_are_scores(said: Any, score: float) -> None:
    assert as_score(said, "r").score == score


@pytest.mark.parametrize("said", [None, math.nan, math.inf, -0.1, 1.01, "1", [1], Score(math.nan, "x"), Score(7, "x")])
def test_anything_else_is_unscored_and_never_0(said: Any) -> None:
    assert as_score(said, "r").score is None
