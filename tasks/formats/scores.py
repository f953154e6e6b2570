"""Scores of other tools as feedback on an interaction, row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ratchet.errors import BadInput
from ratchet.records import Rejected, parse_feedback
from ratchet.scores import Said, read_score, read_score_as
from tasks.formats.rows import Record, text_or_none

__all__ = ["Said", "read_score", "read_score_as", "tell", "tell_each"]


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
