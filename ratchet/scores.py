"""Scores of other tools as feedback: which kind a name stands for, and its value in our range."""

from __future__ import annotations

import math
from typing import Any

from ratchet.errors import BadInput
from ratchet.records import check_value

KINDS = ("thumb", "rating", "correction", "comment", "accept", "escalation", "abandon", "rephrase")
GOOD = frozenset({"pass", "passed", "true", "yes", "correct", "good", "positive", "up", "thumbs_up", "accept"})
BAD = frozenset({"fail", "failed", "false", "no", "incorrect", "bad", "negative", "down", "thumbs_down", "reject"})


def as_feedback_value(kind: Any, name: str, value: Any, label: Any) -> tuple[str, Any]:
    """The kind and value of a score.

    Args:
        kind: what the name is known to stand for; None takes the name where it is a kind, else a rating for a number
            from 0 to 1 and a thumb for a label that says pass or fail.
        value: the score's number or truth value, if it has one.
        label: the score's text, if it has one.

    Raises:
        BadInput: the score does not fit the kind; the message quotes neither.
    """
    number = _number(value)
    verdict = _verdict(value, label)
    if kind is None:
        kind = name if name in KINDS else "rating" if number is not None else "thumb" if verdict is not None else None
    found: Any = None
    if kind in ("correction", "comment"):
        found = label if label is not None else value
    elif kind == "rating":
        found = number
    elif kind in KINDS:
        found = verdict if kind == "thumb" or number is None else number
    if found is None:
        raise BadInput("a score that fits no kind of feedback; map its name to one")
    try:
        check_value(kind, found)
    except ValueError as error:
        raise BadInput(f"a score does not fit its kind: {error}") from error
    return kind, found


def _number(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None


def _verdict(value: Any, label: Any) -> bool | None:
    """Right or wrong, by a truth value, by 0 or 1, or by a word."""
    if isinstance(value, bool):
        return value
    if _number(value) in (0.0, 1.0):
        return bool(value == 1)
    word = label.strip().lower() if isinstance(label, str) else ""
    return True if word in GOOD else False if word in BAD else None
