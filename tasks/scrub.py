"""Cleaning step scrub: an interaction or feedback without personal data (record -> record)."""

from __future__ import annotations

from typing import Any, TypeVar

from ratchet.pii import find_pii, pseudonym, scrub_value
from ratchet.records import Feedback, Interaction

KEPT = {  # names and numbers of our own making; everything else may hold what a person wrote
    "feature",
    "tenant",
    "at",
    "kind",
    "release_id",
    "channel",
    "propensity",
    "usage",
    "cost_usd",
    "latency_ms",
    "fallback",
    "consent",
}
PEOPLE = ("user", "agent")

Known = TypeVar("Known", Interaction, Feedback)


def scrub_interaction(record: Interaction, *, key: bytes) -> Interaction:
    """Messages, variables, contexts, output and attributes without personal data; user and session as pseudonyms."""
    row = _scrub(record, key=key, scope=conversation_of(record))
    row["interaction_id"] = scrub_id(record.interaction_id, key=key)
    row["user_id"] = _pseudonym(record.user_id, key=key, kind="user")
    row["session_id"] = _pseudonym(record.session_id, key=key, kind="session")
    return Interaction.model_validate(row)


def scrub_feedback(record: Feedback, *, key: bytes, conversation: str) -> Feedback:
    """Value, comment and attributes without personal data; a person who gave it as a pseudonym.

    Args:
        conversation: `conversation_of` the interaction, so that both have the same pseudonyms.
    """
    row = _scrub(record, key=key, scope=conversation)
    row["interaction_id"] = scrub_id(record.interaction_id, key=key)
    row["feedback_id"] = scrub_id(record.feedback_id, key=key)
    source = record.source
    if source.type in PEOPLE:
        row["source"] = {"type": source.type, "id": pseudonym(source.id, key=key, kind=source.type)}
    else:
        row["source"] = {"type": source.type, "id": scrub_id(source.id, key=key)}
    return Feedback.model_validate(row)


def conversation_of(record: Interaction) -> str:
    """Where pseudonyms stay the same: the session, or the interaction alone where there is none."""
    return record.session_id or record.interaction_id


def scrub_id(value: str, *, key: bytes) -> str:
    """The id itself; one that holds personal data (an address used as an id) becomes a pseudonym as a whole."""
    return pseudonym(value, key=key, kind="id") if find_pii(value) else value


def _scrub(record: Known, *, key: bytes, scope: str) -> dict[str, Any]:
    row = record.model_dump(mode="json")
    return {name: value if name in KEPT else scrub_value(value, key=key, scope=scope) for name, value in row.items()}


def _pseudonym(value: str | None, *, key: bytes, kind: str) -> str | None:
    return pseudonym(value, key=key, kind=kind) if value else None
