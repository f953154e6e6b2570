"""Action: bring interactions and feedback from files into the store; bad rows are counted and written out."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ratchet.records import Feedback, Interaction, Rejected
from ratchet.store import Store
from tasks.formats import read_rows
from tasks.formats.rows import UNDATED
from tasks.formats.tensorzero import EPISODE

BATCH = 2000  # records of one transaction


@dataclass
class ImportReport:
    """What became of a file: its rows became records (one or more each); records = accepted + known + rejected."""

    rows: int = 0
    records: int = 0
    accepted: int = 0
    known: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    first_rejected: str | None = None
    rejects_file: Path | None = None


def import_file(  # one file has this many facts
    store: Store,
    path: Path,
    *,
    feature: str | None,
    rejects: Path,
    on_progress: Callable[[int], None],
    format: str = "auto",
    at: datetime = UNDATED,
    is_dry_run: bool = False,
) -> ImportReport:
    """Read a file row by row, store what is sound; importing it again, or after a crash, adds what is missing.

    Args:
        feature: the feature of the rows (in our own format of those that name none).
        rejects: where rejected records are listed (where, reason, id; never content); removed where there are none.
        on_progress: called with the number of rows read so far.
        format: one of `tasks.formats.FORMATS`, or "auto".
        at: the time of rows of formats that have none.
        is_dry_run: store nothing; `accepted` is then what could be used, and nothing is `known`.

    Raises:
        BadInput: there is no such file or format, or the format cannot be told.
    """
    rows = read_rows(path, format, feature=feature, at=at)
    report = ImportReport()
    batch: list[Interaction | Feedback] = []
    with _listing(rejects) as refuse:
        for records in rows:
            report.rows += 1
            report.records += len(records)
            for record in records:
                if isinstance(record, Rejected):
                    report.rejected[record.reason] += 1
                    report.first_rejected = report.first_rejected or f"{record.where}: {record.reason}"
                    refuse(record)
                else:
                    batch.append(record)
            if len(batch) >= BATCH:
                _flush(None if is_dry_run else store, batch, report)
                on_progress(report.rows)
        _flush(None if is_dry_run else store, batch, report)
        on_progress(report.rows)
    report.rejects_file = rejects if report.rejected else None
    return report


@contextmanager
def _listing(path: Path) -> Iterator[Callable[[Rejected], None]]:
    """Write rejected records line by line, and put the file in place when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:

            def refuse(record: Rejected) -> None:
                row = {"where": record.where, "reason": record.reason, "id": record.record_id}
                file.write(json.dumps(row) + "\n")

            yield refuse
        if temporary.stat().st_size:
            os.replace(temporary, path)
        else:
            path.unlink(missing_ok=True)
    finally:
        temporary.unlink(missing_ok=True)


def _flush(store: Store | None, batch: list[Interaction | Feedback], report: ImportReport) -> None:
    new = len(batch)
    if store is not None:
        new = store.add_interactions([r for r in batch if isinstance(r, Interaction)])
        new += store.add_feedback(_resolve_episodes(store, [r for r in batch if isinstance(r, Feedback)]))
    report.accepted += new
    report.known += len(batch) - new
    batch.clear()


def _resolve_episodes(store: Store, said: list[Feedback]) -> list[Feedback]:
    """Feedback on an episode becomes feedback on the episode's last inference; what is not known yet stays as it is."""
    episodes = {record.interaction_id for record in said if EPISODE in record.attributes}
    last = store.last_in_sessions(episodes) if episodes else {}
    return [
        record.model_copy(
            update={
                "interaction_id": last[record.interaction_id],
                "feedback_id": f"{record.feedback_id}@{record.interaction_id}"[:200],
            }
        )
        if EPISODE in record.attributes and record.interaction_id in last
        else record
        for record in said
    ]
