"""Action: record that a candidate is about to meet the holdout, and hand the count of looks to the gate as a file.

Looks are counted by item, over all holdouts of a feature: an item that stands in two holdouts brings its looks along,
so that editing a row, or a part of them, buys nothing. A holdout is used up when a candidate was accepted on any of its
items (its numbers are out then), or when so many met one that hardly any error is left to spend.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from ratchet.errors import HoldoutRetired
from ratchet.features import load_feature
from ratchet.files import read_json, write_json
from ratchet.ledger import Ledger
from ratchet.records import read_holdout
from ratchet.release import read_candidate
from ratchet.runs import KIND
from ratchet.store import Store
from tasks.evaluate import choose_arm, holdout_digest

RETIRED = "holdout_retired"
MOST_LOOKS = 6  # what is left after them, alpha / 64, lets through only what is obvious


def record_look(tree: Path, feature: str, arms: tuple[str, ...], ledger: Ledger, run_id: str) -> int:
    """Write the look into the ledger before evaluate runs, and looks.json into the worktree.

    A candidate that met this holdout before is the same look: its scores are the same. Returns the number of looks
    so far at the item that has had most, this one included.
    """
    data = tree / "data" / feature
    reports = {arm: read_json(data / "candidates" / arm / "report.json") for arm in arms}
    candidate = read_candidate(data / "candidates" / choose_arm(reports)).release_id
    items = item_ids(tree, feature)
    ledger.append_once("look", holdout_digest(data / "holdout"), candidate=candidate, feature=feature, items=items)
    looks = max(1, count_looks(items, feature, ledger))
    ledger.append_once("look_by", candidate, run=run_id, looks=looks)
    write_json(data / "looks.json", {"advisory": False, "looks": looks})
    return looks


def refuse_retired(tree: Path, feature: str, ledger: Ledger, store: Store) -> None:
    """Refuse a holdout that is used up, before anything is trained for it.

    Raises:
        HoldoutRetired: with what used it up.
    """
    why = why_retired(item_ids(tree, feature), feature, ledger, store)
    if why is not None:
        raise HoldoutRetired(
            f"{why}; make the next one of fresh traffic with `ratchet holdout refresh {feature}`, "
            f"or bring new items, labelled blind: `ratchet holdout add {feature} FILE`"
        )


def why_retired(items: Sequence[str], feature: str, ledger: Ledger, store: Store) -> str | None:
    """What used these items up as a holdout; None where nothing did.

    An accept that nobody saw, because its run was killed right after it, uses nothing up.
    """
    met = _candidates_by_item(ledger, feature)
    accepted = {
        entry.subject
        for entry in ledger.entries(event="publish")
        if entry.facts.get("verdict") == "accept" and not _has_died(store, str(entry.facts["run"]))
    }
    if known := sum(bool(met[item] & accepted) for item in items):
        told = f"{known} of the {len(items)} items of {feature}'s holdout were in use when a candidate was accepted"
        return f"{told}, so their scores are known and prove nothing any more"
    replaced = {
        str(item)
        for entry in ledger.entries(event=RETIRED)
        if entry.facts["feature"] == feature
        for item in entry.facts["items"]
    }
    if known := len(replaced.intersection(items)):
        told = f"{known} of the {len(items)} items of {feature}'s holdout are of one that another took the place of"
        return f"{told}, and may have been trained on since"
    looks = count_looks(items, feature, ledger)
    if looks >= MOST_LOOKS:
        return f"{looks} candidates have met {feature}'s holdout and its error is spent"
    return None


def count_looks(items: Sequence[str], feature: str, ledger: Ledger) -> int:
    """How many candidates have met that one of the items that has met most."""
    met = _candidates_by_item(ledger, feature)
    return max((len(met[item]) for item in items), default=0)


def item_ids(tree: Path, feature: str) -> list[str]:
    """The ids of the holdout's items: digests of what is asked, whatever is expected."""
    path = tree / "data" / feature / "holdout" / "holdout.jsonl"
    return sorted(item.item_id for item in read_holdout(path, load_feature(tree, feature)))


def _has_died(store: Store, run_id: str) -> bool:
    found = store.document(KIND, run_id)
    return found is not None and found.body["state"] == "failed"


def _candidates_by_item(ledger: Ledger, feature: str) -> dict[str, set[str]]:
    met: dict[str, set[str]] = defaultdict(set)
    for entry in ledger.entries(event="look"):
        if entry.facts["feature"] == feature:
            for item in entry.facts["items"]:
                met[str(item)].add(str(entry.facts["candidate"]))
    return met
