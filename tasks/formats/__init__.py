"""Files of other tools as interactions and feedback: one reader per format, row by row, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from pathlib import Path
from types import ModuleType
from typing import Any

from ratchet.errors import BadInput
from ratchet.records import Rejected, read_jsonl
from tasks.formats import (
    flywheel,
    humanloop,
    langfuse,
    mlflow,
    native,
    openai_batch,
    openai_chat,
    openai_dpo,
    otel,
    tensorzero,
    zendesk_csv,
)
from tasks.formats.rows import UNDATED, Given, Record

READERS: dict[str, ModuleType] = {
    "ratchet": native,
    "openai-chat": openai_chat,
    "openai-batch": openai_batch,
    "openai-dpo": openai_dpo,
    "otel": otel,
    "langfuse": langfuse,
    "mlflow": mlflow,
    "tensorzero": tensorzero,
    "flywheel": flywheel,
    "humanloop": humanloop,
    "zendesk-csv": zendesk_csv,
}
FORMATS: tuple[str, ...] = tuple(READERS)
Rows = Iterator[tuple[str, dict[str, Any] | Rejected]]
LOOKED_AT = 20  # rows that tell a format
AHEAD = timedelta(days=1)  # clocks and time zones differ; more than that is no history


def read_records(
    path: Path, format: str = "auto", *, feature: str | None, at: datetime = UNDATED, now: datetime | None = None
) -> Iterator[Record]:
    """The records of a file, in its order; `read_rows` says which of them came from one row."""
    return chain.from_iterable(read_rows(path, format, feature=feature, at=at, now=now))


def read_rows(
    path: Path, format: str = "auto", *, feature: str | None, at: datetime = UNDATED, now: datetime | None = None
) -> Iterator[list[Record]]:
    """The records of each row of a file: at least one, so that no row goes without being counted.

    Args:
        format: one of FORMATS, or "auto" to tell it from the first rows.
        feature: the feature of the rows; in our own format of those that name none.
        at: the time of rows of formats that have no time.
        now: the clock; a record of more than a day ahead is rejected.

    Raises:
        BadInput: no such file or format, or "auto" cannot tell.
    """
    name = detect_format(path) if format == "auto" else format
    if name not in READERS:
        raise BadInput(f"{name}: no such format; there are auto, {', '.join(FORMATS)}")
    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    given, latest = Given(feature, at), (now or datetime.now(UTC)) + AHEAD
    return (_read(READERS[name], row, where, given, latest) for where, row in _rows(path, name))


def detect_format(path: Path) -> str:
    """The one format that the first rows of a file can be; our own for a file without a readable row.

    Raises:
        BadInput: no such file, rows like nothing we know, or like several formats (they are named).
    """
    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    rows = _objects(read_jsonl(path))
    if path.name.removesuffix(".gz").endswith(".csv") or (not rows and _is_tickets(path)):
        return "zendesk-csv"
    fits = [{name for name, reader in READERS.items() if name != "zendesk-csv" and reader.is_like(r)} for r in rows]
    found = [names for names in fits if names]
    if not rows:
        return "ratchet"
    if not found:
        raise BadInput(f"{path}: its first rows are like no format that is known; name one with --format")
    common = set.intersection(*found) or set.union(*found)
    if len(common) > 1:
        raise BadInput(f"{path}: may be {' or '.join(sorted(common))}; name one with --format")
    return common.pop()


def _objects(rows: Rows) -> list[dict[str, Any]]:
    """The first objects among a file's first rows, so that a file without any is not read to its end."""
    found = (row for _, row in islice(rows, 50 * LOOKED_AT) if isinstance(row, dict))
    return list(islice(found, LOOKED_AT))


def _is_tickets(path: Path) -> bool:
    return any(zendesk_csv.is_like(row) for row in _objects(zendesk_csv.rows_of(path)))


def _rows(path: Path, name: str) -> Rows:
    rows_of: Callable[[Path], Rows] = getattr(READERS[name], "rows_of", read_jsonl)
    return rows_of(path)


def _read(
    reader: ModuleType, row: dict[str, Any] | Rejected, where: str, given: Given, latest: datetime
) -> list[Record]:
    if isinstance(row, Rejected):
        return [row]
    records: list[Record] = []
    try:
        for record in reader.records_of(row, where, given):
            records.append(_not_ahead(record, where, latest))
    except BadInput as error:
        records.append(Rejected(where, str(error)))
    return records or [Rejected(where, "holds nothing that this format knows")]


def _not_ahead(record: Record, where: str, latest: datetime) -> Record:
    if isinstance(record, Rejected) or record.at <= latest:
        return record
    record_id = record.interaction_id if not hasattr(record, "feedback_id") else record.feedback_id
    return Rejected(where, "at: more than a day in the future", record_id)
