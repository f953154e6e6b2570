"""What the pulls share: records into the store, counted, those that cannot be used listed; and how far a pull came."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ratchet.records import Feedback, Interaction, Rejected
from ratchet.store import Document, Store

BATCH = 500
KIND = "pull"
Record = Interaction | Feedback | Rejected
OnProgress = Callable[[int], None]


@dataclass
class PullReport:
    """What became of what was read; read = accepted + known + rejected."""

    read: int = 0
    accepted: int = 0
    known: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    rejects_file: Path | None = None

    def facts(self) -> dict[str, Any]:
        """The report for programs and people."""
        return {**vars(self), "rejected": dict(sorted(self.rejected.items()))}


class Intake:
    """Stores what a pull reads, batch by batch, and counts each record; its rejects file holds places and reasons."""

    def __init__(self, store: Store, rejects: Path, on_progress: OnProgress) -> None:
        """Begin with an empty report and no rejects file."""
        self.report = PullReport()
        self._store = store
        self._rejects = rejects
        self._on_progress = on_progress
        rejects.unlink(missing_ok=True)

    def add(self, records: Iterable[Record]) -> None:
        """Store records; what was added is on disk when this returns."""
        batch: list[Interaction | Feedback] = []
        for record in records:
            self.report.read += 1
            if isinstance(record, Rejected):
                self._reject(record)
            else:
                batch.append(record)
            if len(batch) >= BATCH:
                self._flush(batch)
        self._flush(batch)
        report = self.report
        assert report.read == report.accepted + report.known + sum(report.rejected.values())
        self._on_progress(report.read)

    def _flush(self, batch: list[Interaction | Feedback]) -> None:
        new = sum(self._store.add_records(batch))
        self.report.accepted += new
        self.report.known += len(batch) - new
        batch.clear()

    def _reject(self, rejected: Rejected) -> None:
        self.report.rejected[rejected.reason] += 1
        self._rejects.parent.mkdir(parents=True, exist_ok=True)
        with self._rejects.open("a", encoding="utf-8") as file:
            row = {"where": rejected.where, "reason": rejected.reason, "id": rejected.record_id}
            file.write(json.dumps(row) + "\n")
        self.report.rejects_file = self._rejects


def progress_of(store: Store, source: str, feature: str) -> Document | None:
    """How far the pulls of a source came."""
    return store.document(KIND, f"{feature}:{source}")


def move_progress(store: Store, source: str, feature: str, before: Document | None, body: dict[str, Any]) -> Document:
    """Note how far a pull came, once what it read is stored.

    Raises:
        StaleRecord: another pull of the same source moved it meanwhile; nothing is lost, the next pull goes on.
    """
    if before is None:
        return store.create_document(KIND, f"{feature}:{source}", feature, body)
    return before if before.body == body else store.change_document(KIND, before, body)
