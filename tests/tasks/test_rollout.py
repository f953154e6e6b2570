"""tasks.rollout: start, tick and rollback on a real store, channel folder and ledger; a crash at every write."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ratchet.channels import Channels
from ratchet.errors import BadInput, StaleChannel
from ratchet.ledger import Ledger
from ratchet.records import Feedback, Input, Interaction, Message, Output, Source
from ratchet.rollout_policy import RolloutPolicy
from ratchet.rollouts import KIND, Rollout
from ratchet.store import Store, open_store
from tasks.rollout import TickReport, move_step, note_moves, read, rollback, running, settle, start, tick, tick_all

AT = datetime(2026, 1, 2, tzinfo=UTC)
POLICY = RolloutPolicy(steps=(0.2, 0.5), alpha=0.05, margin=0.05, outcome_window_s=0, min_users=3)
OLD, NEW = "rel_old", "rel_new"


class World:
    """A feature `f` with OLD on stable, and everything that actions on rollouts touch."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.store, self.channels, self.ledger = store, Channels(folder / "channels"), Ledger(store.engine)
        self.parts = (self.store, self.channels, self.ledger)
        self.now = AT
        self.users = 0
        self.channels.begin("f", OLD, at=AT, by="test", reason="first")

    def later(self) -> datetime:
        self.now += timedelta(minutes=1)
        return self.now

    def start(self, candidate: str = NEW, approval: str = "run-1", **policy: Any) -> Rollout:
        chosen = POLICY.model_copy(update=policy)
        facts = {"feature": "f", "candidate_id": candidate, "salt": approval, "approval": approval}
        return start(*self.parts, policy=chosen, now=self.later(), **facts)  # type: ignore[arg-type]

    def tick(self, rollout_id: str) -> TickReport:
        return tick(*self.parts, rollout_id, now=self.later())

    def rollback(self) -> str:
        return rollback(*self.parts, "f", now=self.later(), by="ana", reason="complaints")

    def serve(self, pattern: str) -> None:
        """`C`/`c` a good/bad user of the canary, `S`/`s` of stable."""
        for sign in pattern:
            self.users += 1
            self.store.add_interactions([self.interaction(NEW if sign in "Cc" else OLD)])
            if sign in "cs":
                self.store.add_feedback([self.thumb_down()])

    def interaction(self, release: str) -> Interaction:
        asked = Input(messages=(Message(role="user", content="x"),))
        at = self.now + timedelta(milliseconds=self.users)
        ids = {"interaction_id": f"i{self.users}", "user_id": f"u{self.users}", "release_id": release}
        return Interaction(**ids, feature="f", at=at, input=asked, output=Output(content="y"))  # type: ignore[arg-type]

    def thumb_down(self) -> Feedback:
        at = self.now + timedelta(milliseconds=self.users)
        ids = {"feedback_id": f"f{self.users}", "interaction_id": f"i{self.users}"}
        return Feedback(**ids, at=at, kind="thumb", value=False, source=Source(type="user", id="u"))

    def record(self, rollout_id: str) -> Rollout:
        return read(self.store, self.channels, rollout_id).rollout

    def events(self) -> list[str]:
        return [entry.event for entry in self.ledger.entries()]


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> Iterator[World]:
    with open_store(database_url) as store:
        yield World(tmp_path, store)


def test_start_puts_the_candidate_on_the_canary(world: World) -> None:
    rollout = world.start()
    canary = world.channels.read("f").canary
    assert canary is not None and (canary.release_id, canary.share, canary.salt) == (NEW, 0.2, "run-1")
    assert (rollout.state, rollout.champion_id, world.events()) == ("running", OLD, ["canary"])


def test_start_again_is_the_same_rollout(world: World) -> None:
    first, again = world.start(), world.start()
    assert first == again and world.channels.read("f").version == 2 and len(world.store.documents(KIND)) == 1


def test_start_refuses_what_serves_already_and_a_last_step_of_everybody(world: World) -> None:
    with pytest.raises(BadInput, match="already"):
        world.start(OLD)
    with pytest.raises(BadInput, match="end below 1"):
        world.start(steps=(0.5, 1.0))


def test_a_better_candidate_goes_step_by_step_to_stable(world: World) -> None:
    rollout_id = world.start().rollout_id
    actions = []
    for _ in range(3):
        world.serve("sC" * 30)
        actions.append(world.tick(rollout_id).action)
    state = world.channels.read("f")
    assert actions == ["advance", "promote", "promoted"] and (state.stable, state.canary) == (NEW, None)
    assert world.events() == ["canary", "canary", "promote"] and world.record(rollout_id).state == "promoted"


def test_a_worse_candidate_goes_back_and_the_record_keeps_the_evidence(world: World) -> None:
    rollout_id = world.start().rollout_id
    world.serve("Sc" * 30)
    assert world.tick(rollout_id).action == "rollback"
    state, record = world.channels.read("f"), world.record(rollout_id)
    assert (state.stable, state.canary, record.state) == (OLD, None, "rolled_back")
    assert record.evidence["alarms"]["rollback"]["signal"] == "complaint" and "worse" in record.log[-1]


def test_a_tick_without_news_changes_nothing(world: World) -> None:
    rollout_id = world.start().rollout_id
    assert world.tick(rollout_id).action == "hold"
    before = world.store.document(KIND, rollout_id)
    assert world.tick(rollout_id).action == "hold" and world.store.document(KIND, rollout_id) == before


def test_what_was_said_before_the_rollout_is_no_evidence(world: World) -> None:
    world.serve("Sc" * 30)
    rollout_id = world.start().rollout_id
    assert world.tick(rollout_id).evidence["users"]["canary"] == 0


def test_an_unknown_rollout_is_named(world: World) -> None:
    with pytest.raises(BadInput, match="ro_none"):
        world.tick("ro_none")


def crash_after_record(world: World) -> str:
    """start died before the pointer: the record is there, the canary is not."""
    rollout = world.start()
    body = rollout.model_copy(update={"channel_version": None, "approval": "b", "rollout_id": "ro_b", "log": ()})
    rollback(*world.parts, "f", now=world.later(), by="test", reason="clear the stage")
    world.store.create_document(KIND, "ro_b", "f", body.model_dump(mode="json"))
    return "ro_b"


def test_a_start_that_died_before_the_pointer_is_taken_up_by_a_tick(world: World) -> None:
    rollout_id = crash_after_record(world)
    report = world.tick(rollout_id)
    canary = world.channels.read("f").canary
    assert report.action == "start" and canary is not None and canary.rollout_id == rollout_id
    assert world.record(rollout_id).started_at == world.now


@pytest.mark.parametrize("step", [1, 2, None])
@pytest.mark.parametrize("died", ["after the pointer", "after the ledger"])
def test_a_step_that_died_half_way_is_finished_by_the_next_tick(world: World, step: int | None, died: str) -> None:
    rollout_id = world.start().rollout_id
    move_step(world.channels, read(world.store, world.channels, rollout_id), step=step, now=world.now, reason="x")
    if died == "after the ledger":
        note_moves(world.channels, world.ledger, "f")
    version = world.channels.read("f").version
    assert world.tick(rollout_id).action == "catch_up"
    record = world.record(rollout_id)
    expected = {1: ("running", 1), 2: ("promoted", 0), None: ("rolled_back", 0)}[step]
    assert (record.state, record.step) == expected and world.channels.read("f").version == version
    assert world.events() == ["canary", {1: "canary", 2: "promote", None: "rollback"}[step]]


def test_a_finished_step_is_not_made_twice(world: World) -> None:
    rollout_id = world.start().rollout_id
    found = read(world.store, world.channels, rollout_id)
    move_step(world.channels, found, step=1, now=world.now, reason="x")
    with pytest.raises(StaleChannel):
        move_step(world.channels, found, step=1, now=world.now, reason="x")


def test_a_second_rollout_waits_and_begins_against_the_new_champion(world: World) -> None:
    first = world.start().rollout_id
    second = world.start("rel_third", "run-2").rollout_id
    assert world.tick(second).action == "wait" and world.record(second).channel_version is None
    move_step(world.channels, read(world.store, world.channels, first), step=2, now=world.now, reason="x")
    settle(*world.parts, first, now=world.now)
    assert world.tick(second).action == "start" and world.record(second).champion_id == NEW


def test_rollback_takes_the_canary_away(world: World) -> None:
    rollout_id = world.start().rollout_id
    assert world.rollback() == OLD
    assert world.channels.read("f").canary is None and world.record(rollout_id).state == "rolled_back"
    entry = world.ledger.entries(event="rollback")[-1]
    assert (entry.subject, entry.facts["by"], entry.facts["reason"]) == (NEW, "ana", "complaints")


def promoted(world: World, candidate: str, approval: str) -> None:
    rollout_id = world.start(candidate, approval).rollout_id
    move_step(world.channels, read(world.store, world.channels, rollout_id), step=2, now=world.now, reason="x")
    settle(*world.parts, rollout_id, now=world.now)


def test_rollback_of_stable_goes_back_one_release_each_time(world: World) -> None:
    promoted(world, NEW, "run-1")
    promoted(world, "rel_third", "run-2")
    assert [world.rollback(), world.rollback()] == [NEW, OLD]
    with pytest.raises(BadInput, match="no earlier release"):
        world.rollback()


def test_rollback_right_after_a_promotion_that_died_brings_the_champion_back(world: World) -> None:
    rollout_id = world.start().rollout_id
    move_step(world.channels, read(world.store, world.channels, rollout_id), step=2, now=world.now, reason="x")
    assert world.rollback() == OLD and world.record(rollout_id).state == "rolled_back"
    assert world.events() == ["canary", "promote", "rollback"]


def test_rollback_ends_a_rollout_that_is_not_on_the_canary_yet(world: World) -> None:
    rollout_id = crash_after_record(world)
    assert world.rollback() == OLD and world.record(rollout_id).state == "rolled_back"
    assert world.tick(rollout_id).action == "rolled_back" and world.channels.read("f").canary is None


def test_a_step_decided_before_a_rollback_can_no_longer_be_made(world: World) -> None:
    rollout_id = world.start().rollout_id
    decided = read(world.store, world.channels, rollout_id)
    world.rollback()
    with pytest.raises(StaleChannel):
        move_step(world.channels, decided, step=1, now=world.now, reason="x")


def test_tick_all_ticks_what_runs_and_notes_every_move(world: World) -> None:
    promoted(world, NEW, "run-1")
    state = world.channels.read("f")
    world.channels.move(
        "f", stable=OLD, canary=None, expected_version=state.version, at=AT, by="ana", reason="died here"
    )
    running_id = world.start("rel_third", "run-2").rollout_id
    reports = tick_all(*world.parts, now=world.later())
    assert [r.rollout_id for r in reports] == [running_id] == [r.rollout_id for r in running(world.store)]
    assert world.events() == ["canary", "promote", "rollback", "canary"]


def test_a_damaged_channel_does_not_hold_up_other_features(world: World) -> None:
    world.start()
    world.channels.begin("a", OLD, at=AT, by="test", reason="first")
    world.channels.path("a").write_text("{")
    reports = tick_all(*world.parts, now=world.later())
    assert [(r.feature, r.action) for r in reports] == [("a", "failed"), ("f", "hold")]
