"""Action harvest: what is new in the store, without personal data, becomes raw/<tenant>/<day>/*.jsonl under DVC."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ratchet import git
from ratchet.features import Privacy, load_feature
from ratchet.files import canonical_json, sha256_text, write_json
from ratchet.pii import RULES, key_id
from ratchet.progress import ProgressLine
from ratchet.records import Feedback, Interaction
from ratchet.settings import Settings, read_secret
from ratchet.store import Store
from ratchet.store import feedback as feedback_table
from ratchet.store import interactions as interactions_table
from tasks import version
from tasks.ner import load_detector, versions
from tasks.partitions import Touched, write_partition
from tasks.scrub import Item, scrub_records


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


def harvest_feature(settings: Settings, store: Store, feature: str) -> HarvestReport:
    """Harvest a feature in a worktree of its own and move `refs/ratchet/<feature>/latest` to the result.

    With nothing new, nothing is opened, written or moved. Killed anywhere, the next harvest does it all again.
    """
    key = bytes.fromhex(read_secret(settings, "pseudonyms"))
    privacy = load_feature(settings.repo, feature).privacy
    scrubbing = scrubbing_of(privacy, key)
    with _alone(settings, feature):
        after = _read_watermark(settings, feature, scrubbing)
        _, reached = find_touched(store, feature, after)
        if reached == after:
            return HarvestReport(0, 0, (), 0, after)
        with version.harvest_worktree(settings, feature) as tree:
            data = tree / "data" / feature
            line = ProgressLine(f"harvest of {feature}")
            report = harvest(store, feature, data / "raw", after=after, key=key, privacy=privacy, on_progress=line.show)
            write_json(data / "harvest.json", {**scrubbing, "watermark": vars(report.watermark)})
            told = f"{report.interactions_new} interactions, {report.feedback_new} feedbacks"
            version.seal_harvest(settings, tree, feature, f"{feature}: harvest of {told}")
    return report


def harvest(
    store: Store,
    feature: str,
    raw: Path,
    *,
    after: Watermark,
    key: bytes,
    privacy: Privacy = Privacy(),  # noqa: B008 - it is frozen
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> HarvestReport:
    """Write every partition that has records after the watermark, each wholly from the store.

    The same records give the same bytes, so running it twice changes nothing and repairs what a crash left.

    Args:
        on_progress: called with the records written and those to write, as far as both are known.
    """
    touched, reached = find_touched(store, feature, after)
    rejected = sum(part.new for part in touched if not part.is_safe)
    safe = [part for part in touched if part.is_safe]
    detector = load_detector(privacy) if safe else None
    done = 0
    total = sum(part.new for part in safe)

    def show(n: int) -> None:
        nonlocal done, total
        done += n
        total = max(total, done)  # a partition is written whole, also where little of it is new
        on_progress(done, total)

    def scrub(items: Sequence[Item]) -> list[Interaction | Feedback | None]:
        assert detector is not None
        return scrub_records(items, detector, privacy, key=key)

    for part in safe:
        rejected += write_partition(store, feature, part, raw / part.path, scrub=scrub, on_progress=show)
    return HarvestReport(
        interactions_new=sum(part.new for part in touched if part.kind == "interactions"),
        feedback_new=sum(part.new for part in touched if part.kind == "feedback"),
        partitions=tuple(part.path for part in safe),
        rejected=rejected,
        watermark=reached,
    )


def scrubbing_of(privacy: Privacy, key: bytes) -> dict[str, Any]:
    """What decides how a record is scrubbed, for harvest.json: where it changes, every partition is written anew."""
    wanted = privacy.model_dump(mode="json", exclude={"scrub_in_gateway"})
    found = {"key_id": key_id(key), "rules": RULES, "versions": versions(privacy)}
    return found | {"entities": sorted(privacy.entities), "privacy": sha256_text(canonical_json(wanted))}


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


@contextmanager
def _alone(settings: Settings, feature: str) -> Iterator[None]:
    """Wait until no other process of this machine harvests the feature; a killed one holds nothing."""
    path = settings.home / "locks" / f"harvest-{feature}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read_watermark(settings: Settings, feature: str, scrubbing: dict[str, Any]) -> Watermark:
    """Where the last harvest ended; the beginning where the key, the rules or the policy have changed since."""
    text = git.show(settings.repo, version.latest_ref(feature), f"data/{feature}/harvest.json")
    last: dict[str, Any] = json.loads(text) if text else {}
    if any(last.get(name) != value for name, value in scrubbing.items()):
        return Watermark()
    return Watermark(**last["watermark"])
