from typing import Any

import pytest

from ratchet.errors import BadInput
from ratchet.scores import as_feedback_value


@pytest.mark.parametrize(
    ("kind", "name", "value", "label", "expected"),
    [
        (None, "helpfulness", 0.25, None, ("rating", 0.25)),
        (None, "safe", None, "Fail", ("thumb", False)),
        (None, "thumb", 1, None, ("thumb", True)),
        (None, "anything", True, None, ("thumb", True)),
        ("thumb", "user-thumb", 0.0, None, ("thumb", False)),
        ("thumb", "user-thumb", None, "up", ("thumb", True)),
        ("rating", "stars", 1, None, ("rating", 1.0)),
        ("accept", "edit", 0.4, None, ("accept", 0.4)),
        ("accept", "edit", None, "accept", ("accept", True)),
        ("correction", "fix", None, "loans", ("correction", "loans")),
        ("comment", "note", None, "too long", ("comment", "too long")),
    ],
)
def test_a_score_becomes_a_value_of_its_kind(kind: Any, name: str, value: Any, label: Any, expected: Any) -> None:
    assert as_feedback_value(kind, name, value, label) == expected


@pytest.mark.parametrize(
    ("kind", "value", "label"),
    [
        (None, None, None),
        (None, 4.0, None),
        (None, float("nan"), None),
        ("thumb", 0.5, None),
        ("thumb", None, "meh"),
        ("rating", None, "good"),
        ("correction", None, " "),
        ("preference", 1, None),
        (["thumb"], 1, None),
    ],
)
def test_a_score_that_does_not_fit_is_refused_without_being_quoted(kind: Any, value: Any, label: Any) -> None:
    with pytest.raises(BadInput, match="score") as raised:
        as_feedback_value(kind, "x", value, label)
    assert "4.0" not in str(raised.value) and "meh" not in str(raised.value)
