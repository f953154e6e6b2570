"""A partition raw/<tenant>/<day>/<kind>.jsonl: read from the store, scrubbed in chunks, written by time and id.

Memory is one chunk and one run of sorted lines, whatever the day brought: longer partitions are sorted by merging runs.
"""

from __future__ import annotations

import heapq
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError

from ratchet.files import canonical_json, write_whole
from ratchet.records import Feedback, Interaction
from ratchet.store import Store
from ratchet.store import feedback as feedback_table
from ratchet.store import interactions as interactions_table
from tasks.scrub import Item

TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
CHUNK = 500  # records that are scrubbed at once: the model is quicker in batches
RUN_LINES = 20_000  # that are sorted in memory

Line = tuple[str, str, str]  # when, id, the record as JSON
Scrub = Callable[[Sequence[Item]], Sequence[Interaction | Feedback | None]]


@dataclass(frozen=True)
class Touched:
    """A partition with new records."""

    kind: str
    tenant: str
    day: str
    new: int

    @property
    def path(self) -> str:
        """Where it lies below raw/."""
        return f"{self.tenant}/{self.day}/{self.kind}.jsonl"

    @property
    def is_safe(self) -> bool:
        """Whether tenant and day may be folder names."""
        return bool(TENANT.fullmatch(self.tenant) and DAY.fullmatch(self.day))


def write_partition(
    store: Store,
    feature: str,
    part: Touched,
    path: Path,
    *,
    scrub: Scrub,
    on_progress: Callable[[int], None],
    run_lines: int = RUN_LINES,
) -> int:
    """Write a partition wholly from the store; the same records give the same bytes. Returns how many were rejected.

    Args:
        scrub: the records without personal data, aligned with what it is given; None for one that cannot be.
        on_progress: called with the number of records after each chunk.
        run_lines: how many lines are sorted in memory, at least; the file does not depend on it.
    """
    rejected = 0
    with tempfile.TemporaryDirectory(prefix="ratchet-harvest-") as folder:
        lines = _Sorted(Path(folder), run_lines)
        for rows in _read(store, feature, part):
            items = [item for row in rows if (item := _item(*row)) is not None]
            written = [line for record in scrub(items) if (line := _line(record)) is not None]
            lines.add(written)
            rejected += len(rows) - len(written)
            on_progress(len(rows))
        write_whole(path, lines.merged())
    return rejected


@dataclass
class _Sorted:
    """Lines in the order of time and id, most of them in sorted files."""

    folder: Path
    run_lines: int
    runs: list[Path] = field(default_factory=list)
    pending: list[Line] = field(default_factory=list)

    def add(self, lines: Sequence[Line]) -> None:
        self.pending += lines
        if len(self.pending) >= self.run_lines:
            self.runs.append(self.folder / str(len(self.runs)))
            with self.runs[-1].open("w", encoding="utf-8") as file:
                file.writelines(json.dumps(line) + "\n" for line in sorted(self.pending))
            self.pending = []

    def merged(self) -> Iterator[str]:
        files = [path.open(encoding="utf-8") for path in self.runs]
        try:
            runs = ((tuple(json.loads(line)) for line in file) for file in files)
            yield from (line for _, _, line in heapq.merge(*runs, sorted(self.pending)))
        finally:
            for file in files:
                file.close()


def _read(store: Store, feature: str, part: Touched) -> Iterator[Sequence[Any]]:
    """The bodies of a partition in chunks: (interaction, None), or (interaction, feedback)."""
    asked, said = interactions_table.c, feedback_table.c
    query = (
        sa.select(asked.body, sa.null())
        if part.kind == "interactions"
        else sa.select(asked.body, said.body).join_from(
            feedback_table, interactions_table, asked.interaction_id == said.interaction_id
        )
    )
    day = asked.day if part.kind == "interactions" else said.day
    query = query.where(asked.feature == feature, asked.tenant == part.tenant, day == part.day)
    with store.reader.connect().execution_options(yield_per=CHUNK) as connection:
        yield from connection.execute(query).partitions()


def _item(interaction_body: str, feedback_body: str | None) -> Item | None:
    """The record as it was stored; None where this version cannot read it."""
    try:
        interaction = Interaction.model_validate_json(interaction_body)
        return Item(interaction, None if feedback_body is None else Feedback.model_validate_json(feedback_body))
    except ValidationError:
        return None


def _line(record: Interaction | Feedback | None) -> Line | None:
    if record is None:
        return None
    record_id = record.interaction_id if isinstance(record, Interaction) else record.feedback_id
    try:
        text = canonical_json(json.loads(record.model_dump_json())) + "\n"
    except ValueError:
        return None
    return record.at.isoformat(timespec="microseconds"), record_id, text
