"""Action: a person's (or an enrolled machine's) decision on a run - checked by the verifier, tagged, rolled out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from ratchet.approvals import Approval, ApprovalRequest, may_approve, request_approval, verify_approval
from ratchet.channels import Channels
from ratchet.errors import ApprovalRefused, ServiceUnreachable
from ratchet.features import load_feature
from ratchet.ledger import Ledger
from ratchet.release import ReleaseStore
from ratchet.runs import Run, change_run, find_run
from ratchet.settings import Settings
from ratchet.store import Store
from tasks import version
from tasks.rollout import start


def take_answer(settings: Settings, store: Store, ledger: Ledger, run: Run, answer: dict[str, Any]) -> Run:
    """Decide by a form as it was filled in; one that is filled in wrong is a refusal, and the run goes on waiting."""
    assert run.release_id is not None
    try:
        request = ApprovalRequest.model_validate({**answer, "run_id": run.run_id, "subject": run.release_id})
    except ValidationError as error:
        fields = sorted({str(found["loc"][0]) for found in error.errors()})
        return _refuse(store, ledger, run, f"the form is not filled in right: {', '.join(fields)}")
    return decide(settings, store, ledger, run, request)


def decide(settings: Settings, store: Store, ledger: Ledger, run: Run, request: ApprovalRequest) -> Run:
    """Ask the verifier about a decision and record it; a refusal is recorded and the run goes on waiting.

    The signed statement is kept in the release's attestation before the run's record changes, so a crash in between
    asks again and nothing is approved by a code that was only typed.
    """
    assert run.release_id is not None
    try:
        envelope = request_approval(settings.verifier_url, request)
        approval = verify_approval(envelope, trust_dir=settings.trust_dir, subject=run.release_id, run_id=run.run_id)
        barred = may_approve(load_feature(settings.repo, run.feature), approval)
        if barred is not None:
            raise ApprovalRefused(barred)
    except (ApprovalRefused, ServiceUnreachable) as refused:  # a verifier that is down must not cost the run
        return _refuse(store, ledger, run, str(refused))
    ReleaseStore.of(settings).attest(run.release_id, {"approval": envelope.model_dump(mode="json")})
    ledger.append_once(approval.decision, run.release_id, **_facts(run, approval))
    return change_run(
        store, run.run_id, attempts=run.attempts + 1, refusal=None, decision=approval.decision, reasons=run.reasons
    )


def carry_out(settings: Settings, store: Store, ledger: Ledger, channels: Channels, run_id: str) -> Run:
    """Tag an approved run's commit and start its rollout. Needs git and the store only, and may be repeated."""
    run = find_run(store, run_id)
    assert run.release_id is not None and run.commit is not None and run.champion_id is not None
    if run.decision != "approve":
        return run
    feature = load_feature(settings.repo, run.feature)
    tagged = version.tag_release(settings.repo, run.feature, run.commit)
    ReleaseStore.of(settings).attest(run.release_id, {"version": tagged})
    ledger.append_once("tag", run.release_id, version=tagged, commit=run.commit)
    rollout = start(
        store,
        channels,
        ledger,
        feature=run.feature,
        candidate_id=run.release_id,
        policy=feature.rollout,
        salt=run.run_id,
        now=datetime.now(UTC),
        approval=run.run_id,
        output_schema=feature.output_schema,
    )
    return change_run(store, run_id, version=tagged, rollout_id=rollout.rollout_id)


def _refuse(store: Store, ledger: Ledger, run: Run, why: str) -> Run:
    assert run.release_id is not None
    ledger.append("approval refused", run.release_id, run=run.run_id, attempt=run.attempts + 1)
    return change_run(store, run.run_id, attempts=run.attempts + 1, refusal=why)


def _facts(run: Run, approval: Approval) -> dict[str, str]:
    return {"run": run.run_id, "approver": approval.approver, "kind": approval.approver_kind}
