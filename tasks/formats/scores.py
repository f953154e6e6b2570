"""What scores of other tools say in our words: a thumb, a rating from 0 to 1, a correction or a comment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ratchet.errors import BadInput
from ratchet.records import Rejected, parse_feedback
from tasks.formats.rows import Record, text_or_none

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


def tell(  # one feedback has this many facts
    said: Said, *, feedback_id: str, about: str, at: Any, source: tuple[str, str], where: str, **more: Any
) -> Record:
    """The feedback, or why it is none; `more` are comment and attributes."""
    row = {"feedback_id": feedback_id, "interaction_id": about, "at": at, "kind": said.kind, "value": said.value}
    row |= {"source": {"type": source[0], "id": source[1][:200]}}
    comment = more.pop("comment", None)
    if isinstance(comment, str) and comment.strip():
        row["comment"] = comment[:10_000]
    return parse_feedback(row | more, where)


def tell_each(items: list[Any], where: str, read: Callable[[dict[str, Any]], Record]) -> Iterator[Record]:
    """The feedback of each score on an interaction; one that is none is Rejected, with its id, and the rest goes on."""
    for item in items:
        try:
            if not isinstance(item, dict):
                raise BadInput("a score that is not an object")
            yield read(item)
        except BadInput as error:
            yield Rejected(where, str(error), text_or_none(item.get("id")) if isinstance(item, dict) else None)
