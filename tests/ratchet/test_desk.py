from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ratchet.desk import Desk
from ratchet.errors import BadInput
from ratchet.features import load_feature
from ratchet.records import Interaction
from ratchet.settings import Settings
from ratchet.store import Store
from tests.review_queue import open_desk, write_rows

NOW = datetime(2026, 1, 5, tzinfo=UTC)
ASKED = {"messages": [{"role": "user", "content": "hi"}]}


def queue(path: Path, ids: str) -> Path:
    rows = [{"item_id": i, "interaction_id": f"int_{i}", "messages": [{"role": "user", "content": i}]} for i in ids]
    return write_rows(path, rows)


@pytest.fixture
def open_queue(routing: Settings, store: Store, tmp_path: Path):
    """Open a queue of items a, b, c, d, as after a restart; the store knows no interaction of d."""
    known = [
        Interaction(interaction_id=f"int_{i}", feature=name, at=NOW, input=ASKED, output={"content": "x"})
        for i, name in (("a", "routing"), ("b", "routing"), ("c", "routing"), ("d", "another"))
    ]
    store.add_interactions(known)
    feature, path = load_feature(routing.repo, "routing"), queue(tmp_path / "q.jsonl", "abcd")
    return lambda: open_desk(store, feature, path)


def act(desk: Desk, item_id: str, value: str | None = "cards", who: str = "ana", age_s: int = 0) -> str | None:
    """Decide or skip an item; the id of what is shown next."""
    item = desk.item(item_id)
    assert item is not None
    was_skipped = desk.is_skipped(item, who)
    if value is None:
        desk.skip(item, who)
    else:
        desk.decide(item, who, value, NOW + timedelta(seconds=age_s))
    shown = desk.next_after(item, who, was_skipped=was_skipped)
    return shown.item_id if shown else None


def test_items_come_in_order_and_skipped_ones_last(open_queue) -> None:
    desk = open_queue()
    assert [act(desk, "a", None), act(desk, "b"), act(desk, "c")] == ["b", "c", None]
    assert desk.first("ana") is None and desk.first_skipped("ana").item_id == "a"
    assert desk.progress("ana") == (2, 1, 0, 1)


def test_skipped_items_are_gone_through_once_and_may_be_decided(open_queue) -> None:
    desk = open_queue()
    for item_id in "abc":
        act(desk, item_id, None)
    assert [act(desk, "a", None), act(desk, "b"), act(desk, "c", None)] == ["b", "c", None]
    assert desk.progress("ana") == (1, 2, 0, 1)


def test_from_the_middle_the_way_leads_round_to_what_was_passed_over(open_queue) -> None:
    desk = open_queue()
    assert [act(desk, "c"), act(desk, "a")] == ["a", "b"]


def test_restart_finds_everything_where_it_was(open_queue) -> None:
    desk = open_queue()
    act(desk, "a"), act(desk, "b", None)
    again = open_queue()
    assert again.progress("ana") == desk.progress("ana") == (1, 1, 1, 1)
    assert again.first("ana").item_id == "c" and again.undo("ana").item_id == "a"


def test_what_one_reviewer_decided_is_done_for_all_and_skips_are_each_ones_own(open_queue) -> None:
    desk, other = open_queue(), open_queue()
    act(desk, "a"), act(desk, "b", None)
    assert other.first("ben").item_id == "b" and other.progress("ben") == (1, 0, 2, 1)


@pytest.mark.parametrize("value", ["cards", None])
def test_what_is_decided_elsewhere_meanwhile_is_not_asked_again(open_queue, value: str | None) -> None:
    desk, other = open_queue(), open_queue()
    act(other, "b", who="ben")
    assert act(desk, "a", value) == "c"


def test_item_of_an_unknown_interaction_is_closed_and_never_shown_by_itself(open_queue) -> None:
    desk = open_queue()
    assert desk.is_closed(desk.item("d"))
    with pytest.raises(BadInput, match="does not know"):
        desk.decide(desk.item("d"), "ana", "cards", NOW)
    assert [act(desk, i) for i in "abc"] == ["b", "c", None]


def test_undo_shows_the_last_acts_again_one_by_one(open_queue) -> None:
    desk = open_queue()
    act(desk, "a"), act(desk, "b", None), act(desk, "c", age_s=1)
    assert [desk.undo("ana").item_id for _ in range(3)] == ["c", "b", "a"] and desk.undo("ana") is None
    assert desk.progress("ana").done == 2  # what was decided stands


def test_neighbours_end_at_the_ends(open_queue) -> None:
    desk = open_queue()
    steps = [desk.neighbour(desk.item(i), s) for i, s in (("a", -1), ("a", 1), ("d", 1))]
    assert [n.item_id if n else None for n in steps] == [None, "b", None]


def test_pressing_twice_decides_once(open_queue) -> None:
    desk = open_queue()
    act(desk, "a"), act(desk, "a")
    assert desk.decided["ana"] == 1
