"""tasks.contenders: adapters beside their manifests, and what an answer costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ratchet.answers import answer_log
from ratchet.errors import ReleaseCorrupt, ReleaseNotFound
from ratchet.guards import Guards
from ratchet.llm import Answer
from ratchet.records import read_holdout
from ratchet.release import ReleaseStore, adapter_ref, write_manifest
from tasks.contenders import (
    Contender,
    Served,
    ask,
    read_contender,
    score_answers,
    stored_contender,
    tokens_per_answer,
    write_contender,
)
from tests.fake_model_server import FakeModelServer
from tests.routing_clone import RoutingClone, target


@pytest.fixture
def clone(tmp_path: Path) -> RoutingClone:
    return RoutingClone(tmp_path)


@pytest.fixture
def adapted(clone: RoutingClone) -> Contender:
    """The clone's champion with an adapter."""
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        clone.write(f"made/{name}", name)
    folder = clone.root / "made"
    return Contender(clone.champion.model_copy(update={"adapter": adapter_ref(folder)}), folder)


def test_a_candidate_is_read_back_with_its_own_copy_of_the_adapter(clone: RoutingClone, adapted: Contender) -> None:
    write_contender(clone.root / "candidate", adapted)
    assert read_contender(clone.root / "candidate") == Contender(adapted.release, clone.root / "candidate/adapter")


def test_a_candidate_whose_adapter_was_changed_is_refused(clone: RoutingClone, adapted: Contender) -> None:
    write_contender(clone.root / "candidate", adapted)
    clone.write("candidate/adapter/adapter_config.json", "changed")
    with pytest.raises(ReleaseCorrupt):
        read_contender(clone.root / "candidate")


def test_a_champion_brings_its_adapter_from_the_release_store(clone: RoutingClone, adapted: Contender) -> None:
    write_contender(clone.root / "candidate", adapted)
    release_id = ReleaseStore(clone.settings().releases_dir).put(clone.root / "candidate")
    write_manifest(clone.root / "champion.json", adapted.release)
    found = stored_contender(clone.root / "champion.json", clone.settings())
    assert found.adapter == clone.settings().releases_dir / release_id / "adapter"


def test_a_champion_whose_adapter_is_not_stored_is_named(clone: RoutingClone, adapted: Contender) -> None:
    write_manifest(clone.root / "champion.json", adapted.release)
    with pytest.raises(ReleaseNotFound, match=adapted.release.release_id):
        stored_contender(clone.root / "champion.json", clone.settings())


def test_failed_answers_are_unscored_and_cost_nothing(clone: RoutingClone) -> None:
    answers = [Answer(target("cards"), 10, 4, 1.0, "stop"), Answer("", 0, 0, 1.0, None, "HTTP 400: too long")]
    (item, *_) = read_holdout(clone.root / "data/demo/routing/holdout/holdout.jsonl", clone.feature)
    assert score_answers(answers, [item] * 2, [target("cards")] * 2, clone.feature) == [1.0, None]
    assert tokens_per_answer(answers) == 14.0 and tokens_per_answer(answers[1:]) is None


def test_a_broken_answer_is_asked_again_as_the_gateway_would_and_both_tries_are_recorded(clone: RoutingClone) -> None:
    policy = clone.champion.policy.model_copy(update={"guards": Guards(repair_schema=True)})
    contender = Contender(clone.champion.model_copy(update={"policy": policy}), None)
    items = read_holdout(clone.root / "data/demo/routing/holdout/holdout.jsonl", clone.feature)[:3]

    def reply(body: dict[str, Any]) -> str:
        is_second = "Answer once more" in body["messages"][-1]["content"]
        return target("cards") if is_second else "cards, I think"

    with FakeModelServer(reply) as server:
        served = Served(server.url, None, 2, answer_log(clone.settings()))
        answers = [ask(contender, items, served) for _ in range(2)]
        assert len(server.bodies) == 6  # twice each, and the second round from the record
        once = ask(Contender(clone.champion, None), items, served)
    assert [answer.text for answer in answers[0]] == [target("cards")] * 3 == [answer.text for answer in answers[1]]
    assert (once[0].text, once[0].output_tokens) == ("cards, I think", 3)
    assert answers[0][0].output_tokens == 3 + 2  # of both tries
    log, second = (served.log.folder / "routing.jsonl").read_text(), [a.repair_request for a in answers[0]]
    assert all(f'"{request}"' in log for request in second) and len(set(second)) == 3
    assert second == [a.repair_request for a in answers[1]] and once[0].repair_request is None
