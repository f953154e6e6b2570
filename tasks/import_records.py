"""Action: bring interactions and feedback from JSONL files into the store; bad rows are counted and written out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ratchet.errors import BadInput
from ratchet.files import write_whole
from ratchet.records import Feedback, Interaction, Rejected, parse_feedback, parse_interaction, read_jsonl
from ratchet.store import Store

BATCH = 1000


@dataclass
class ImportReport:
    """What became of a file's rows; rows = accepted + known + rejected."""

    rows: int = 0
    accepted: int = 0
    known: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    first_rejected: str | None = None
    rejects_file: Path | None = None


def import_file(
    store: Store, path: Path, *, feature: str | None, rejects: Path, on_progress: Callable[[int], None]
) -> ImportReport:
    """Read a file line by line, store what is sound; importing it again adds nothing.

    Args:
        feature: the feature of rows that name none.
        rejects: where rejected rows are listed (where, reason, id; never content).
        on_progress: called with the number of rows read so far.

    Raises:
        BadInput: there is no such file.
    """
    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    report = ImportReport()
    refused: list[Rejected] = []
    batch: list[Interaction | Feedback] = []
    for record in _records(path, feature):
        report.rows += 1
        if isinstance(record, Rejected):
            report.rejected[record.reason] += 1
            report.first_rejected = report.first_rejected or f"{record.where}: {record.reason}"
            refused.append(record)
        else:
            batch.append(record)
        if len(batch) >= BATCH:
            _flush(store, batch, report)
            on_progress(report.rows)
    _flush(store, batch, report)
    on_progress(report.rows)
    if refused:
        rows = [{"where": r.where, "reason": r.reason, "id": r.record_id} for r in refused]
        write_whole(rejects, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        report.rejects_file = rejects
    return report


def _records(path: Path, feature: str | None) -> Iterator[Interaction | Feedback | Rejected]:
    for where, row in read_jsonl(path):
        if isinstance(row, Rejected):
            yield row
        elif "feedback_id" in row:
            yield parse_feedback(row, where)
        elif "input" in row or "interaction_id" in row:
            yield parse_interaction(_with_feature(row, feature), where)
        else:
            yield Rejected(where, "neither an interaction (interaction_id, input) nor feedback (feedback_id)")


def _with_feature(row: dict[str, Any], feature: str | None) -> dict[str, Any]:
    return row if feature is None or "feature" in row else {**row, "feature": feature}


def _flush(store: Store, batch: list[Interaction | Feedback], report: ImportReport) -> None:
    new = store.add_interactions([r for r in batch if isinstance(r, Interaction)])
    new += store.add_feedback([r for r in batch if isinstance(r, Feedback)])
    report.accepted += new
    report.known += len(batch) - new
    batch.clear()
