"""Rollouts and rollbacks of a tenant or segment alone, on the real channels; everybody else gets what they got."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ratchet.channels import assign, drawn_for
from ratchet.errors import BadInput
from ratchet.records import Feedback, Input, Interaction, Message, Output, Source
from ratchet.rollouts import Rollout
from ratchet.store import open_store
from tasks.pin import freeze, unpin
from tasks.rollout import note_moves, rollback, start, tick, tick_all
from tasks.steer_rollout import abort, promote
from tests.tasks.test_rollout import NEW, OLD, POLICY, World

ACME, VIP = "f@acme", "f@@vip"
ANA: dict[str, Any] = {"by": "ana", "reason": "because"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        yield World(tmp_path, store)


def begin(world: World, name: str = ACME, candidate: str = NEW, approval: str = "run-1") -> Rollout:
    facts: dict[str, Any] = {"feature": "f", "candidate_id": candidate, "salt": approval, "approval": approval}
    return start(*world.parts, policy=POLICY, now=world.later(), channel=name, **facts)


def serves(world: World, tenant: str | None = None, segment: str | None = None) -> str:
    return world.channels.resolve("f", tenant, segment)[1].stable


def back(world: World, name: str) -> str:
    return rollback(*world.parts, name, now=world.later(), **ANA)


def meet(world: World, n: int, complains: str, **who: Any) -> None:
    """`n` new users of a tenant or segment ask; those who got the release that is named complain."""
    for _ in range(n):
        world.users += 1
        name, state = world.channels.resolve("f", who.get("tenant"), who.get("segment"))
        drawn = assign(state, f"u{world.users}")._replace(drawn_for=drawn_for(name))
        ids = {"interaction_id": f"i{world.users}", "user_id": f"u{world.users}", "feature": "f", **who}
        facts = {"release_id": drawn.release_id, "channel": drawn.channel, "propensity": drawn.propensity}
        at = world.now + timedelta(milliseconds=world.users)
        asked = Input(messages=(Message(role="user", content="x"),))
        record = {**ids, **facts, "at": at, "attributes": drawn.facts, "input": asked, "output": Output(content="y")}
        world.store.add_interactions([Interaction.model_validate(record)])
        if drawn.release_id == complains:
            said = {"feedback_id": f"f{world.users}", "interaction_id": f"i{world.users}", "at": at, "kind": "thumb"}
            world.store.add_feedback([Feedback(**said, value=False, source=Source(type="user", id="u"))])  # type: ignore[arg-type]


def test_only_the_tenant_gets_the_candidate_and_its_users_alone_promote_it(world: World) -> None:
    begun = begin(world)
    assert world.channels.read("f").canary is None and begun.channel == ACME and begun.inherited
    for _ in range(4):
        meet(world, 150, complains=OLD, tenant="acme")
        reports = tick_all(*world.parts, now=world.later())
    assert reports == [] or reports[-1].action == "promoted"
    assert (serves(world, "acme"), serves(world, "other"), serves(world)) == (NEW, OLD, OLD)
    assert [(e.event, e.facts["feature"]) for e in world.ledger.entries()][-1] == ("promote", ACME)


def test_a_candidate_that_the_tenant_complains_of_is_taken_back_and_it_inherits_again(world: World) -> None:
    rollout_id = begin(world).rollout_id
    meet(world, 200, complains=NEW, tenant="acme")
    assert tick(*world.parts, rollout_id, now=world.later()).action == "rollback"
    assert world.channels.read(ACME).inherits and world.record(rollout_id).state == "rolled_back"
    promoted = world.start("rel_third", "run-2")
    promote(*world.parts, "f", now=world.later(), **ANA)
    assert serves(world, "acme") == promoted.candidate_id


def test_what_other_users_say_counts_in_the_tenants_rollout_no_more_than_its_in_theirs(world: World) -> None:
    of_acme, of_all = begin(world).rollout_id, world.start("rel_third", "run-2").rollout_id
    meet(world, 100, complains=NEW, tenant="acme")
    meet(world, 60, complains="", tenant="other")
    tick(*world.parts, of_all, now=world.later())
    tick(*world.parts, of_acme, now=world.later())
    assert sum(world.record(of_all).evidence["users"].values()) == 60
    assert sum(world.record(of_acme).evidence["users"].values()) == 100


def test_a_segment_has_rollouts_of_its_own(world: World) -> None:
    rollout_id = begin(world, VIP).rollout_id
    meet(world, 40, complains="", tenant="acme", segment="vip")
    meet(world, 40, complains="", tenant="acme")
    tick(*world.parts, rollout_id, now=world.later())
    assert sum(world.record(rollout_id).evidence["users"].values()) == 40
    promote(*world.parts, VIP, now=world.later(), **ANA)
    assert (serves(world, "acme", "vip"), serves(world, "acme")) == (NEW, OLD)


def test_steering_one_channel_leaves_the_others_alone(world: World) -> None:
    world.start("rel_third", "run-2")
    begin(world)
    abort(*world.parts, ACME, now=world.later(), **ANA)
    canary = world.channels.read("f").canary
    assert canary is not None and canary.release_id == "rel_third" and serves(world, "acme") == OLD
    with pytest.raises(BadInput, match="no rollout of f@acme is running"):
        abort(*world.parts, ACME, now=world.later(), **ANA)


def test_a_tenant_without_a_channel_goes_back_alone(world: World) -> None:
    world.start()
    promote(*world.parts, "f", now=world.later(), **ANA)
    assert back(world, ACME) == OLD
    assert (serves(world, "acme"), serves(world)) == (OLD, NEW)
    entry = world.ledger.entries(event="rollback")[-1]
    assert (entry.subject, entry.facts["feature"], entry.facts["by"]) == (NEW, ACME, "ana")


def test_a_tenant_is_taken_off_everybodys_canary_alone(world: World) -> None:
    world.start()
    assert back(world, ACME) == OLD
    assert world.channels.resolve("f", "acme")[1].canary is None and world.channels.read("f").canary is not None


def test_a_tenant_that_has_nothing_to_go_back_to_is_told_so(world: World) -> None:
    with pytest.raises(BadInput, match="no earlier release"):
        back(world, ACME)


def test_the_way_back_is_open_on_a_frozen_channel(world: World) -> None:
    rollout_id = begin(world).rollout_id
    freeze(world.channels, world.ledger, [ACME], now=world.later(), **ANA)
    assert back(world, ACME) == OLD and world.channels.read(ACME).inherits
    assert world.record(rollout_id).state == "rolled_back"


def test_pins_are_moves_that_the_ledger_has_already(world: World) -> None:
    begin(world)
    back(world, ACME)
    version = world.channels.read(ACME).version
    told: dict[str, Any] = {"at": world.later(), "expected_version": version, **ANA}
    world.channels.move(ACME, stable=NEW, canary=None, **told)
    world.ledger.append("pin", NEW, feature=ACME, channel_version=version + 1)
    unpin(world.channels, world.ledger, ACME, now=world.later(), **ANA)
    before = world.events()
    note_moves(world.channels, world.ledger, ACME)
    assert world.events() == before


def test_a_crash_before_the_first_step_leaves_the_tenant_served_as_before(world: World) -> None:
    world.channels.begin(ACME, OLD, at=world.later(), by="ro1", reason="a rollout of its own begins", inherits=True)
    assert serves(world, "acme") == OLD and world.channels.resolve("f", "acme")[0] == "f"
    assert begin(world).inherited
