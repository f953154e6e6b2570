"""ratchet.scorers.structure: schema and label."""

from __future__ import annotations

from typing import Any

import pytest

from ratchet.scorers import Item
from ratchet.scorers.structure import label, schema_valid

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"route": {"type": "string", "enum": ["cards", "loans"]}},
    "required": ["route"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("output", "score", "reason"),
    [
        ('{"route": "cards"}', 1.0, "fits the schema"),
        ('{"route": "boats"}', 0.0, "breaks the schema's enum"),
        ("{}", 0.0, "breaks the schema's required"),
        ('{"route": "cards", "x": 1}', 0.0, "breaks the schema's additionalProperties"),
        ("[]", 0.0, "breaks the schema's type"),
        ('{"route": "ca', 0.0, "not JSON"),
        ("[" * 100_000, 0.0, "not JSON"),
    ],
)
def test_schema_validity_names_the_broken_rule_and_no_value(output: str, score: float, reason: str) -> None:
    found = schema_valid(Item(output=output), schema=SCHEMA)
    assert (found.score, found.reason) == (score, reason)


def test_without_a_valid_schema_nothing_can_be_said() -> None:
    assert schema_valid(Item(output="{}")).score is None
    assert schema_valid(Item(output="{}"), schema={"type": 3}).score is None


@pytest.mark.parametrize(
    ("output", "expected", "score"),
    [
        ('{"route": "cards"}', '{"route": "cards"}', 1.0),
        ('{"route": "loans"}', '{"route": "cards"}', 0.0),
        ("cards", '{"route": "cards"}', 0.0),
        ('{"route": "cards"}', '{"route": "boats"}', None),
        ('{"route": "cards"}', None, None),
    ],
)
def test_label_under_a_schema(output: str, expected: str | None, score: float | None) -> None:
    assert label(Item(output=output, expected=expected), schema=SCHEMA).score == score


def test_without_a_schema_the_text_is_the_label() -> None:
    assert label(Item(output=" Cards ", expected="cards")).score == 1.0
    assert label(Item(output="", expected="cards")).reason == "the answer gives no label"
