"""tasks.tune.fewshot: which demonstrations are drawn, and which set wins."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ratchet.params import FewshotParams
from ratchet.release import read_candidate
from tasks.tune.__main__ import tune
from tasks.tune.fewshot import propose_demonstrations
from tasks.tune.job import Example, load_job, read_examples
from tests.fake_model_server import FakeModelServer
from tests.routing_clone import (
    RoutingClone,
    example_row,
    example_rows,
    feature_fields,
    right_if_shown,
    right_label,
    target,
)

SEARCH = FewshotParams(candidates=4, demonstrations=6, validation_items=60, seed=17)


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RoutingClone:
    monkeypatch.chdir(tmp_path)
    return RoutingClone(tmp_path)


def examples(clone: RoutingClone, rows: list[dict[str, Any]]) -> list[Example]:
    clone.write_split("train", rows)
    return read_examples(clone.root / "data/routing/curated/train.parquet")


def run(clone: RoutingClone, reply: Any) -> dict[str, Any]:
    with FakeModelServer(reply) as server:
        return tune(load_job(clone.params(), clone.settings(server.url), "fewshot"), "fewshot")


def test_the_first_set_goes_round_the_labels(clone: RoutingClone) -> None:
    rows = [example_row(i, "cards") for i in range(30)] + [example_row(30 + i, "loans") for i in range(3)]
    first = propose_demonstrations(examples(clone, rows), SEARCH)[0]
    assert Counter(shown.output for shown in first) == {target("cards"): 3, target("loans"): 3}


def test_sets_are_distinct_and_repeat_with_the_seed(clone: RoutingClone) -> None:
    train = examples(clone, example_rows(0, 40))
    proposed = propose_demonstrations(train, SEARCH)
    assert len(set(proposed)) == 4 and proposed == propose_demonstrations(train[::-1], SEARCH)
    assert proposed != propose_demonstrations(train, SEARCH.model_copy(update={"seed": 18}))


def test_fewer_examples_than_asked_give_what_there_is(clone: RoutingClone) -> None:
    proposed = propose_demonstrations(examples(clone, [example_row(1, "cards")]), SEARCH)
    assert [len(shown) for shown in proposed] == [1]
    assert propose_demonstrations([], SEARCH) == []


def test_heavier_examples_are_drawn_more_often(clone: RoutingClone) -> None:
    rows = [example_row(i, "cards", weight=20.0 if i < 10 else 0.2) for i in range(100)]
    search = SEARCH.model_copy(update={"candidates": 8})
    shown = [d.input for drawn in propose_demonstrations(examples(clone, rows), search)[1:] for d in drawn]
    heavy = sum(int(text.split()[3]) < 10 for text in shown)
    assert heavy > len(shown) / 2


def test_conversations_and_weightless_examples_are_not_shown(clone: RoutingClone) -> None:
    turns = [{"role": role, "content": "x"} for role in ("user", "assistant", "user")]
    rows = [example_row(1, "cards", messages=json.dumps(turns)), example_row(2, "loans", weight=0.0)]
    assert propose_demonstrations(examples(clone, rows), SEARCH) == []


def test_demonstrations_that_help_become_the_candidate(clone: RoutingClone) -> None:
    report = run(clone, right_if_shown)
    candidate = read_candidate(clone.root / "data/routing/candidates/fewshot")
    assert (report["validation"]["score"], report["champion_validation"]["score"]) == (1.0, 0.5)
    assert len(candidate.prompt.demonstrations) == report["demonstrations"] == 6
    assert candidate.prompt.text == clone.champion.prompt.text and not report["candidate_equals_champion"]


def test_demonstrations_that_bring_nothing_leave_the_champion(clone: RoutingClone) -> None:
    report = run(clone, right_label)
    assert report["candidate_equals_champion"] and report["demonstrations"] == 0
    assert read_candidate(clone.root / "data/routing/candidates/fewshot") == clone.champion


def test_a_candidate_has_the_schema_and_decoding_of_today(clone: RoutingClone) -> None:
    changed = feature_fields(decoding={"temperature": 0, "max_tokens": 9})
    clone.write("features/routing/feature.yaml", json.dumps(changed))
    run(clone, right_if_shown)
    candidate = read_candidate(clone.root / "data/routing/candidates/fewshot")
    assert (clone.champion.decoding.max_tokens, candidate.decoding.max_tokens) == (64, 9)


def test_the_winner_is_reported_on_all_validation_items(clone: RoutingClone) -> None:
    clone.write_params(fewshot={"validation_items": 4})
    report = run(clone, right_if_shown)
    assert report["validation"]["n"] == report["champion_validation"]["n"] == 10


def test_the_report_and_the_candidate_repeat_byte_by_byte(clone: RoutingClone) -> None:
    folder = clone.root / "data/routing/candidates/fewshot"
    seen = []
    for _ in range(2):
        run(clone, right_if_shown)
        seen.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert seen[0] == seen[1] and set(seen[0]) == {"candidate.json", "report.json", "validation.jsonl"}


def test_no_usable_examples_leave_the_champion_and_say_so(clone: RoutingClone) -> None:
    clone.write_split("train", [])
    report = run(clone, right_label)
    assert report == {"arm": "fewshot", "skipped": "no usable examples", "candidate_equals_champion": True}
    assert read_candidate(clone.root / "data/routing/candidates/fewshot") == clone.champion


def test_no_validation_examples_leave_the_champion(clone: RoutingClone) -> None:
    clone.write_split("validation", [])
    assert run(clone, right_label)["skipped"] == "no validation examples"


def test_a_passthrough_feature_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "passthrough" in run(RoutingClone(tmp_path, mode="passthrough"), right_label)["skipped"]
