from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ratchet.channels import Canary
from ratchet.errors import ReleaseNotFound
from ratchet.live import what_was_live
from tasks.pin import pin, unpin
from tasks.rollout import note_moves
from tests.released import AT, Machine

GATE = {"verdict": "accept", "reasons": ["+5 points"], "holdout_digest": "h1"}


def day(number: int) -> datetime:
    return AT + timedelta(days=number)


@pytest.fixture
def story(machine: Machine) -> dict[str, str]:
    """Day 0: v1. Day 1: v2 on the canary. Day 2: v2 for all, acme pinned to v1. Day 4: acme let go."""
    one = machine.release("One.")
    machine.ledger.append("first release", one, feature="routing")
    two = machine.release(
        "Two.", version="v2.0.0", run="r2", claims={"gate": GATE, "dataset": "outs:\n- md5: abc.dir\n"}
    )
    told = {"by": "ro", "reason": "why"}
    machine.channels.begin("routing", one, at=day(0), **told)
    trial = Canary(release_id=two, share=0.2, salt="s", rollout_id="ro")
    machine.channels.move("routing", stable=one, canary=trial, expected_version=1, at=day(1), **told)
    machine.channels.move("routing", stable=two, canary=None, expected_version=2, at=day(2), **told)
    note_moves(machine.channels, machine.ledger, "routing")
    who = {"by": "bob", "reason": "contract"}
    parts = (machine.channels, machine.releases, machine.ledger)
    pin(*parts, "routing@acme", one, trust=machine.trust, now=day(2), **who)
    unpin(machine.channels, machine.ledger, "routing@acme", now=day(4), **who)
    return {"one": one, "two": two}


def asked(machine: Machine, at: datetime, tenant: str | None = None) -> dict[str, Any]:
    parts = (machine.channels, machine.releases, machine.ledger)
    return what_was_live(*parts, feature="routing", tenant=tenant, segment=None, at=at, trust=machine.trust)


@pytest.mark.parametrize(
    ("days", "tenant", "channel", "stable", "canary"),
    [
        (0, None, "routing", "one", None),
        (1.5, "acme", "routing", "one", "two"),
        (3, None, "routing", "two", None),
        (3, "acme", "routing@acme", "one", None),
        (5, "acme", "routing", "two", None),
    ],
)
def test_what_was_live_is_told_by_tenant_and_time(machine, story, days, tenant, channel, stable, canary) -> None:
    found = asked(machine, AT + timedelta(days=days), tenant)
    assert (found["channel"], found["stable"]["release_id"]) == (channel, story[stable])
    assert (found["canary"] and found["canary"]["release_id"]) == (story[canary] if canary else None)
    assert found["move"]["ledger_seq"] is not None


def test_a_record_tells_approver_data_and_evidence(machine: Machine, story) -> None:
    record = asked(machine, day(3))["stable"]
    assert (record["version"], record["is_whole"], record["pipeline_signature"]) == ("v2.0.0", True, "right")
    assert (record["approval"]["approver"], record["approval"]["signature"]) == ("ana", "right")
    assert record["data"]["dataset"] == "abc.dir" and record["evidence"]["holdout_digest"] == "h1"
    assert [entry["event"] for entry in record["ledger"]] == ["canary", "promote"]


def test_a_forged_claim_is_told_and_the_story_goes_on(machine: Machine, story) -> None:
    machine.change_attestation(story["two"], gate={"verdict": "accept", "reasons": ["+50 points"]})
    record = asked(machine, day(3))["stable"]
    assert record["pipeline_signature"] == "its claims are not signed by a trusted pipeline"


def test_a_move_that_the_ledger_does_not_know_has_no_witness(machine: Machine, story) -> None:
    told = {"at": day(6), "by": "mallory", "reason": "x"}
    machine.channels.move("routing", stable=story["one"], canary=None, expected_version=3, **told)
    assert asked(machine, day(7))["move"]["ledger_seq"] is None


def test_before_the_first_release_nothing_was_live(machine: Machine, story) -> None:
    with pytest.raises(ReleaseNotFound, match="served nothing"):
        asked(machine, datetime(2020, 1, 1, tzinfo=UTC))
