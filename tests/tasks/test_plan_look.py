"""tasks.plan_look: what the next look can show, and the margins that it cannot."""

from __future__ import annotations

import json
from pathlib import Path

from ratchet.ledger import Ledger
from ratchet.records import read_holdout
from ratchet.store import Store
from tasks.plan_look import plan_look
from tests.routing_clone import TEXTS, RoutingClone


def test_each_look_and_each_session_counts(tmp_path: Path, store: Store) -> None:
    clone, ledger = RoutingClone(tmp_path), Ledger(store.engine)
    items = [{"text": TEXTS["cards"].format(i), "expected": "cards", "session": f"s{i // 2}"} for i in range(200)]
    path = clone.write("data/demo/routing/holdout/holdout.jsonl", "".join(json.dumps(i) + "\n" for i in items))
    first = plan_look(tmp_path, clone.feature, ledger)
    ids = [item.item_id for item in read_holdout(path, clone.feature)]
    ledger.append_once("look", "digest", candidate="rel_1", feature="routing", items=ids)
    second = plan_look(tmp_path, clone.feature, ledger)
    assert first[0].startswith("look 1 at 100 sessions may err with 0.025: a true gain of 12.8 points is found")
    assert second[0].startswith("look 2 at 100 sessions may err with 0.013")


def test_margins_that_cannot_be_met_are_named(tmp_path: Path, store: Store) -> None:
    gate = {"anchor_margin": 0.2, "margins": {"pii_leak": 0.01, "tokens": 0.01}}
    clone = RoutingClone(tmp_path, metrics=["pii_leak"], gate=gate)
    clone.write_holdout("holdout", 100)
    _, *hopeless = plan_look(tmp_path, clone.feature, Ledger(store.engine))
    assert hopeless == [
        "gate.margins.pii_leak 0.01: a holdout of 545 or more rules out such a loss, though not one 0/1 score were lost"
    ]


def test_without_a_holdout_nothing_is_said(tmp_path: Path, store: Store) -> None:
    clone = RoutingClone(tmp_path)
    (tmp_path / "data/demo/routing/holdout/holdout.jsonl").unlink()
    assert plan_look(tmp_path, clone.feature, Ledger(store.engine)) == []
