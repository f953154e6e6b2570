"""tasks.steer_rollout: what people may do to a rollout, and what the ledger keeps of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ratchet.channels import Freeze
from ratchet.errors import BadInput, ChannelFrozen, ReleaseUntrusted
from ratchet.features import Feature
from ratchet.prompts import Prompt
from ratchet.release import BaseModelRef, Release, ReleasePolicy, ReleaseStore
from ratchet.rollout_policy import ShadowPolicy
from ratchet.rollouts import SHADOW, Rollout
from ratchet.store import open_store
from ratchet.trust import Trust
from tasks.steer_rollout import abort, pause, promote, resume, start_again
from tests.tasks.test_rollout import NEW, OLD, POLICY, World

ANA = {"by": "ana", "reason": "because"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        yield World(tmp_path, store)


def test_a_paused_rollout_makes_no_step_until_it_is_resumed(world: World) -> None:
    rollout_id = world.start().rollout_id
    world.serve("sC" * 30)
    pause(*world.parts, "f", **ANA)
    assert world.tick(rollout_id).action == "hold" and "Paused by ana" in world.tick(rollout_id).reasons[0]
    resume(*world.parts, "f", **ANA)
    assert world.tick(rollout_id).action == "advance"
    assert world.events() == ["canary", "rollout paused", "rollout resumed", "canary"]


def test_a_paused_rollout_is_taken_back_all_the_same(world: World) -> None:
    rollout_id = world.start().rollout_id
    pause(*world.parts, "f", **ANA)
    world.serve("Sc" * 30)
    assert world.tick(rollout_id).action == "rollback"


def test_abort_gives_everybody_the_champion(world: World) -> None:
    rollout_id = world.start().rollout_id
    assert abort(*world.parts, "f", now=world.later(), **ANA) == OLD
    assert world.record(rollout_id).state == "rolled_back" and world.channels.read("f").canary is None


@pytest.mark.parametrize("act", [pause, resume, abort, promote])
def test_without_a_rollout_there_is_nothing_to_steer(world: World, act: Any) -> None:
    moment = {"now": world.later()} if act in (abort, promote) else {}
    with pytest.raises(BadInput, match="no rollout of f is running"):
        act(*world.parts, "f", **moment, **ANA)


def test_promotion_by_hand_is_on_record_before_it_takes_effect(world: World) -> None:
    rollout_id = world.start().rollout_id
    found = promote(*world.parts, "f", now=world.later(), **ANA)
    assert (found.state, world.channels.read("f").stable, world.record(rollout_id).state) == (
        "promoted",
        NEW,
        "promoted",
    )
    assert world.events() == ["canary", "promotion by hand", "promote"]
    override, move = world.ledger.entries()[1:]
    assert override.facts["by"] == move.facts["by"] == "ana" and override.facts["reason"] == "because"


def test_a_retry_keeps_the_proof_and_begins_its_alarms_anew(world: World) -> None:
    world.start()
    world.serve("SC" * 20 + "sc" * 5 + "SC" * 10)
    first = world.record(world.start().rollout_id)
    assert world.tick(first.rollout_id).action == "advance"
    abort(*world.parts, "f", now=world.later(), **ANA)
    again = world.start(approval="run-2")
    assert (again.proof_from, again.after_seq) == (first.started_at, first.after_seq)
    assert world.tick(again.rollout_id).evidence["users"] == {"stable": 35, "canary": 35}


def test_a_retry_after_an_alarm_is_not_taken_back_for_it(world: World) -> None:
    rollout_id = world.start().rollout_id
    world.serve("Sc" * 30)
    assert world.tick(rollout_id).action == "rollback"
    again = world.start(approval="run-2")
    report = world.tick(again.rollout_id)
    assert report.action == "hold" and report.evidence["proof"]["complaint"] < 0


def test_against_another_champion_nothing_was_proven(world: World) -> None:
    world.start()
    world.tick(world.start().rollout_id)
    abort(*world.parts, "f", now=world.later(), **ANA)
    world.start("rel_third", "run-3")
    promote(*world.parts, "f", now=world.later(), **ANA)
    assert world.start(approval="run-4").proof_from is None


def releases(folder: Path, name: str = "f") -> tuple[ReleaseStore, str, Feature]:
    feature = Feature(name="any", intent="x", owners=("o",), scorer="exact_match", rollout=POLICY)
    feature = feature.model_copy(update={"name": "f"})  # the name of the world's channel
    made = Release(
        feature=name,
        base_model=BaseModelRef(name="m", digest="d"),
        prompt=Prompt(text="Answer."),
        decoding=feature.decoding,
        policy=ReleasePolicy(scorer="exact_match"),
    )
    (folder / "candidate").mkdir()
    (folder / "candidate" / "candidate.json").write_text(made.model_dump_json(), encoding="utf-8")
    store = ReleaseStore(folder / "releases")
    return store, store.put(folder / "candidate"), feature


def again(world: World, store: ReleaseStore, release_id: str, feature: Feature, **more: Any) -> Rollout:
    facts = {"feature": feature, "release_id": release_id, "now": world.later(), **more}
    return start_again(world.store, world.channels, world.ledger, store, **facts, **ANA)  # type: ignore[arg-type]


def test_only_what_was_approved_or_live_is_started_by_hand(world: World, tmp_path: Path) -> None:
    store, release_id, feature = releases(tmp_path)
    with pytest.raises(BadInput, match="neither approved nor live"):
        again(world, store, release_id, feature)
    world.ledger.append("reject", release_id, approver="ben")
    with pytest.raises(BadInput, match="neither approved nor live"):
        again(world, store, release_id, feature)
    world.ledger.append("approve", release_id, approver="ben")
    assert again(world, store, release_id, feature).candidate_id == release_id
    with pytest.raises(BadInput, match="a rollout of f runs"):
        again(world, store, release_id, feature)


def test_a_release_of_another_feature_is_refused(world: World, tmp_path: Path) -> None:
    store, release_id, feature = releases(tmp_path, "g")
    with pytest.raises(BadInput, match="a release of g"):
        again(world, store, release_id, feature)


def test_a_written_prompt_is_started_by_an_approval_and_the_ledger_says_that_no_gate_was_asked(
    world: World, tmp_path: Path
) -> None:
    store, release_id, feature = releases(tmp_path)
    world.ledger.append("approve", release_id, approver="ben")
    again(world, store, release_id, feature)
    (entry,) = world.ledger.entries(event="rollout started by hand")
    assert (entry.facts["gate"], entry.facts["by"], entry.facts["reason"]) == ("not asked", "ana", "because")


def test_what_the_gate_did_not_accept_is_not_started_by_anybodys_word(world: World, tmp_path: Path) -> None:
    store, release_id, feature = releases(tmp_path)
    store.attest(release_id, {"gate": {"verdict": "inconclusive"}})
    world.ledger.append("approve", release_id, approver="ben")
    with pytest.raises(BadInput, match="the gate said inconclusive"):
        again(world, store, release_id, feature)


def test_what_lacks_a_signature_is_not_started_where_a_trust_file_asks_for_both(world: World, tmp_path: Path) -> None:
    store, release_id, feature = releases(tmp_path)
    world.ledger.append("approve", release_id, approver="ben")
    with pytest.raises(ReleaseUntrusted):
        again(world, store, release_id, feature, trust=Trust((), ()))


def test_a_tenants_rollout_does_not_get_round_a_frozen_feature(world: World, tmp_path: Path) -> None:
    store, release_id, feature = releases(tmp_path)
    world.ledger.append("approve", release_id, approver="ben")
    world.channels.freeze("f", Freeze(by="ana", reason="x", at="now"))
    with pytest.raises(ChannelFrozen, match="channel f is frozen"):
        again(world, store, release_id, feature, channel="f@acme")
    assert world.channels.names() == ["f"]


def test_a_word_for_a_mirrored_candidate_takes_it_to_the_canary_not_to_everybody(world: World) -> None:
    rollout_id = world.start(shadow=ShadowPolicy()).rollout_id
    assert world.record(rollout_id).step == SHADOW and world.channels.read("f").shadow is not None
    assert promote(*world.parts, "f", now=world.later(), **ANA).step == 0
    canary = world.channels.read("f").canary
    assert canary is not None and canary.share == 0.2 and world.events() == ["shadow", "promotion by hand", "canary"]


def test_a_mirrored_candidate_is_taken_back_like_any_other_and_another_waits_for_it(world: World) -> None:
    first = world.start(shadow=ShadowPolicy()).rollout_id
    second = world.start("rel_third", "run-2").rollout_id
    assert world.tick(second).action == "wait"
    assert world.rollback() == OLD and world.channels.read("f").shadow is None
    assert world.record(first).state == "rolled_back"
    assert world.ledger.entries(event="rollback")[0].subject == NEW
