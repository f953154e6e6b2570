"""A judge as the feature's quality: it decides by people's labels alone, against the champion and the anchor."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ratchet.features import Decoding
from ratchet.judge import draw, read_answers, write_labels
from ratchet.ledger import Ledger
from ratchet.release import write_manifest
from ratchet.store import Store
from tasks.gate import gate
from tasks.plan_look import plan_look
from tests.fake_model_server import FakeModelServer
from tests.routing_clone import RoutingClone
from tests.tasks.test_trial import JUDGE, clone_with, grade, run

AGREE, DISAGREE = {"loans": 1.0, "cards": 0.0}, {"loans": 0.0, "cards": 1.0}
POLICY = {"anchor_margin": 0.1, "min_items": 20}


@pytest.fixture
def judge() -> Iterator[FakeModelServer]:
    with FakeModelServer(grade, models=("judge",)) as server:
        yield server


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RoutingClone:
    monkeypatch.chdir(tmp_path)
    return clone_with(tmp_path, n=40, scorer=JUDGE, gate=POLICY)


def label(clone: RoutingClone, n: int, human: dict[str, float], metric: str = "polite") -> None:
    """People label the answers to n items, by the label that the answer gives."""
    rows = draw(read_answers(clone.root / f"data/routing/evaluation/judged_{metric}.jsonl"), n, seed=1)
    path = clone.root / f"data/demo/routing/holdout/judge_{metric}.jsonl"
    path.unlink(missing_ok=True)
    write_labels(path, [row | {"human": human[json.loads(row["output"])["route"]]} for row in rows])


def decide_on(clone: RoutingClone, judge: FakeModelServer) -> dict[str, Any]:
    run(clone, judge.url)
    return gate(clone.params())


def test_without_enough_labels_nothing_is_decided_and_told_how_many_are_missing(
    clone: RoutingClone, judge: FakeModelServer
) -> None:
    found = decide_on(clone, judge)
    assert found["verdict"] == "inconclusive" and found["reasons"][0].endswith("scored both answers: 30 are missing.")
    label(clone, 20, AGREE)
    found = decide_on(clone, judge)
    assert found["verdict"] == "inconclusive" and "from 20 labelled items" in found["reasons"][0]
    assert found["reasons"][0].endswith(": 10 are missing.") and "score" not in found["champion"]


def test_people_who_agree_let_the_judge_accept_and_its_plain_average_is_told_nowhere(
    clone: RoutingClone, judge: FakeModelServer
) -> None:
    decide_on(clone, judge)
    label(clone, 40, AGREE)
    found = decide_on(clone, judge)
    assert found["verdict"] == "accept" and found["difference"]["estimate"] == pytest.approx(0.5, abs=0.15)
    assert found["difference"]["low"] > 0 and 0 <= found["corrected_difference"]["estimate"] <= 0.65
    gap = found["paired_means"]["candidate"] - found["paired_means"]["champion"]
    assert gap == pytest.approx(found["difference"]["estimate"], abs=0.1)
    assert found["candidate"]["score"] is None


def test_people_who_say_the_opposite_keep_out_what_the_judge_finds_better(
    clone: RoutingClone, judge: FakeModelServer
) -> None:
    decide_on(clone, judge)
    label(clone, 40, DISAGREE)
    assert decide_on(clone, judge)["verdict"] == "reject"


def test_an_older_anchor_needs_labels_of_its_own_answers(clone: RoutingClone, judge: FakeModelServer) -> None:
    older = clone.champion.model_copy(update={"decoding": Decoding(max_tokens=9)})
    write_manifest(clone.root / "data/demo/routing/anchor.json", older)
    decide_on(clone, judge)
    label(clone, 40, AGREE)
    found = decide_on(clone, judge)
    assert found["verdict"] == "inconclusive" and found["reasons"][0].startswith("Against the anchor: The judge is not")
    label(clone, 40, AGREE, "polite_anchor")
    found = decide_on(clone, judge)
    assert found["verdict"] == "accept" and found["anchor_difference"]["low"] > -0.1


def test_cost_as_the_objective_guards_what_a_judge_scores(clone: RoutingClone, judge: FakeModelServer) -> None:
    fields = json.loads((clone.root / "features/routing/feature.yaml").read_text())
    clone.write("features/routing/feature.yaml", json.dumps(fields | {"gate": POLICY | {"objective": "cost"}}))
    found = decide_on(clone, judge)
    assert "quality against the anchor: The judge is not heard" in found["reasons"][0]
    assert "quality against the champion: The judge is not heard" in found["reasons"][1]


def test_the_plan_says_how_many_labels_it_takes(clone: RoutingClone, store: Store) -> None:
    told = plan_look(clone.root, clone.feature, Ledger(store.engine))
    assert len(told) == 1 and "fewer than 30 items of which people labelled both answers decide nothing" in told[0]
