"""The raw files of a feature, checked line by line and written as Parquet parts; large batches on all cores.

Sound interactions and feedback and the rejected lines each get a folder of parts. Memory is one part per process; what
the parts hold does not depend on the number of processes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic_core import from_json, to_json

from ratchet.files import canonical_json
from ratchet.process import cores, run_each
from ratchet.records import Feedback, Interaction, Rejected, parse_feedback, parse_interaction, read_jsonl
from tasks.tables import schema_of

ASKED = {
    "seq": "int",
    "place": "str",
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
    "input_text": "str",
    "input_chars": "int",
    "latency_ms": "float",
}
SAID = {"seq": "int", "place": "str", "feedback_id": "str", "interaction_id": "str", "at": "str", "feedback": "str"}
REJECTED = {"place": "str", "reason": "str", "record_id": "str"}
PARTS = {"asked": ASKED, "said": SAID, "rejected": REJECTED}
FIELDS = {*Interaction.model_fields, *Feedback.model_fields}
LINES = 32  # bits of `seq` for the number of a line; above them the number of its file
PART_ROWS = 8192
PART_CHARS = 32 << 20
WORTH_A_POOL = 16 << 20  # bytes; below, starting processes costs more than it saves


class RawFile(NamedTuple):
    """One file of raw/<tenant>/<day>/ and its number in reading order."""

    path: Path
    number: int
    feature: str


def write_parts(raw: Path, feature: str, parts: Path, *, workers: int | None = None) -> None:
    """Check every line below `raw` and write `parts`/{asked,said,rejected}/<number of the file>-<part>.parquet.

    Args:
        workers: how many processes; the default is one per core where that pays.
    """
    names = ("interactions.jsonl", "feedback.jsonl")
    paths = [path for name in names for path in sorted(raw.glob(f"*/*/{name}"))]
    for name in PARTS:  # a folder without files could not be read
        _write_part(parts, name, "none", [])
    if workers is None:
        workers = cores() if sum(path.stat().st_size for path in paths) >= WORTH_A_POOL else 1
    files = [RawFile(path, number, feature) for number, path in enumerate(paths)]
    run_each(partial(_write_file, parts), files, workers=workers)


def sortable(at: datetime) -> str:
    """A time in UTC of fixed width, so that texts sort as times do."""
    return at.isoformat(timespec="microseconds")


def _write_file(parts: Path, file: RawFile) -> None:
    written = 0
    waiting: dict[str, list[Mapping[str, Any]]] = {name: [] for name in PARTS}
    chars = 0
    for kind, row in _checked(file):
        waiting[kind].append(row)
        chars += sum(len(value) for value in row.values() if isinstance(value, str))
        if len(waiting[kind]) >= PART_ROWS or chars >= PART_CHARS:
            for name, rows in waiting.items():
                _write_part(parts, name, f"{file.number}-{written}", rows)
            waiting, chars, written = {name: [] for name in PARTS}, 0, written + 1
    for name, rows in waiting.items():
        _write_part(parts, name, f"{file.number}-{written}", rows)


def _write_part(parts: Path, kind: str, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows or name == "none":
        (parts / kind).mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_pylist(list(rows), schema=schema_of(PARTS[kind]))
        pq.write_table(table, parts / kind / f"{name}.parquet")


def _checked(file: RawFile) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line as a row of `asked`, `said` or `rejected`."""
    tenant, day = file.path.parts[-3:-1]
    for where, row in read_jsonl(file.path):
        place = f"{tenant}/{day}/{where}"
        record = _record(row, place, file, tenant)
        if isinstance(record, Rejected):
            yield "rejected", _refusal(replace(record, where=place))
            continue
        seq = (file.number << LINES) + int(where.rpartition(":")[2])
        if isinstance(record, Interaction):
            yield "asked", _asked(record) | {"seq": seq, "place": place}
        else:
            yield "said", _said(record) | {"seq": seq, "place": place}


def _record(
    row: dict[str, Any] | Rejected, place: str, file: RawFile, tenant: str
) -> Interaction | Feedback | Rejected:
    if isinstance(row, Rejected):
        return row
    if file.path.name == "feedback.jsonl":
        return parse_feedback(row, place)
    record = parse_interaction(row, place)
    if isinstance(record, Interaction) and record.feature != file.feature:
        return Rejected(place, "of another feature", record.interaction_id)
    if isinstance(record, Interaction) and record.tenant != tenant:
        return Rejected(place, "of another tenant than its folder", record.interaction_id)
    return record


def _refusal(rejected: Rejected) -> dict[str, Any]:
    """A reason goes into git: `input.messages.3.x: why` becomes `input: why`, as a key inside a field is user text."""
    key, colon, why = rejected.reason.partition(": ")
    field = key.split(".")[0]
    reason = f"{field}: {why}" if colon and field in FIELDS else rejected.reason
    record_id = rejected.record_id[:200].encode("utf-8", "replace").decode() if rejected.record_id else None
    return {"place": rejected.where, "reason": reason, "record_id": record_id}


def _asked(interaction: Interaction) -> dict[str, Any]:
    asked = [m.content for m in interaction.input.messages if m.role == "user"]
    text = asked[-1] if asked else ""
    latency = interaction.latency_ms
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
        "input_text": text,
        "input_chars": len(text),
        "latency_ms": latency if latency is not None and math.isfinite(latency) else None,
    }


def _said(feedback: Feedback) -> dict[str, Any]:
    return {
        "feedback_id": feedback.feedback_id,
        "interaction_id": feedback.interaction_id,
        "at": sortable(feedback.at),
        "feedback": _json(feedback),
    }


def _json(value: Any) -> str:
    """Canonical JSON; NaN and infinity, which a logged number may be, become null."""
    return canonical_json(from_json(to_json(value, inf_nan_mode="null")))
