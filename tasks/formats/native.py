"""Our own JSONL (DESIGN section 3): interactions and feedback, mixed or apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ratchet.errors import BadInput
from ratchet.records import Interaction, parse_feedback, parse_interaction
from tasks.formats.messages import keep, read_chat
from tasks.formats.rows import Given, Record


def is_like(row: dict[str, Any]) -> bool:
    """Whether a row may be one of ours."""
    return "interaction_id" in row or "feedback_id" in row


def records_of(row: dict[str, Any], where: str, given: Given) -> Iterator[Record]:
    """The row as a record. A feature that the row names is its own; --feature is for rows that name none."""
    if "feedback_id" in row:
        yield parse_feedback(row, where)
    elif "input" in row or "interaction_id" in row:
        yield _interaction(
            row if given.feature is None or "feature" in row else row | {"feature": given.feature}, where
        )
    else:
        raise BadInput("neither an interaction (interaction_id, input) nor feedback (feedback_id)")


def _interaction(row: dict[str, Any], where: str) -> Record:
    """The interaction; messages with parts or tool calls become text and stay whole under attributes."""
    found = parse_interaction(row, where)
    asked, attributes = row.get("input"), row.get("attributes") or {}
    if isinstance(found, Interaction) or not isinstance(asked, dict) or not isinstance(attributes, dict):
        return found
    try:
        chat = read_chat(asked.get("messages"))
    except BadInput:
        return found
    plain = {"input": asked | {"messages": chat.messages}, "attributes": keep(attributes, chat)}
    return parse_interaction(row | plain, where) if chat.as_sent else found
