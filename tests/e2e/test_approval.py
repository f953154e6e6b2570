"""A run that waits for a person: what it refuses, and what an approval with a one-time code does."""

from __future__ import annotations

import uuid

import pytest

from cli.prefect_api import flow_run_state
from cli.run import refuse_second
from cli.session import Session
from ratchet.approvals import ApprovalRequest, VerifierRefusal, request_approval
from ratchet.channels import Channels
from ratchet.ledger import Ledger
from ratchet.release import ReleaseStore
from ratchet.runs import Run, open_run
from ratchet.settings import Settings
from ratchet.store import Store, open_store
from tests.e2e.conftest import Desk


def session_of(settings: Settings, store: Store) -> Session:
    """What a command of the clone would open."""
    channels, releases = Channels(settings.channels_dir), ReleaseStore(settings.releases_dir)
    return Session(settings, store, Ledger(store.engine), channels, releases)


@pytest.fixture(scope="module")
def waiting(desk: Desk) -> Run:
    """A run of a feature `asks` that waits for an approval."""
    desk.add("asks")
    desk.start("asks")
    return desk.waiting("asks")


def test_a_second_run_beside_one_that_waits_is_refused(desk: Desk, waiting: Run) -> None:
    second = desk.clone.ratchet("run", "asks", check=False)
    assert second.returncode != 0
    assert f"a second run of asks is refused: run {waiting.run_id} waits for an approval" in second.stderr
    assert "Traceback" not in second.stderr


def test_the_worktree_is_gone_while_a_run_waits(desk: Desk, waiting: Run) -> None:
    assert not (desk.clone.settings.runs_dir / waiting.run_id / "tree").exists()
    assert len(desk.clone.git("worktree", "list").splitlines()) == 1


def test_a_wrong_code_is_refused_and_the_run_goes_on_waiting(desk: Desk, waiting: Run) -> None:
    refused = desk.decide("approve", waiting, code="000000")
    assert refused.returncode != 0
    assert "code is wrong" in refused.stderr and "goes on waiting" in refused.stderr
    assert desk.waiting("asks").attempts == waiting.attempts + 1


def test_a_wrong_digest_is_refused_and_does_not_use_the_code_up(desk: Desk, waiting: Run) -> None:
    before = desk.waiting("asks")
    refused = desk.decide("approve", waiting, digest="0123456789ab")
    assert refused.returncode != 0
    assert "wrong_digest_prefix" in refused.stderr
    assert desk.waiting("asks").attempts == before.attempts + 1


def test_an_answer_with_a_malformed_field_is_refused_and_the_run_goes_on_waiting(desk: Desk, waiting: Run) -> None:
    before = desk.waiting("asks")
    refused = desk.decide("approve", waiting, approver="")
    assert refused.returncode != 0
    assert "the form is not filled in right: approver" in refused.stderr
    assert desk.waiting("asks").attempts == before.attempts + 1


def test_a_run_whose_flow_run_is_gone_does_not_block_the_next(desk: Desk) -> None:
    lost = Run(
        run_id="gone-1", feature="gone", state="awaiting", flow_run_id=str(uuid.uuid4()), started_at="2026-01-01"
    )
    with open_store(desk.clone.settings.database_url) as store:
        open_run(store, lost)
        store.acquire_lease(lost.lease, lost.run_id)
        refuse_second(session_of(desk.clone.settings, store), "gone")
        assert flow_run_state(desk.clone.settings, str(lost.flow_run_id))[0] == "MISSING"


def test_a_rejection_needs_a_reason(desk: Desk, waiting: Run) -> None:
    before = desk.waiting("asks")
    refused = desk.decide("reject", waiting, reason="  ")
    assert refused.returncode == 2
    assert "a rejection needs a reason" in refused.stderr
    assert desk.waiting("asks") == before


@pytest.fixture(scope="module")
def approved(desk: Desk, waiting: Run) -> Run:
    """The run after the person's approval, as `ratchet approve` tells it."""
    now = desk.waiting("asks")
    done = desk.decide("approve", now, code=desk.code(), reason="the report looks right")
    assert done.returncode == 0, done.stderr
    with open_store(desk.clone.settings.database_url) as store:
        found = store.document("run", now.run_id)
    assert found is not None
    return Run.model_validate(found.body)


def test_the_right_code_tags_the_runs_commit_and_starts_a_rollout(desk: Desk, approved: Run) -> None:
    assert (approved.state, approved.version) == ("done", "v2.0.0")
    assert desk.clone.git("rev-parse", "asks@v2.0.0^{commit}") == approved.commit
    rollouts = desk.clone.ratchet_json("rollout", "status", "asks")
    assert [rollout["rollout_id"] for rollout in rollouts] == [approved.rollout_id]


def test_the_one_who_started_the_run_is_told_its_end(desk: Desk, approved: Run) -> None:
    assert desk.started[0].wait(timeout=30) == 0
    said = (desk.clone.folder / "in" / "asks.out").read_text(encoding="utf-8")
    assert "waits for an approval" in said and "v2.0.0" in said


def test_the_ledger_names_the_person_and_every_refusal(desk: Desk, approved: Run) -> None:
    with open_store(desk.clone.settings.database_url) as store:
        entries = [e for e in Ledger(store.engine).entries() if e.facts.get("run") == approved.run_id]
    decisions = [e.event for e in entries if e.event.startswith("appro")]
    assert decisions == ["approval refused"] * (approved.attempts - 1) + ["approve"]
    assert [e.facts["approver"] for e in entries if e.event == "approve"] == ["zoe"]


def test_the_approved_release_carries_both_signatures_and_what_it_came_from(desk: Desk, approved: Run) -> None:
    assert approved.release_id is not None
    [found] = desk.clone.ratchet_json("release", "verify", approved.release_id)
    assert (found["faults"], found["unsigned"], found["approved_by"]) == ([], [], "zoe")
    newest = desk.clone.ratchet_json("prompts", "log", "asks")[0]
    assert (newest["version"], newest["approved_by"], newest["commit"]) == ("v2.0.0", "zoe", approved.commit)
    first = desk.clone.ratchet_json("releases", "asks")[0]["release_id"]
    assert "data.rows.curate" in "".join(
        f"data.{key} " for key in desk.clone.ratchet_json("release", "diff", first, approved.release_id)["data"]
    )


def test_the_same_code_again_is_refused(desk: Desk, approved: Run) -> None:
    assert approved.release_id is not None
    answer = {"decision": "approve", "approver": "zoe", "digest_prefix": approved.release_id, "code": desk.used}
    again = ApprovalRequest(run_id="another-run", subject=approved.release_id, **answer)
    with pytest.raises(VerifierRefusal, match="used_code"):
        request_approval(desk.clone.settings.verifier_url, again)
