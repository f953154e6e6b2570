"""Action: make labelled messages the feature's holdout (and showcase), and track them by DVC."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from ratchet.errors import BadInput, HoldoutTouched
from ratchet.features import Feature
from ratchet.files import write_json, write_whole
from ratchet.ledger import Ledger
from ratchet.records import HoldoutItem, read_holdout
from ratchet.settings import Settings
from tasks import version
from tasks.evaluate import holdout_digest


class Added(NamedTuple):
    """What became of the file's items."""

    holdout: int
    showcase: int
    digest: str


def add_holdout(
    settings: Settings,
    ledger: Ledger,
    feature: Feature,
    file: Path,
    *,
    showcase: Path | None,
    share: float,
    now: datetime,
) -> Added:
    """Write data/<feature>/holdout/, replacing an earlier holdout, whose looks stay in the ledger.

    Without a showcase file a random `share` of the items becomes the showcase: it is what people are shown, and is
    neither trained on nor gated on.

    Raises:
        BadInput, BadRecord: nothing usable, a malformed line, a label that is not in the schema.
        HoldoutTouched: an item stands in both files.
    """
    items = read_holdout(file, feature)
    if showcase is not None:
        shown = read_holdout(showcase, feature)
    else:
        drawn = random.Random(17).sample(range(len(items)), round(share * len(items)))
        shown = [items[i] for i in sorted(drawn)]
        items = [item for i, item in enumerate(items) if i not in set(drawn)]
    if not items:
        raise BadInput(f"{file} holds no items")
    both = {item.item_id for item in items} & {item.item_id for item in shown}
    if both:
        raise HoldoutTouched(f"{len(both)} items stand in the holdout and in the showcase; remove them from one")
    folder = settings.repo / "data" / feature.name / "holdout"
    _write_items(folder / "holdout.jsonl", items)
    _write_items(folder / "showcase.jsonl", shown)
    write_json(folder / "meta.json", {"labelled_at": now.isoformat(timespec="seconds")})
    version.track_holdout(settings, feature.name)
    digest = holdout_digest(folder)
    ledger.append_once("holdout", digest, feature=feature.name, items=len(items))
    return Added(len(items), len(shown), digest)


def _write_items(path: Path, items: Sequence[HoldoutItem]) -> None:
    rows = [item.as_row() for item in items]
    write_whole(path, "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows))
