import json
from pathlib import Path

import pytest

from ratchet.errors import BadInput
from ratchet.features import Feature
from ratchet.review import find_queue, read_items, to_target
from ratchet.runs import Run, open_run
from ratchet.settings import Settings
from ratchet.store import Store
from tests.review_queue import write_rows
from tests.routing_clone import feature_fields, target

FEATURE = Feature.model_validate(feature_fields())
TEXT = Feature.model_validate(feature_fields(output_schema=None, scorer="token_f1"))
ROW = {"item_id": "a", "interaction_id": "i1", "messages": [{"role": "user", "content": "hi"}], "output": "x"}
BLIND = {"item_id": "a", "messages": [{"role": "user", "content": "hi"}]}


def read(tmp_path: Path, *rows: object, is_blind: bool = False):
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (tmp_path / "q.jsonl").write_text("".join(line + "\n" for line in lines))
    return read_items(tmp_path / "q.jsonl", is_blind=is_blind)


def test_items_keep_the_order_of_the_file_and_unknown_fields_do_no_harm(tmp_path: Path) -> None:
    other = ROW | {"item_id": "b", "interaction_id": "i2", "new": 1}
    assert [item.item_id for item in read(tmp_path, other, ROW).items] == ["b", "a"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{", "malformed JSON: unexpected end of data"),
        ({k: v for k, v in ROW.items() if k != "interaction_id"}, "malformed: interaction_id"),
        (ROW | {"messages": []}, "malformed: messages"),
        (ROW | {"messages": "["}, "malformed: messages"),
        (ROW | {"suggestions": [{"weight": 1}]}, "malformed: suggestions"),
        (ROW | {"uncertainty": 7}, "malformed: uncertainty"),
        (ROW | {"output": "\ud800"}, "holds text that is not Unicode (a lone surrogate)"),
    ],
)
def test_line_that_is_no_item_is_left_out_with_its_place_and_never_its_text(tmp_path, row, reason) -> None:
    found = read(tmp_path, ROW, row)
    assert [item.item_id for item in found.items] == ["a"]
    assert [(r.where, r.reason) for r in found.rejected] == [("q.jsonl:2", reason)]


def test_item_that_stands_twice_is_asked_once_and_counted(tmp_path: Path) -> None:
    found = read(tmp_path, ROW, ROW | {"item_id": "b"}, ROW | {"interaction_id": "i2"})
    assert (len(found.items), found.repeated) == (1, 2)


def test_blind_items_hold_nothing_but_what_was_asked(tmp_path: Path) -> None:
    told = {"interaction_id": "i1", "output": "x", "suggestions": [{"target": "x"}], "reason": "r", "uncertainty": 1}
    item = read(tmp_path, BLIND | told, is_blind=True).items[0]
    assert (item.interaction_id, item.output, item.suggestions, item.reason, item.uncertainty) == (
        "",
        None,
        (),
        "",
        None,
    )


def test_blind_items_that_ask_the_same_are_one(tmp_path: Path) -> None:
    found = read(
        tmp_path, BLIND, BLIND | {"item_id": "b"}, BLIND | {"item_id": "c", "variables": {"n": 1}}, is_blind=True
    )
    assert ([item.item_id for item in found.items], found.repeated) == (["a", "c"], 1)


def test_messages_may_be_the_json_that_stages_keep_in_tables(tmp_path: Path) -> None:
    row = ROW | {"messages": json.dumps(ROW["messages"]), "contexts": "[]", "variables": "{}"}
    assert read(tmp_path, row).items == read(tmp_path, ROW).items


def test_queue_is_the_newest_runs_then_the_clones(routing: Settings, store: Store) -> None:
    with pytest.raises(BadInput, match=r"no review queue yet; `ratchet run routing`"):
        find_queue(routing, store, "routing", is_blind=False)
    of_clone = write_rows(routing.repo / "data/routing/review.jsonl", [ROW])
    assert find_queue(routing, store, "routing", is_blind=False) == of_clone
    for day in ("01", "02", "03"):
        open_run(store, Run(run_id=f"r{day}", feature="routing", started_at=f"2026-01-{day}"))
    for run in ("r01", "r02"):  # r03 has not come so far
        write_rows(routing.home / "reports" / run / "review.jsonl", [ROW])
    assert find_queue(routing, store, "routing", is_blind=False) == routing.home / "reports/r02/review.jsonl"
    with pytest.raises(BadInput, match="no blind sample yet"):
        find_queue(routing, store, "routing", is_blind=True)


def test_decision_is_written_as_it_would_be_served(tmp_path: Path) -> None:
    item = read(tmp_path, ROW | {"output": "one\r\ntwo "}).items[0]
    assert to_target(FEATURE, "cards") == to_target(FEATURE, target("cards")) == target("cards")
    assert to_target(TEXT, " free text ") == "free text"
    assert to_target(TEXT, "one\ntwo", item) == "one\r\ntwo "  # a browser changes line ends, and that is no correction


@pytest.mark.parametrize("value", ["", "  ", "boats", "a\0b", "\ud800", "x" * 100_001, {"route": "boats"}])
def test_decision_that_could_not_be_served_is_refused(value: object) -> None:
    with pytest.raises(BadInput):
        to_target(FEATURE, value)
