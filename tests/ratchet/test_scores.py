from typing import Any

import pytest

from ratchet.errors import BadInput
from ratchet.scores import read_score, read_score_as


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("helpfulness", 0.25, ("rating", 0.25)),
        ("safe", "Fail", ("thumb", False)),
        ("anything", True, ("thumb", True)),
        ("Toxicity", 0.8, ("rating", 0.2)),
        ("hallucination", "true", ("thumb", False)),
    ],
)
def test_a_score_is_a_thumb_or_a_rating(name: str, value: Any, expected: Any) -> None:
    assert read_score(name, value) == expected


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("thumb", 1, True),
        ("thumb", 0.0, False),
        ("thumb", "up", True),
        ("rating", 1, 1),
        ("accept", 0.4, 0.4),
        ("accept", "yes", True),
        ("correction", "loans", "loans"),
        ("comment", "too long", "too long"),
    ],
)
def test_a_name_may_stand_for_a_kind(kind: str, value: Any, expected: Any) -> None:
    assert read_score_as(kind, "user-score", value) == (kind, expected)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("thumb", 0.5),
        ("thumb", "meh"),
        ("rating", "good"),
        ("rating", 4.0),
        ("rating", float("nan")),
        ("rating", None),
        ("correction", " "),
        ("comment", 3),
        ("preference", 1),
        ("['x']", 1),
    ],
)
def test_a_score_that_does_not_fit_is_refused_without_being_quoted(kind: str, value: Any) -> None:
    with pytest.raises(BadInput) as raised:
        read_score_as(kind, "x", value)
    assert "4.0" not in str(raised.value) and "meh" not in str(raised.value)


def test_a_fault_is_turned_round_for_its_kind_too() -> None:
    assert read_score_as("rating", "toxicity", 0.8) == ("rating", 0.2)
    assert read_score_as("thumb", "toxic", 1) == ("thumb", False)
