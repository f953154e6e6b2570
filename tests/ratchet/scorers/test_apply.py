"""ratchet.scorers.apply: properties that every scorer of ours has, whatever text it is given."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.features import Feature, ScorerSpec
from ratchet.scorers import Item, score_item, score_items
from ratchet.scorers.catalogue import CATALOGUE

OPTIONS: dict[str, dict[str, Any]] = {
    "regex": {"pattern": "a+"},
    "tone": {"banned": ["bad"], "longest_sentence": 9, "emoji": False, "most_capitals_share": 0.5},
    "citations": {"every_sentence": False},
}
SLOW = {"semantic_similarity", "code_tests", "judge", "judge_pairwise"}  # each has properties of its own elsewhere
QUICK = sorted(set(CATALOGUE) - SLOW)
TEXT = st.text(st.characters(codec="utf-8"), max_size=80) | st.sampled_from(
    [
        "[1] [2,",
        "```python\nx = (\n```",
        "{" * 99,
        "1,2,3.4.",
        "a.b.c.d.e",
        "f*ck you [3].",
        "I can't help",
        "\u200b@4$!",
    ]
)


def spec(name: str) -> ScorerSpec:
    return ScorerSpec(name=name, options=OPTIONS.get(name, {}))


@pytest.mark.parametrize("name", QUICK)
@given(output=TEXT, expected=TEXT, context=TEXT)
@settings(max_examples=60, deadline=None)
def test_any_text_is_scored_from_0_to_1_or_not_at_all(name: str, output: str, expected: str, context: str) -> None:
    item = Item.model_validate({"output": output, "expected": expected, "contexts": [context, "Second."]})
    found = score_item(spec(name), item)
    assert found.score is None or 0.0 <= found.score <= 1.0
    assert "raised" not in found.reason and found == score_item(spec(name), item)


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize(
    "piece", ["a", "a.", "i ", "1,", "[1]", "I can't ", "*", "(", "i.i ", "@$", "\n", "a-", "x=1\n"]
)
def test_the_time_grows_with_the_text_and_no_faster(name: str, piece: str) -> None:
    def seconds(n: int) -> float:
        item = Item.model_validate({"output": piece * n, "expected": "a", "contexts": [piece * n]})
        began = time.process_time()
        score_item(spec(name), item)
        return time.process_time() - began

    assert seconds(32_000) < 100 * max(seconds(1_000), 0.1)  # 1,024 times where it is quadratic


def test_the_schema_is_the_features_unless_another_is_given() -> None:
    fields = {
        "name": "routing",
        "intent": "x",
        "owners": ["a"],
        "scorer": "exact_match",
        "output_schema": {"type": "object"},
    }
    feature = Feature.model_validate(fields)
    assert score_item(ScorerSpec(name="schema_valid"), Item(output="{}"), feature).score == 1.0
    other = ScorerSpec(name="schema_valid", options={"schema": {"type": "array"}})
    assert score_item(other, Item(output="{}"), feature).score == 0.0


def test_progress_ends_at_the_number_of_items() -> None:
    told: list[tuple[int, int]] = []
    score_items(spec("length"), [Item(output="a")] * 3, on_progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]
