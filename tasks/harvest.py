"""Action harvest: what is new in the store, without personal data, becomes raw/<tenant>/<day>/*.jsonl under DVC."""

from __future__ import annotations

import fcntl
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError

from ratchet import git
from ratchet.files import canonical_json, write_json, write_whole
from ratchet.pii import RULES, key_id
from ratchet.records import Feedback, Interaction
from ratchet.settings import Settings, read_secret
from ratchet.store import Store
from ratchet.store import feedback as feedback_table
from ratchet.store import interactions as interactions_table
from tasks import version
from tasks.scrub import conversation_of, scrub_feedback, scrub_interaction

TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True)
class Watermark:
    """The newest records that were harvested, as sequence numbers of the store."""

    interactions: int = 0
    feedback: int = 0


@dataclass(frozen=True)
class HarvestReport:
    """What a harvest brought; `partitions` are the files that were written, as <tenant>/<day>/<kind>.jsonl."""

    interactions_new: int
    feedback_new: int
    partitions: tuple[str, ...]
    rejected: int
    watermark: Watermark


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


def harvest_feature(settings: Settings, store: Store, feature: str) -> HarvestReport:
    """Harvest a feature in a worktree of its own and move `refs/ratchet/<feature>/latest` to the result.

    With nothing new, nothing is opened, written or moved. Killed anywhere, the next harvest does it all again.
    """
    key = bytes.fromhex(read_secret(settings, "pseudonyms"))
    with _alone(settings, feature):
        after = _read_watermark(settings, feature, key)
        _, reached = find_touched(store, feature, after)
        if reached == after:
            return HarvestReport(0, 0, (), 0, after)
        with version.harvest_worktree(settings, feature) as tree:
            data = tree / "data" / feature
            report = harvest(store, feature, data / "raw", after=after, key=key)
            pointers = {"key_id": key_id(key), "rules": RULES, "watermark": vars(report.watermark)}
            write_json(data / "harvest.json", pointers)
            told = f"{report.interactions_new} interactions, {report.feedback_new} feedbacks"
            version.seal_harvest(settings, tree, feature, f"{feature}: harvest of {told}")
    return report


def harvest(store: Store, feature: str, raw: Path, *, after: Watermark, key: bytes) -> HarvestReport:
    """Write every partition that has records after the watermark, each wholly from the store.

    The same records give the same bytes, so running it twice changes nothing and repairs what a crash left.
    """
    touched, reached = find_touched(store, feature, after)
    rejected = sum(part.new for part in touched if not part.is_safe)
    safe = [part for part in touched if part.is_safe]
    for part in safe:
        lines = list(_lines(store, feature, part, key))
        rejected += lines.count(None)
        write_whole(raw / part.path, "".join(line for line in lines if line is not None))
    return HarvestReport(
        interactions_new=sum(part.new for part in touched if part.kind == "interactions"),
        feedback_new=sum(part.new for part in touched if part.kind == "feedback"),
        partitions=tuple(part.path for part in safe),
        rejected=rejected,
        watermark=reached,
    )


def find_touched(store: Store, feature: str, after: Watermark) -> tuple[list[Touched], Watermark]:
    """The partitions that have records after the watermark, sorted, and the watermark that they reach.

    Feedback that waited for its interaction counts as new when the interaction comes.
    """
    asked, said = interactions_table.c, feedback_table.c
    is_new = asked.seq > after.interactions
    new_asked = (
        sa.select(asked.tenant, asked.day, sa.func.count(), sa.func.max(asked.seq))
        .where(asked.feature == feature, is_new)
        .group_by(asked.tenant, asked.day)
    )
    new_said = (
        sa.select(asked.tenant, said.day, sa.func.count(), sa.func.max(said.seq))
        .join_from(feedback_table, interactions_table, asked.interaction_id == said.interaction_id)
        .where(asked.feature == feature, sa.or_(is_new, said.seq > after.feedback))
        .group_by(asked.tenant, said.day)
    )
    with store.reader.connect() as connection:
        found = {
            "interactions": connection.execute(new_asked.order_by(asked.tenant, asked.day)).fetchall(),
            "feedback": connection.execute(new_said.order_by(asked.tenant, said.day)).fetchall(),
        }
    touched = [Touched(kind, row[0], row[1], row[2]) for kind, rows in found.items() for row in rows]
    reached = {kind: max([getattr(after, kind), *(row[3] for row in rows)]) for kind, rows in found.items()}
    return touched, Watermark(**reached)


def _lines(store: Store, feature: str, part: Touched, key: bytes) -> Iterator[str | None]:
    """A partition's lines by time and id; None for a record that this version cannot read or write."""
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
    with store.reader.connect() as connection:
        found = [_line(row[0], row[1], key) for row in connection.execute(query)]
    yield from (None for line in found if line is None)
    yield from (line for _, _, line in sorted(line for line in found if line is not None))


def _line(interaction_body: str, feedback_body: str | None, key: bytes) -> tuple[datetime, str, str] | None:
    """A record without personal data: when, its id, and its line."""
    record: Interaction | Feedback
    try:
        interaction = Interaction.model_validate_json(interaction_body)
        if feedback_body is None:
            record = scrub_interaction(interaction, key=key)
            record_id = record.interaction_id
        else:
            feedback = Feedback.model_validate_json(feedback_body)
            record = scrub_feedback(feedback, key=key, conversation=conversation_of(interaction))
            record_id = record.feedback_id
        return record.at, record_id, canonical_json(json.loads(record.model_dump_json())) + "\n"
    except (ValidationError, ValueError):
        return None


@contextmanager
def _alone(settings: Settings, feature: str) -> Iterator[None]:
    """Wait until no other process of this machine harvests the feature; a killed one holds nothing."""
    path = settings.home / "locks" / f"harvest-{feature}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read_watermark(settings: Settings, feature: str, key: bytes) -> Watermark:
    """Where the last harvest ended; the beginning where the key or the patterns have changed since."""
    text = git.show(settings.repo, version.latest_ref(feature), f"data/{feature}/harvest.json")
    last: dict[str, Any] = json.loads(text) if text else {}
    if (last.get("key_id"), last.get("rules")) != (key_id(key), RULES):
        return Watermark()
    return Watermark(**last["watermark"])
