"""Scores of other tools in our words: a thumb, a rating from 0 to 1, a correction or a comment."""

from __future__ import annotations

from typing import Any, NamedTuple

from ratchet.errors import BadInput
from ratchet.records import check_value

KINDS = ("thumb", "rating", "correction", "comment", "accept", "escalation", "abandon", "rephrase")
LOWER_IS_BETTER = ("toxic", "hallucinat", "harm", "bias", "malicious", "stereotyp", "offens", "error", "violation")
GOOD = {"yes", "true", "good", "correct", "positive", "pass", "passed", "up", "thumbs_up", "thumbs up", "like", "👍"}
BAD = {"no", "false", "bad", "incorrect", "negative", "fail", "failed", "down", "thumbs_down", "thumbs down", "👎"}


class Said(NamedTuple):
    """The kind of a feedback and its value."""

    kind: str
    value: Any


def read_score(name: str, value: Any) -> Said:
    """A score as a thumb (bool, or a word that means one) or a rating (0 to 1).

    Higher is better in a rating, so that a metric named for a fault (toxicity, hallucination, ...) is turned round.

    Raises:
        BadInput: a number outside 0 to 1, or a word that means neither good nor bad.
    """
    is_fault = any(word in name.lower() for word in LOWER_IS_BETTER)
    if isinstance(value, str):
        word = value.strip().lower()
        if word not in GOOD | BAD:
            raise BadInput("value: a score that is neither a number nor a word for good or bad")
        value = word in GOOD
    if isinstance(value, bool):
        return Said("thumb", value != is_fault)
    if isinstance(value, (int, float)) and 0 <= value <= 1:
        return Said("rating", round(1 - value, 9) if is_fault else value)
    if isinstance(value, (int, float)):
        raise BadInput("value: a score outside 0 to 1 is no rating")
    raise BadInput("value: not of the type that this format has")


def read_score_as(kind: str, name: str, value: Any) -> Said:
    """A score of a name that is known to stand for a kind of feedback; thumbs and ratings as `read_score` has them.

    For a thumb 0 and 1 are no and yes; for `accept` and its like a word is yes or no.

    Raises:
        BadInput: the score does not fit the kind; the message quotes neither.
    """
    if kind in ("correction", "comment"):
        said = Said(kind, value)
    elif kind == "thumb":
        said = read_score(name, bool(value) if value in (0, 1) else value)
    else:
        said = read_score("", value) if kind != "rating" else read_score(name, value)
    is_fit = said.kind == kind or (kind not in ("thumb", "rating") and kind in KINDS)
    if not is_fit:
        raise BadInput(f"value: not a {kind}" if kind in KINDS else f"a score cannot stand for {kind!r:.40}")
    try:
        check_value(kind, said.value)
    except ValueError as error:
        raise BadInput(str(error)) from None
    return Said(kind, said.value)
