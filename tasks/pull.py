"""What the pulls share: records into the store, counted, those that cannot be used listed; and how far a pull came."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
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
    """What became of what was read: read = accepted + known + rejected.

    `unchanged`: objects that an earlier pull has read. `rejects`: the file or folder that lists what was rejected.
    """

    read: int = 0
    accepted: int = 0
    known: int = 0
    unchanged: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    rejects: Path | None = None

    def add(self, read: int, accepted: int, known: int, rejected: Counter[str]) -> None:
        """Count a part of the pull."""
        assert read == accepted + known + sum(rejected.values()), "a record is not accounted for"
        self.read += read
        self.accepted += accepted
        self.known += known
        self.rejected += rejected

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
        for some in batches(records):
            good = [record for record in some if not isinstance(record, Rejected)]
            new = sum(self._store.add_records(good))
            bad = [record for record in some if isinstance(record, Rejected)]
            self._list(bad)
            self.report.add(len(some), new, len(good) - new, Counter(record.reason for record in bad))
            self._on_progress(self.report.read)

    def _list(self, bad: list[Rejected]) -> None:
        if not bad:
            return
        self.report.rejects = self._rejects
        self._rejects.parent.mkdir(parents=True, exist_ok=True)
        with self._rejects.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps({"where": r.where, "reason": r.reason, "id": r.record_id}) + "\n" for r in bad)


def batches(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Records by the batch of one transaction."""
    remaining = iter(records)
    while some := list(islice(remaining, BATCH)):
        yield some


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
