"""Actions: draw the next holdout's items, and make them the holdout once people have labelled enough of them.

The draw is kept in one file until it has become the holdout; what it lacks is told by the labels in the store. So a
process that was killed anywhere is made good by running it again.
"""

from __future__ import annotations

import json
import math
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from ratchet.blind import LabelBook
from ratchet.errors import BadInput, HoldoutTouched, NothingNew
from ratchet.features import Feature
from ratchet.files import write_whole
from ratchet.ledger import Ledger
from ratchet.records import HoldoutItem, Rejected, read_holdout, read_jsonl
from ratchet.review import Item, find_queue, next_draw, read_items
from ratchet.settings import Settings
from ratchet.store import Store
from tasks.add_holdout import Added, add_holdout
from tasks.evaluate import holdout_digest
from tasks.holdout_questions import read_cut
from tasks.look import RETIRED, count_looks, why_retired
from tasks.raw_parts import sortable

SHOWCASE_SHARE = 0.15  # of labelled items, where nobody says otherwise
LEFT_OUT = 0.1  # of the items, so many may stay unlabelled: those that nobody can label are not a random part


class NextHoldout(NamedTuple):
    """The items drawn for the next holdout, how many have a label, on how many people disagree, how many it takes."""

    drawn: int
    labelled: int
    disputed: int
    needed: int
    is_enough: bool


class Refreshed(NamedTuple):
    """Where the next holdout stands; `added` once it is the holdout."""

    next: NextHoldout
    added: Added | None
    queue: Path


def refresh_holdout(
    settings: Settings, store: Store, ledger: Ledger, feature: Feature, *, share: float | None, now: datetime
) -> Refreshed:
    """Draw the next holdout's items, or take them up where they stand: make them the holdout when they are labelled.

    The old holdout retires by it: its items are kept away from training no more, and prove nothing again. Without a
    `share` for the showcase, the next one's is that of the present one.

    Raises:
        NothingNew: too little was asked since the holdout was labelled.
    """
    share = showcase_share(settings, feature) if share is None else share
    path = next_draw(settings, feature.name)
    if not path.is_file():
        _draw(settings, store, feature, path, share=share)
    book, items = LabelBook(store, feature), read_items(path, is_blind=True).items
    book.read()
    standing, chosen = _standing(book, items, feature, share=share)
    if not standing.is_enough:
        return Refreshed(standing, None, path)
    labelled = settings.home / "review" / f"{feature.name}-blind.jsonl"
    book.write(labelled, chosen)
    _retire(settings, ledger, feature, read_holdout(labelled, feature))
    added = add_holdout(settings, ledger, feature, labelled, showcase=None, share=share, now=now)
    path.unlink()
    return Refreshed(standing, added, path)


def holdout_status(settings: Settings, store: Store, ledger: Ledger, feature: Feature) -> dict[str, Any]:
    """What is known of a holdout without any score: items, looks, alpha left, whether it is retired, what comes next.

    Raises:
        BadInput: there is no holdout.
    """
    folder = settings.repo / "data" / feature.name / "holdout"
    if not (folder / "holdout.jsonl").is_file():
        raise BadInput(f"{feature.name} has no holdout here; add one with `ratchet holdout add {feature.name} FILE`")
    items = [item.item_id for item in read_holdout(folder / "holdout.jsonl", feature)]
    showcase = folder / "showcase.jsonl"
    looks, cut = count_looks(items, feature.name, ledger), read_cut(folder)
    why = why_retired(items, feature.name, ledger, store)
    used = {entry.subject for entry in ledger.entries(event="holdout") if entry.facts["feature"] == feature.name}
    return {
        "feature": feature.name,
        "items": len(items),
        "showcase": len(read_holdout(showcase, feature)) if showcase.is_file() else 0,
        "labelled_at": cut.isoformat() if cut is not None else None,
        "looks": looks,
        "alpha": feature.gate.alpha,
        "alpha_left": 0.0 if why is not None else math.ldexp(feature.gate.alpha, -looks),
        "alpha_of_next_look": 0.0 if why is not None else math.ldexp(feature.gate.alpha, -looks - 1),
        "is_retired": why is not None,
        "why_retired": why,
        "holdouts": len(used),
        "wrong_accepts_expected_at_most": round(feature.gate.alpha * len(used), 6),
        "next": _next(settings, store, feature),
    }


def showcase_share(settings: Settings, feature: Feature) -> float:
    """The showcase's share of the feature's labelled items today, at most half; the usual one without a holdout."""
    folder = settings.repo / "data" / feature.name / "holdout"
    held, shown = (
        len(read_holdout(path, feature)) if (path := folder / f"{split}.jsonl").is_file() else 0
        for split in ("holdout", "showcase")
    )
    return min(0.5, shown / (held + shown)) if held else SHOWCASE_SHARE


def _next(settings: Settings, store: Store, feature: Feature) -> dict[str, Any] | None:
    path = next_draw(settings, feature.name)
    if not path.is_file():
        return None
    book = LabelBook(store, feature)
    book.read()
    share = showcase_share(settings, feature)
    return _standing(book, read_items(path, is_blind=True).items, feature, share=share)[0]._asdict()


def _draw(settings: Settings, store: Store, feature: Feature, path: Path, *, share: float) -> None:
    """Keep the newest run's random traffic that is newer than the holdout; of a holdout without a date, all of it."""
    cut = read_cut(settings.repo / "data" / feature.name / "holdout")
    source = find_queue(settings, store, feature.name, is_blind=True)
    rows = [row for _, row in read_jsonl(source) if not isinstance(row, Rejected)]
    fresh = [row for row in rows if cut is None or str(row.get("at", "")) >= sortable(cut)]
    needed = _needed(feature, share)
    if len(fresh) < needed:
        raise NothingNew(
            f"{len(fresh)} questions in {source} are newer than {feature.name}'s holdout, and {needed} are needed: "
            f"wait for traffic, then `ratchet run {feature.name}` draws anew (at most curate.blind_items)"
        )
    write_whole(path, "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in fresh))


def _standing(
    book: LabelBook, items: tuple[Item, ...], feature: Feature, *, share: float
) -> tuple[NextHoldout, tuple[Item, ...]]:
    """How far it is, and the items that the next holdout is made of: the longest beginning of the draw of which at
    most a tenth is without a label. The order is random, so a beginning is a random sample, and a choice is not."""
    found = book.labelled(items)
    has_label = [bool(book.labelled([item]).rows) for item in items]
    most = max(
        (k for k in range(1, len(items) + 1) if sum(has_label[:k]) >= (1 - LEFT_OUT) * k),
        default=0,
    )
    needed = _needed(feature, share)
    standing = NextHoldout(len(items), len(found.rows), found.disputed, needed, sum(has_label[:most]) >= needed)
    return standing, items[:most]


def _needed(feature: Feature, share: float) -> int:
    """Labelled items of which, without the showcase's share, the gate's least number is left."""
    needed = math.ceil(feature.gate.min_items / (1 - share))
    return needed + (needed - round(share * needed) < feature.gate.min_items)


def _retire(settings: Settings, ledger: Ledger, feature: Feature, chosen: list[HoldoutItem]) -> None:
    """Note that the present holdout's items prove nothing again; not where they are the next one's, half written."""
    path = settings.repo / "data" / feature.name / "holdout" / "holdout.jsonl"
    if not path.is_file():
        return
    items = {item.item_id for item in read_holdout(path, feature)}
    coming = {item.item_id for item in chosen}
    if items <= coming:
        return
    if items & coming:
        raise HoldoutTouched(
            f"{len(items & coming)} items of the draw are in {feature.name}'s holdout already, so something else "
            f"changed it meanwhile; remove {next_draw(settings, feature.name)} and draw again"
        )
    ledger.append_once(RETIRED, holdout_digest(path.parent), feature=feature.name, items=sorted(items))
