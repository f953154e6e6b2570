"""Stage snapshot: joins raw interactions with their feedback into one table; unreadable rows are listed, not fatal.

Command line: python -m tasks.snapshot
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic_core import from_json, to_json

from ratchet.errors import BadInput, RatchetError
from ratchet.files import canonical_json, write_json, write_whole
from ratchet.params import Params, load_params
from ratchet.process import die_with_parent
from ratchet.records import Feedback, Interaction, Rejected, parse_feedback, parse_interaction, read_jsonl
from tasks.tables import write_table

COLUMNS = {
    "interaction_id": "str",
    "tenant": "str",
    "session_id": "str",
    "user_id": "str",
    "at": "str",
    "messages": "str",
    "variables": "str",
    "contexts": "str",
    "output": "str",
    "release_id": "str",
    "channel": "str",
    "fallback": "bool",
    "consent": "bool",
    "feedback": "str",
    "feedback_at": "str",
    "input_text": "str",
    "input_chars": "int",
    "n_feedback": "int",
}
FIELDS = {*Interaction.model_fields, *Feedback.model_fields}
Known = TypeVar("Known", Interaction, Feedback)


def snapshot(params: Params) -> dict[str, Any]:
    """Run the stage in the current folder; return the counts that were written.

    Lines = rows + rejected, for interactions and for feedback.

    Raises:
        BadInput: there is no raw folder.
    """
    raw = params.inputs / "raw"
    if not raw.is_dir():
        raise BadInput(f"{raw} is missing: `ratchet run {params.feature}` harvests it from what users said")
    rejected: list[Rejected] = []
    asked = _first_of_each(_interactions(raw, params.feature), rejected)
    said = _first_of_each(_feedback(raw), rejected)
    by_interaction: dict[str, list[Feedback]] = {interaction_id: [] for interaction_id in asked}
    for where, feedback in said.values():
        if feedback.interaction_id in by_interaction:
            by_interaction[feedback.interaction_id].append(feedback)
        else:
            rejected.append(Rejected(where, "feedback on an unknown interaction", feedback.feedback_id))
    rows = [_row(interaction, by_interaction[key]) for key, (_, interaction) in asked.items()]
    rows.sort(key=lambda row: (row["at"], row["interaction_id"]))
    rejected.sort(key=lambda r: r.where)
    write_table(params.outputs / "snapshot.parquet", COLUMNS, rows)
    write_whole(params.outputs / "rejected.jsonl", "".join(_listed(r) for r in rejected))
    counts = {
        "interactions": len(rows),
        "feedback": sum(row["n_feedback"] for row in rows),
        "with_feedback": sum(row["n_feedback"] > 0 for row in rows),
        "rejected": len(rejected),
        "rejected_interactions": sum("/interactions.jsonl:" in r.where for r in rejected),
        "reasons": dict(sorted(Counter(r.reason for r in rejected).items())),
    }
    write_json(params.outputs / "metrics" / "snapshot.json", counts)
    return counts


def main() -> int:
    """Run the stage; a bad input is one line on standard error and its exit code."""
    began = time.monotonic()
    try:
        die_with_parent()
        params = load_params()
        counts = snapshot(params)
    except RatchetError as error:
        print(f"snapshot: {error}", file=sys.stderr)
        return error.exit_code
    write_json(params.outputs / "timings" / "snapshot.json", {"seconds": round(time.monotonic() - began, 3)})
    print(f"snapshot: {counts['interactions']} interactions, {counts['rejected']} lines rejected", file=sys.stderr)
    return 0


def _interactions(raw: Path, feature: str) -> Iterator[tuple[str, Interaction | Rejected]]:
    for path in sorted(raw.glob("*/*/interactions.jsonl")):
        tenant = path.parent.parent.name
        for where, row in _lines(path):
            record = row if isinstance(row, Rejected) else parse_interaction(row, where)
            if isinstance(record, Interaction) and record.feature != feature:
                record = Rejected(where, "of another feature", record.interaction_id)
            if isinstance(record, Interaction) and record.tenant != tenant:
                record = Rejected(where, "of another tenant than its folder", record.interaction_id)
            yield where, record


def _feedback(raw: Path) -> Iterator[tuple[str, Feedback | Rejected]]:
    for path in sorted(raw.glob("*/*/feedback.jsonl")):
        for where, row in _lines(path):
            yield where, row if isinstance(row, Rejected) else parse_feedback(row, where)


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any] | Rejected]]:
    place = f"{path.parent.parent.name}/{path.parent.name}"
    for where, row in read_jsonl(path):
        yield f"{place}/{where}", replace(row, where=f"{place}/{where}") if isinstance(row, Rejected) else row


def _first_of_each(
    records: Iterator[tuple[str, Known | Rejected]], rejected: list[Rejected]
) -> dict[str, tuple[str, Known]]:
    """The sound records by id, in file order; the first of two with one id is kept."""
    found: dict[str, tuple[str, Known]] = {}
    for where, record in records:
        if isinstance(record, Rejected):
            rejected.append(replace(record, reason=_without_keys(record.reason)))
            continue
        record_id = record.interaction_id if isinstance(record, Interaction) else record.feedback_id
        if record_id in found:
            rejected.append(Rejected(where, "duplicate id", record_id))
        else:
            found[record_id] = (where, record)
    return found


def _without_keys(reason: str) -> str:
    """`input.messages.3.x: why` as `input: why`: reasons go into git, and a key inside a field is user text."""
    key, colon, why = reason.partition(": ")
    field = key.split(".")[0]
    return f"{field}: {why}" if colon and field in FIELDS else reason


def _row(interaction: Interaction, feedbacks: list[Feedback]) -> dict[str, Any]:
    feedbacks = sorted(feedbacks, key=lambda f: (f.at, f.feedback_id))
    asked = [m.content for m in interaction.input.messages if m.role == "user"]
    text = asked[-1] if asked else ""
    return {
        "interaction_id": interaction.interaction_id,
        "tenant": interaction.tenant,
        "session_id": interaction.session_id,
        "user_id": interaction.user_id,
        "at": sortable(interaction.at),
        "messages": canonical_json([m.model_dump() for m in interaction.input.messages]),
        "variables": _json(interaction.input.variables),
        "contexts": canonical_json([c.model_dump() for c in interaction.contexts]),
        "output": interaction.output.content or "",
        "release_id": interaction.release_id,
        "channel": interaction.channel,
        "fallback": interaction.fallback,
        "consent": interaction.consent,
        "feedback": "[" + ",".join(_json(f) for f in feedbacks) + "]",
        "feedback_at": sortable(feedbacks[-1].at) if feedbacks else None,
        "input_text": text,
        "input_chars": len(text),
        "n_feedback": len(feedbacks),
    }


def sortable(at: datetime) -> str:
    """A time in UTC of fixed width, so that texts sort as times do."""
    return at.isoformat(timespec="microseconds")


def _json(value: Any) -> str:
    """Canonical JSON; NaN and infinity, which a logged number may be, become null."""
    return canonical_json(from_json(to_json(value, inf_nan_mode="null")))


def _listed(rejected: Rejected) -> str:
    record_id = rejected.record_id[:200] if rejected.record_id else None
    return canonical_json({"where": rejected.where, "reason": rejected.reason, "id": record_id}) + "\n"


if __name__ == "__main__":
    sys.exit(main())
