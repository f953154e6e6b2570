"""Which fields of a record may hold what a person wrote, and the record with those fields changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ratchet.features import Privacy
from ratchet.pii import rewrite, scrub_text
from ratchet.records import Feedback, Interaction

KEPT = frozenset(  # names and numbers of our own making; everything else may hold what a person wrote
    {
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
)
COMMENT_CHARS = 10_000  # as Feedback allows
IDS = frozenset({"interaction_id", "feedback_id", "session_id", "user_id", "source"})

Known = TypeVar("Known", bound=Interaction | Feedback)


def conversation_of(record: Interaction) -> str:
    """Where pseudonyms stay the same: the session, or the interaction alone where there is none."""
    return record.session_id or record.interaction_id


def rewrite_texts(row: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """A record's row with every text changed that a person may have written; ids are left to the caller."""
    changed = {name: value if name in KEPT | IDS else rewrite(value, change) for name, value in row.items()}
    if changed.get("comment"):
        changed["comment"] = changed["comment"][:COMMENT_CHARS]  # pseudonyms may be longer than what they stand for
    return changed


def scrub_before_storage(record: Known, privacy: Privacy, *, key: bytes, conversation: str) -> Known:
    """What a server stores of a record where the feature wants that: texts without what patterns find.

    Ids stay as they are: an answer's receipt, the user that a canary sticks to and the session are needed until harvest
    replaces them.
    """
    row = rewrite_texts(
        record.model_dump(mode="json"),
        lambda text: scrub_text(text, key=key, scope=conversation, selection=privacy.selection).text,
    )
    return type(record).model_validate(row)  # type: ignore[return-value]  # the type that it had
