"""tasks.decontaminate: what releases are judged on is not trained on, in the same words or nearly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ratchet.params import CurateParams, load_params
from ratchet.questions import normalise
from ratchet.settings import Settings
from tasks.decontaminate import Held, cluster, count_held_elsewhere, read_held
from tests.routing_clone import PARAMS

CACHE = Settings.from_env().cache
LONG = "the machine at the station swallowed my card this morning and i want it back"


def params(**changes: Any) -> CurateParams:
    return load_params(PARAMS).curate.model_copy(update=changes)


def barred(held: str, *texts: str, **changes: Any) -> list[str | None]:
    return cluster(
        [normalise(t) for t in texts], Held([normalise(held)], ["in holdout"]), params(**changes), CACHE
    ).barred


def test_copies_and_near_copies_of_a_held_question_are_barred() -> None:
    assert barred(LONG, LONG.upper(), f"please, {LONG}", "what does a loan cost") == ["in holdout", "in holdout", None]


def test_the_same_words_in_another_order_are_barred_by_their_embedding() -> None:
    turned = "how do i link my new card"
    assert barred("how do i link my card", turned) == ["in holdout"]
    assert barred("how do i link my card", turned, embedding_cosine=1.0) == [None]


@pytest.mark.parametrize("text", ["how do i activate my phone", "how long does a transfer take", ""])
def test_another_question_is_not_barred(text: str) -> None:
    assert barred("activate my card", text) == [None]


def test_a_cluster_goes_as_a_whole() -> None:
    chain = [LONG, f"{LONG} now ok", f"{LONG} now ok please do"]
    found = cluster(chain[1:], Held(chain[:1], ["in holdout"]), params(embedding_cosine=1.0), CACHE)
    assert found.barred == ["in holdout", "in holdout"] and len(set(found.clusters)) == 1


def test_clusters_are_numbered_by_their_first_text() -> None:
    found = cluster(["a loan", LONG, "a loan", f"{LONG} ok"], Held([], []), params(), CACHE)
    assert found.barred == [None] * 4
    assert found.clusters[0] == found.clusters[2] != found.clusters[1] == found.clusters[3]


def test_holdout_showcase_and_safety_suites_are_held(tmp_path: Path) -> None:
    (tmp_path / "holdout.jsonl").write_text('{"text": "One?", "expected": "SECRET"}\n')
    (tmp_path / "showcase.jsonl").write_text('{"text": "two", "expected": "SECRET"}\n')
    for name in ("routing", "other"):
        (tmp_path / "safety" / name).mkdir(parents=True)
        (tmp_path / "safety" / name / "own.jsonl").write_text(f'{{"text": "Harm by {name}"}}\n')
    (tmp_path / "safety" / "suite.jsonl").write_text('{"text": "How to do harm"}\n')
    found = read_held(tmp_path, tmp_path / "safety", "routing")
    assert found.texts == ["one", "two", "how to do harm", "harm by routing"]
    assert found.reasons == ["in holdout"] * 2 + ["in a safety suite"] * 2


def test_held_questions_in_demonstrations_and_index_are_counted(tmp_path: Path) -> None:
    held = Held(["where is my card", "a loan", "harm"], ["in holdout", "in holdout", "in a safety suite"])
    champion = tmp_path / "champion.json"
    champion.write_text(json.dumps({"prompt": {"demonstrations": [{"input": "Where is my card?", "output": "x"}]}}))
    passages = ["Customers ask: a loan! And harm.", "a loan again", "loaned cards"]
    assert count_held_elsewhere(held, champion, passages) == {"demonstrations": 1, "index": 1}
    assert count_held_elsewhere(held, tmp_path / "none.json", []) == {"demonstrations": 0, "index": 0}
