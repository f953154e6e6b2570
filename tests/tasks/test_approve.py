"""Decisions on a run that waits, by a real verifier over HTTP: what counts, what is too late, what cannot be forged."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from ratchet.approvals import ApprovalRequest, Envelope, SignedDecision, VerifierRefusal, request_approval
from ratchet.errors import ApprovalRefused
from ratchet.settings import Settings
from ratchet.signing import sign, signing_key
from ratchet.trust import check_signatures
from tasks.approve import carry_out, record, still_waits, take_answer
from tests.approval_desk import NOW, Desk, verifier_on


@pytest.fixture
def desk(routing: Settings) -> Iterator[Desk]:
    with verifier_on(routing) as people:
        yield Desk(people)


@pytest.mark.parametrize(
    ("change", "told"), [({"approver": ""}, "not filled in right: approver"), ({}, "code is wrong")]
)
def test_a_wrong_answer_is_told_and_the_run_asks_again(desk: Desk, change: dict[str, Any], told: str) -> None:
    after = desk.answer("ana", **{"code": "12345", **change})
    assert (after.state, after.decision, after.attempts) == ("awaiting", None, 1)
    assert after.refusal is not None and told in after.refusal
    assert desk.answer("ana").decision == "approve"
    assert desk.events() == ["approval refused", "approve"]


def test_a_verifier_that_is_down_costs_no_run(desk: Desk) -> None:
    nobody = dataclasses.replace(desk.settings, verifier_url="http://127.0.0.1:9")
    after = take_answer(nobody, *desk.parts[1:], desk.run, desk.form("ana"))
    assert after.state == "awaiting" and "no verifier answers" in str(after.refusal)


def test_an_approval_is_carried_out_and_both_signatures_are_right(desk: Desk) -> None:
    assert desk.answer("ana").decision == "approve"
    done = carry_out(*desk.parts, "r1")
    assert done.rollout_id is not None and desk.faults() == []
    assert carry_out(*desk.parts, "r1") == done


def test_four_eyes_wait_for_a_second_person_and_keep_both_signatures(desk: Desk) -> None:
    desk.policy(four_eyes=True)
    first = desk.answer("bob")
    assert (first.state, first.decision, desk.faults()) == ("awaiting", None, ["approved by 1 of 2 people"])
    assert "bob approved already" in str(desk.answer("bob", code="000000").refusal)
    assert desk.answer("cem").decision == "approve"
    found = check_signatures(desk.release, desk.machine.releases.attestation(desk.release), desk.machine.trust)
    assert (found.faults, found.approver) == ([], "bob and cem")
    assert [event for event in desk.events() if event != "approval refused"] == ["approval", "approve"]


def test_a_policy_made_lenient_after_the_first_approval_takes_no_signature_away(desk: Desk) -> None:
    desk.policy(four_eyes=True)
    desk.answer("bob")
    desk.policy(four_eyes=False)
    assert desk.faults() == ["approved by 1 of 2 people"]  # what the verifier signed says two


def test_who_wrote_the_change_is_not_one_of_the_four_eyes(desk: Desk) -> None:
    desk.policy(four_eyes=True)
    assert "ana wrote the change" in str(desk.answer("ana").refusal)
    assert desk.answer("ana", "reject", reason="a typo").decision == "reject"


def test_a_machine_is_not_one_of_the_four_eyes(desk: Desk) -> None:
    desk.policy(four_eyes=True, machine_approvers=["night"])
    code = desk.people.code("night", "machine")
    assert "night is a machine" in str(desk.answer("night", code=code).refusal)


def test_one_rejection_ends_four_eyes(desk: Desk) -> None:
    desk.policy(four_eyes=True)
    desk.answer("bob")
    assert desk.answer("cem", "reject", reason="tone").decision == "reject"
    assert desk.faults() == ["cem rejected it"]


def test_a_rejection_needs_a_reason(desk: Desk) -> None:
    after = desk.answer("ana", "reject", reason=" ")
    assert after.decision is None and "a rejection needs a reason" in str(after.refusal)


def test_the_reason_is_kept_for_the_owner_and_not_in_the_ledger(desk: Desk) -> None:
    after = desk.answer("ana", "reject", reason="it promises refunds")
    assert [(said.approver, said.decision, said.reason) for said in after.answers] == [
        ("ana", "reject", "it promises refunds")
    ]
    written = json.dumps([entry.facts for entry in desk.ledger.entries()])
    written += json.dumps(desk.machine.releases.attestation(desk.release))
    assert "refunds" not in written and "reason_sha256" in written


def test_an_approval_is_stale_once_the_champion_changed(desk: Desk) -> None:
    third = desk.machine.release("Three.", version="v3.0.0")
    desk.channels.move("routing", stable=third, canary=None, expected_version=1, at=NOW, by="x", reason="y")
    code = desk.people.code("ana")
    after = desk.answer("ana", code=code)
    assert (after.state, after.decision) == ("done", "stale")
    assert third[:16] in str(after.refusal) and "ratchet run routing" in str(after.refusal)
    assert desk.events() == ["approval stale"] and desk.store.lease_owner("improve:routing") is None


def test_an_answer_after_the_time_is_up_ends_the_run_as_expired(desk: Desk) -> None:
    desk.policy(expire_after_h=1)
    desk.change(waits_since=(NOW - timedelta(hours=2)).isoformat())
    after = desk.answer("ana")
    assert (after.state, after.decision) == ("done", "expired")
    assert desk.events() == ["approval expired"] and desk.store.lease_owner("improve:routing") is None
    assert still_waits(*desk.parts, after, now=NOW) == after
    assert desk.events() == ["approval expired"]


def test_a_record_that_says_approved_without_a_signature_is_not_carried_out(desk: Desk) -> None:
    desk.change(decision="approve")
    with pytest.raises(ApprovalRefused, match="no approval"):
        carry_out(*desk.parts, "r1")
    assert not desk.store.documents("rollout")


def test_a_statement_that_the_flow_signs_itself_is_refused(desk: Desk) -> None:
    statement = {"run_id": "r1", "subject": desk.release, "approver": "ana", "approver_kind": "person"}
    statement |= {"decision": "approve", "at": NOW.isoformat()}
    for name in ("pipeline", "flow"):  # with the pipeline's key, and with one of its own
        key = signing_key(desk.settings.secrets_dir / f"{name}.key")
        forged = Envelope(
            statement=statement, **sign(key, "application/vnd.ratchet.approval+json", statement)._asdict()
        )
        with pytest.raises(ApprovalRefused, match="not signed by"):
            record(*desk.parts[:3], desk.run, SignedDecision(envelope=forged))
    assert desk.faults() == ["no approval"]


def test_a_signature_does_not_fit_another_run_or_release(desk: Desk) -> None:
    desk.answer("ana")
    [given] = desk.machine.releases.attestation(desk.release)["approvals"]
    signed = SignedDecision(envelope=Envelope.model_validate(given))
    for change in ({"run_id": "r2"}, {"release_id": desk.champion}):
        with pytest.raises(ApprovalRefused, match=r"the approval is for"):
            record(*desk.parts[:3], desk.run.model_copy(update=change), signed)


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_a_code_that_a_flow_has_seen_is_worth_nothing_afterwards(desk: Desk, decision: str) -> None:
    form = desk.form("ana")
    take_answer(*desk.parts, desk.run, form)
    again = ApprovalRequest.model_validate(
        {**form, "decision": decision, "reason": "x", "run_id": "r1", "subject": desk.release}
    )
    with pytest.raises(VerifierRefusal, match="used_code"):
        request_approval(desk.settings.verifier_url, again)


@pytest.mark.parametrize("claims", [{"gate": {"verdict": "reject"}}, {"run": "r2"}])
def test_a_code_approves_no_release_that_the_gate_refused_or_another_run_made(
    desk: Desk, claims: dict[str, Any]
) -> None:
    other = desk.machine.release("Other.", version=None, run="r1", approve=False, claims=claims)
    moved = desk.run.model_copy(update={"release_id": other})
    after = take_answer(*desk.parts, moved, desk.form("ana", digest_prefix=other[4:14]))
    assert after.decision is None and "may_not_approve" in str(after.refusal)
