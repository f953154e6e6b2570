"""ratchet.feedback: what each source claims about an answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ratchet.features import Feature
from ratchet.feedback import find_rephrased
from ratchet.records import Feedback
from tests.routing_clone import feature_fields, target

ROUTING = Feature.model_validate(feature_fields())
FREE = Feature.model_validate(feature_fields(output_schema=None, scorer="token_f1"))
AT = datetime(2026, 1, 5, 10, tzinfo=UTC)


def row(**changes: Any) -> dict[str, Any]:
    fields = {"interaction_id": "i1", "tenant": "default", "user_id": "u", "session_id": "s", "at": AT.isoformat()}
    fields |= {"messages": "[]", "variables": "{}", "contexts": "[]", "output": target("cards"), "fallback": False}
    return fields | {"consent": None, "input_text": "my card is lost"} | changes


def said(kind: str, value: Any, by: str = "agent:ana", minutes: int = 1) -> Feedback:
    source = dict(zip(("type", "id"), by.split(":"), strict=True))
    at = AT + timedelta(minutes=minutes)
    fields = {"feedback_id": f"{kind}{by}{minutes}", "interaction_id": "i1", "at": at, "kind": kind, "value": value}
    return Feedback.model_validate(fields | {"source": source})


def turn(number: int, text: str, minutes: float, session: str | None = "s") -> dict[str, Any]:
    at = (AT + timedelta(minutes=minutes)).isoformat()
    return row(interaction_id=f"i{number}", input_text=text, at=at, session_id=session)


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (turn(2, "my card is lost again", 9), {"i1"}),
        (turn(2, "my card is lost", 11), set()),
        (turn(2, "what do loans cost", 1), set()),
        (turn(2, "my card is lost", 1, "other"), set()),
        (turn(2, "my card is lost", 1, None), set()),
    ],
)
def test_a_question_asked_again_in_its_session_is_found(second: dict[str, Any], expected: set[str]) -> None:
    assert set(find_rephrased([second, turn(1, "my card is lost", 0)])) == expected
