"""Logs as people have them, written to files: interactions in sessions, with feedback."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tasks.try_out import Facts, try_out

AT = datetime(2026, 1, 5, 10, tzinfo=UTC)


def asked(number: int, text: str, **changes: Any) -> dict[str, Any]:
    """An interaction, an hour after the one before it, of its own user and session."""
    at = (AT + timedelta(hours=number)).isoformat()
    row = {
        "interaction_id": f"i{number}",
        "feature": "bank",
        "at": at,
        "user_id": f"u{number}",
        "session_id": f"s{number}",
    }
    row |= {"input": {"messages": [{"role": "user", "content": text}]}, "output": {"content": f"Answer {number}."}}
    return row | changes


def said(number: int, kind: str, value: Any, **changes: Any) -> dict[str, Any]:
    """A user's feedback on it."""
    row = {
        "feedback_id": f"f{number}{kind}",
        "interaction_id": f"i{number}",
        "at": (AT + timedelta(days=9)).isoformat(),
    }
    return row | {"kind": kind, "value": value, "source": {"type": "user", "id": f"u{number}"}} | changes


def tried(folder: Path, *rows: dict[str, Any], **options: Any) -> Facts:
    """What `ratchet try` finds in a file of these rows."""
    path = folder / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return try_out([path], "auto", feature=None, on_progress=lambda what, records: None, **options)
