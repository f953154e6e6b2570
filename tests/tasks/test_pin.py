from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ratchet.channels import Canary
from ratchet.errors import BadInput, ChannelFrozen, ReleaseUntrusted
from ratchet.features import RolloutPolicy
from ratchet.settings import Settings
from tasks.pin import channels_of, freeze, pin, unpin
from tasks.rollout import rollback, start, tick
from tests.released import AT, Machine

WHO = {"now": AT, "by": "bob", "reason": "contract"}


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(Settings.from_env({"RATCHET_REPO": str(tmp_path), "RATCHET_HOME": str(tmp_path / "home")}))
    made.channels.begin("routing", made.release("One."), at=AT, by="ana", reason="first")
    yield made
    made.store.close()


def pinned(machine: Machine, name: str, release_id: str, trust: Any = None) -> str:
    parts = (machine.channels, machine.releases, machine.ledger)
    return pin(*parts, name, release_id, trust=trust, **WHO).stable


def test_a_pin_serves_its_tenant_and_is_in_the_ledger_once(machine: Machine) -> None:
    two = machine.release("Two.", version="v2.0.0")
    assert pinned(machine, "routing@acme", two) == pinned(machine, "routing@acme", two) == two
    assert machine.channels.resolve("routing", "acme")[1].stable == two
    [entry] = machine.ledger.entries(event="pin")
    told = {"feature": "routing@acme", "channel_version": 1, "stable": two, "canary": None}
    assert entry.facts == told | {"by": "bob", "reason": "contract"}


def test_unpin_and_pin_again_go_on_counting(machine: Machine) -> None:
    two = machine.release("Two.", version="v2.0.0")
    pinned(machine, "routing@@vip", two)
    unpin(machine.channels, machine.ledger, "routing@@vip", **WHO)
    assert machine.channels.resolve("routing", None, "vip")[0] == "routing"
    pinned(machine, "routing@@vip", two)
    assert [m.inherits for m in machine.channels.history("routing@@vip")] == [False, True, False]


def test_only_an_approved_release_of_the_feature_is_pinned(machine: Machine) -> None:
    proposed = machine.release("Hm.", version=None, approve=False)
    with pytest.raises(BadInput, match="never approved"):
        pinned(machine, "routing@acme", proposed)
    with pytest.raises(BadInput, match="another feature"):
        pinned(machine, "other@acme", machine.release("Two.", version="v2.0.0"))
    with pytest.raises(BadInput, match="needs a tenant"):
        pinned(machine, "routing", machine.release("Two.", version="v2.0.0"))
    assert machine.channels.names() == ["routing"]


def test_where_a_trust_file_is_set_a_version_alone_is_not_enough(machine: Machine) -> None:
    unsigned = machine.release("Two.", version="v2.0.0", approve=False)
    with pytest.raises(ReleaseUntrusted, match="no approval"):
        pinned(machine, "routing@acme", unsigned, trust=machine.trust)


def test_a_frozen_feature_takes_no_new_pin(machine: Machine) -> None:
    freeze(machine.channels, machine.ledger, channels_of(machine.channels, "routing"), **WHO)
    with pytest.raises(ChannelFrozen, match="frozen by bob"):
        pinned(machine, "routing@acme", machine.release("Two.", version="v2.0.0"))
    freeze(machine.channels, machine.ledger, channels_of(machine.channels, None), **WHO, thaw=True)
    pinned(machine, "routing@acme", machine.release("Two.", version="v2.0.0"))
    events = [(e.event, e.subject) for e in machine.ledger.entries() if "freeze" in e.event]
    assert events == [("freeze", "routing"), ("unfreeze", "routing")]


def test_a_frozen_channel_is_rolled_back_by_the_same_call(machine: Machine) -> None:
    two, now = machine.release("Two.", version="v2.0.0"), machine.channels.read("routing")
    trial = Canary(release_id=two, share=0.2, salt="s", rollout_id="ro")
    told = {"at": AT, "by": "ro", "reason": "trial"}
    machine.channels.move("routing", stable=now.stable, canary=trial, expected_version=1, **told)
    freeze(machine.channels, machine.ledger, ["routing"], **WHO)
    assert rollback(machine.store, machine.channels, machine.ledger, "routing", **WHO) == now.stable
    after = machine.channels.read("routing")
    assert after.canary is None and after.frozen is not None


def test_a_tenants_channel_is_rolled_back_by_the_same_call(machine: Machine) -> None:
    one, two = machine.channels.read("routing").stable, machine.release("Two.", version="v2.0.0")
    pinned(machine, "routing@acme", one)
    pinned(machine, "routing@acme", two)
    assert rollback(machine.store, machine.channels, machine.ledger, "routing@acme", **WHO) == one


def test_freezing_nothing_is_told(machine: Machine) -> None:
    with pytest.raises(BadInput, match="other has no channel"):
        channels_of(machine.channels, "other")


def test_a_rollout_that_is_approved_while_frozen_waits_and_begins_afterwards(machine: Machine) -> None:
    two, parts = machine.release("Two.", version="v2.0.0"), (machine.store, machine.channels, machine.ledger)
    freeze(machine.channels, machine.ledger, ["routing"], **WHO)
    told = {"feature": "routing", "candidate_id": two, "policy": RolloutPolicy(), "salt": "s", "approval": "r1"}
    rollout = start(*parts, **told, now=AT)
    assert (rollout.state, rollout.channel_version, machine.channels.read("routing").canary) == ("running", None, None)
    assert tick(*parts, rollout.rollout_id, now=AT).action == "hold"
    freeze(machine.channels, machine.ledger, ["routing"], **WHO, thaw=True)
    assert tick(*parts, rollout.rollout_id, now=AT).action == "start"
    canary = machine.channels.read("routing").canary
    assert canary is not None and canary.release_id == two
