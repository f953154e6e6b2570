"""tasks.next_holdout: what is drawn is fresh and random, what is labelled becomes the holdout, the old one retires."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from ratchet.blind import LabelBook
from ratchet.errors import HoldoutRetired, NothingNew
from ratchet.features import Feature, load_feature
from ratchet.ledger import Ledger
from ratchet.records import read_holdout
from ratchet.review import find_queue, next_draw, read_items
from ratchet.settings import Settings
from ratchet.store import Store
from tasks.add_holdout import add_holdout
from tasks.look import RETIRED, item_ids, refuse_retired
from tasks.next_holdout import Refreshed, holdout_status, refresh_holdout
from tasks.raw_parts import sortable

CUT = datetime(2026, 3, 4, tzinfo=UTC)
LATER = CUT + timedelta(days=7)
MIN_ITEMS = 10


@pytest.fixture
def feature(routing: Settings) -> Feature:
    """A feature whose gate needs few items, with a holdout of the texts 0 to 11."""
    path = routing.repo / "features" / "routing" / "feature.yaml"
    policy = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(policy | {"gate": {"anchor_margin": 0.02, "min_items": MIN_ITEMS}}))
    return load_feature(routing.repo, "routing")


@pytest.fixture
def ledger(routing: Settings, store: Store, feature: Feature, tmp_path: Path) -> Ledger:
    """The ledger after the first holdout was added."""
    ledger = Ledger(store.engine)
    rows = [{"text": f"old {n}", "expected": "cards"} for n in range(12)]
    path = tmp_path / "first.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    add_holdout(routing, ledger, feature, path, showcase=None, share=0, now=CUT)
    return ledger


def write_sample(settings: Settings, n_fresh: int, n_old: int = 5) -> None:
    """The blind sample that `dvc repro` wrote in the clone: fresh traffic first."""
    ats = [CUT + timedelta(hours=1)] * n_fresh + [CUT - timedelta(hours=1)] * n_old
    rows = [
        {"item_id": f"i{n}", "at": sortable(at), "messages": [{"role": "user", "content": f"text {n}"}]}
        for n, at in enumerate(ats)
    ]
    path = settings.repo / "data" / "routing" / "blind.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def label(settings: Settings, store: Store, feature: Feature, places: range) -> None:
    """A person labels some of the items drawn."""
    book = LabelBook(store, feature)
    items = read_items(next_draw(settings, "routing"), is_blind=True).items
    for place in places:
        book.decide(items[place], "ana", feature.wrap_target("loans"), LATER)


def refresh(settings: Settings, store: Store, ledger: Ledger, feature: Feature) -> Refreshed:
    """`ratchet holdout refresh routing`."""
    return refresh_holdout(settings, store, ledger, feature, share=0.15, now=LATER)


def test_only_traffic_since_the_holdout_was_labelled_is_drawn_and_queued_for_review(
    routing: Settings, store: Store, ledger: Ledger, feature: Feature
) -> None:
    write_sample(routing, 14)
    found = refresh(routing, store, ledger, feature)
    assert found.next._asdict() == {"drawn": 14, "labelled": 0, "disputed": 0, "needed": 12, "is_enough": False}
    assert found.added is None and find_queue(routing, store, "routing", is_blind=True) == found.queue


def test_too_little_fresh_traffic_draws_nothing(
    routing: Settings, store: Store, ledger: Ledger, feature: Feature
) -> None:
    write_sample(routing, 11)
    with pytest.raises(NothingNew, match=r"11 questions in .* 12 are needed"):
        refresh(routing, store, ledger, feature)
    assert not next_draw(routing, "routing").exists()


def test_a_draw_stands_until_it_is_the_holdout_whatever_runs_draw(
    routing: Settings, store: Store, ledger: Ledger, feature: Feature
) -> None:
    write_sample(routing, 14)
    refresh(routing, store, ledger, feature)
    write_sample(routing, 30)
    label(routing, store, feature, range(6))
    assert refresh(routing, store, ledger, feature).next[:2] == (14, 6)


def test_items_that_somebody_chose_to_label_are_no_random_sample(
    routing: Settings, store: Store, ledger: Ledger, feature: Feature
) -> None:
    write_sample(routing, 40)
    refresh(routing, store, ledger, feature)
    label(routing, store, feature, range(20, 40))
    found = refresh(routing, store, ledger, feature)
    assert found.next.labelled == 20 and not found.next.is_enough and found.added is None


def test_enough_labels_make_the_next_holdout_and_retire_the_old(
    routing: Settings, store: Store, ledger: Ledger, feature: Feature
) -> None:
    old = item_ids(routing.repo, "routing")
    write_sample(routing, 14)
    refresh(routing, store, ledger, feature)
    label(routing, store, feature, range(13))
    found = refresh(routing, store, ledger, feature)
    assert found.added is not None and found.added[:2] == (11, 2) and not found.queue.exists()
    new = item_ids(routing.repo, "routing")
    assert len(new) >= MIN_ITEMS and not set(new) & set(old)
    assert [entry.facts["items"] for entry in ledger.entries(event=RETIRED)] == [old]
    refuse_retired(routing.repo, "routing", ledger, store)


def test_a_retired_holdout_that_comes_back_is_refused(
    routing: Settings, store: Store, ledger: Ledger, feature: Feature, tmp_path: Path
) -> None:
    write_sample(routing, 14)
    refresh(routing, store, ledger, feature)
    label(routing, store, feature, range(14))
    refresh(routing, store, ledger, feature)
    add_holdout(routing, ledger, feature, tmp_path / "first.jsonl", showcase=None, share=0, now=LATER)
    with pytest.raises(HoldoutRetired, match=r"12 of the 12 items .* another took the place of"):
        refuse_retired(routing.repo, "routing", ledger, store)


@pytest.mark.parametrize("is_added", [False, True], ids=["before it was written", "before the draw was removed"])
def test_what_a_kill_left_half_done_the_next_refresh_makes_good(
    routing: Settings, store: Store, ledger: Ledger, feature: Feature, is_added: bool
) -> None:
    write_sample(routing, 14)
    queue = refresh(routing, store, ledger, feature).queue
    label(routing, store, feature, range(14))
    folder = routing.repo / "data" / "routing" / "holdout"
    drawn, before = queue.read_text(), (folder / "holdout.jsonl").read_text()
    whole = refresh(routing, store, ledger, feature).added
    queue.write_text(drawn)
    if not is_added:  # the ledger has said that the old one is retired, the folder still holds it
        (folder / "holdout.jsonl").write_text(before)
    assert refresh(routing, store, ledger, feature).added == whole
    assert not queue.exists() and len(ledger.entries(event=RETIRED)) == 1
    assert len(read_holdout(folder / "holdout.jsonl", feature)) == 12


def test_what_is_needed_counts_with_the_showcase_share_of_the_present_holdout(
    routing: Settings, store: Store, ledger: Ledger, feature: Feature
) -> None:
    write_sample(routing, 30)
    taken_up = refresh_holdout(routing, store, ledger, feature, share=None, now=LATER)
    assert holdout_status(routing, store, ledger, feature)["next"]["needed"] == taken_up.next.needed == MIN_ITEMS
    showcase = routing.repo / "data/routing/holdout/showcase.jsonl"
    showcase.write_text("".join(json.dumps({"text": f"shown {n}", "expected": "cards"}) + "\n" for n in range(4)))
    assert holdout_status(routing, store, ledger, feature)["next"]["needed"] == 14  # a quarter of them is shown


def test_status_tells_looks_and_the_error_that_is_left(
    routing: Settings, store: Store, ledger: Ledger, feature: Feature
) -> None:
    def status() -> dict[str, Any]:
        return holdout_status(routing, store, ledger, feature)

    assert (status()["looks"], status()["alpha_left"], status()["next"]) == (0, 0.05, None)
    for candidate in ("rel_a", "rel_b"):
        items = item_ids(routing.repo, "routing")
        ledger.append_once("look", "digest", candidate=candidate, feature="routing", items=items)
    assert (status()["looks"], status()["alpha_left"], status()["alpha_of_next_look"]) == (2, 0.0125, 0.00625)
    ledger.append("publish", "rel_b", verdict="accept", run="r1")
    assert status()["is_retired"] and status()["alpha_left"] == 0
    assert (status()["holdouts"], status()["wrong_accepts_expected_at_most"]) == (1, 0.05)
