"""What one's own logs say, before anything is installed: facts from any file that can be read, and one page of them.

No network, no store, no training: the files are read once into a temporary database, which is gone at the end.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.try_out.canary import Canary, plan_canary
from tasks.try_out.change import Marked, find_changes
from tasks.try_out.counts import Counts, count
from tasks.try_out.duplicates import Duplicates, find_duplicates
from tasks.try_out.gather import Intake, gather
from tasks.try_out.log import Log
from tasks.try_out.next_step import OWN_NAME, Step, choose_step
from tasks.try_out.topics import Topics, find_topics


@dataclass(frozen=True)
class Facts:
    """Everything that the page says. `topics` and `duplicates` hold users' words, not yet scrubbed."""

    files: tuple[str, ...]
    intake: Intake
    counts: Counts
    topics: Topics
    duplicates: Duplicates
    changes: tuple[Marked, ...]
    canary: Canary
    step: Step


def try_out(
    files: Sequence[Path],
    format: str,
    *,
    feature: str | None,
    known: Container[str] = (),
    on_progress: Callable[[str, int | None], None],
) -> Facts:
    """Read the files and count.

    Args:
        format: one of tasks.formats.FORMATS, or "auto".
        feature: of rows that name none.
        known: features that there are already: the next step does not make them.
        on_progress: called with what is being done, and the records read so far where records are being read.

    Raises:
        BadInput: a file is missing, or its format cannot be told.
    """
    with tempfile.TemporaryDirectory(prefix="ratchet-try-") as folder:
        log = Log(Path(folder) / "log.sqlite")
        try:
            intake = gather(files, format, log, feature=feature or OWN_NAME, on_progress=on_progress)
            on_progress("deriving signals", None)
            log.settle()
            counts = count(log)
            on_progress("clustering requests", None)
            topics = find_topics(log)
            on_progress("looking for copies", None)
            duplicates = find_duplicates(log)
            on_progress("comparing versions", None)
            changes = find_changes(log)
            step = choose_step(log, counts, intake, changes, files, feature=feature, known=known)
        finally:
            log.close()
    names = tuple(file.name for file in files)
    return Facts(names, intake, counts, topics, duplicates, changes, plan_canary(counts), step)
