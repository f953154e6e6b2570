"""Reads files of any format into the log, counting what could not be used and where personal data stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ratchet.pii import find_pii
from ratchet.questions import normalise
from ratchet.records import Interaction, Rejected
from tasks.formats import detect_format, read_records
from tasks.try_out.log import BATCH, Log, question_of


@dataclass
class Intake:
    """What became of the records: records = interactions + feedback + known + sum(rejected)."""

    formats: dict[str, str] = field(default_factory=dict)  # by file name
    records: int = 0
    interactions: int = 0
    feedback: int = 0
    known: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    first_rejected: str | None = None
    pii_interactions: int = 0
    pii: Counter[str] = field(default_factory=Counter)  # interactions in which a type stands anywhere
    pii_asked: Counter[str] = field(default_factory=Counter)  # interactions in whose messages a type stands
    pii_answered: Counter[str] = field(default_factory=Counter)  # ... in whose answer


def gather(
    files: Sequence[Path], format: str, log: Log, *, feature: str | None, on_progress: Callable[[str, int], None]
) -> Intake:
    """Read every file; a record that cannot be used is counted by reason, and of equal ids the first is kept.

    Args:
        feature: of rows that name none.
        on_progress: called with a file's name and the records read of it so far.

    Raises:
        BadInput: a file is missing, or its format cannot be told.
    """
    intake = Intake()
    for file in files:
        name = detect_format(file) if format == "auto" else format
        intake.formats[file.name] = name
        read = 0
        for read, record in enumerate(read_records(file, name, feature=feature), start=1):
            intake.records += 1
            if isinstance(record, Rejected):
                intake.rejected[record.reason] += 1
                intake.first_rejected = intake.first_rejected or f"{record.where}: {record.reason}"
            elif isinstance(record, Interaction):
                _count_pii(record, intake)
                log.add(record, normalise(question_of(record)))
            else:
                log.add(record)
            if read % BATCH == 0:
                on_progress(file.name, read)
        on_progress(file.name, read)
    log.flush()
    intake.interactions = log.one("SELECT COUNT(*) FROM interaction")
    intake.feedback = log.one("SELECT COUNT(*) FROM feedback")
    intake.known = intake.records - intake.interactions - intake.feedback - intake.rejected.total()
    return intake


def _count_pii(record: Interaction, intake: Intake) -> None:
    sent = {span.type for m in record.input.messages if m.role != "assistant" for span in find_pii(m.content)}
    answered = {span.type for span in find_pii(record.output.content or "")}
    intake.pii.update(sent | answered)
    intake.pii_asked.update(sent)
    intake.pii_answered.update(answered)
    intake.pii_interactions += bool(sent | answered)
