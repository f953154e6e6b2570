"""Action: a person's (or an enrolled machine's) decision on a run - checked by the verifier, tagged, rolled out.

Each step needs the store, files and the verifier only, so that a form of Prefect, a shell and a webhook end alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from ratchet.approvals import (
    Approval,
    ApprovalRequest,
    Envelope,
    SignedDecision,
    may_approve,
    request_approval,
    standing,
    verify_approval,
    with_approval,
)
from ratchet.channels import Channels
from ratchet.errors import ApprovalRefused, ServiceUnreachable
from ratchet.features import load_feature
from ratchet.files import sha256_text
from ratchet.ledger import Ledger
from ratchet.release import ReleaseStore
from ratchet.runs import Answer, Run, change_run, find_run
from ratchet.settings import Settings
from ratchet.store import Store
from tasks import version
from tasks.begin import end
from tasks.rollout import start


def take_answer(
    settings: Settings, store: Store, ledger: Ledger, channels: Channels, run: Run, answer: Mapping[str, Any]
) -> Run:
    """Decide by a form as it was filled in; one that is filled in wrong is a refusal, and the run goes on waiting."""
    assert run.release_id is not None
    try:
        request = ApprovalRequest.model_validate({**answer, "run_id": run.run_id, "subject": run.release_id})
    except ValidationError as error:
        faults = sorted({".".join(map(str, found["loc"])) or found["msg"] for found in error.errors()})
        return _refuse(store, ledger, run, f"the form is not filled in right: {', '.join(faults)}")
    return decide(settings, store, ledger, channels, run, request)


def decide(
    settings: Settings, store: Store, ledger: Ledger, channels: Channels, run: Run, request: ApprovalRequest
) -> Run:
    """Ask the verifier about a decision and record it; a refusal is recorded and the run goes on waiting."""
    run = still_waits(settings, store, ledger, channels, run, now=datetime.now(UTC))
    if run.state != "awaiting" or run.decision is not None:
        return run
    if any((said.approver, said.decision) == (request.approver, "approve") for said in run.answers):
        return _refuse(store, ledger, run, f"{request.approver} approved already; another person has to")
    try:
        envelope = request_approval(settings.verifier_url, request)
        return record(settings, store, ledger, run, SignedDecision(envelope=envelope, reason=request.reason))
    except (ApprovalRefused, ServiceUnreachable) as refused:  # a verifier that is down must not cost the run
        return _refuse(store, ledger, run, str(refused))


def record(settings: Settings, store: Store, ledger: Ledger, run: Run, signed: SignedDecision) -> Run:
    """Write a signed decision down: into the attestation, the ledger, the run's record. Repeatable in this order.

    The run is decided by a rejection, or by as many approvals as its feature asks for.

    Raises:
        ApprovalRefused: as `sign_off`.
    """
    assert run.release_id is not None
    found = sign_off(settings, ledger, run.release_id, run.run_id, signed.envelope)
    approval, now = found.approval, find_run(store, run.run_id)
    answer = Answer(
        approver=approval.approver,
        decision=approval.decision,
        reason=signed.reason if sha256_text(signed.reason) == approval.reason_digest else "",
        at=approval.at.isoformat(),
    )
    return change_run(
        store,
        run.run_id,
        attempts=now.attempts + 1,
        refusal=None,
        answers=[said.model_dump() for said in (*now.answers, *([] if answer in now.answers else [answer]))],
        decision=now.decision or ("reject" if approval.decision == "reject" else None if found.missing else "approve"),
    )


class SignedOff(NamedTuple):
    """A decision that was written down, and what is missing now until the release may live (None: nothing)."""

    approval: Approval
    missing: str | None


def sign_off(settings: Settings, ledger: Ledger, release_id: str, run_id: str, envelope: Envelope) -> SignedOff:
    """Write a signed decision on a release into its attestation and the ledger. Repeatable.

    The ledger has `approve` where nothing is missing any more, and `approval` for each one before that.

    Raises:
        ApprovalRefused: it is not signed by the trusted verifier, is on something else, or its approver may not decide.
    """
    releases = ReleaseStore.of(settings)
    feature = load_feature(settings.repo, releases.content(release_id).feature)
    approval = verify_approval(envelope, trust_dir=settings.trust_dir, subject=release_id, run_id=run_id)
    barred = may_approve(feature, approval, releases.attestation(release_id).get("authors") or ())
    if barred is not None:
        raise ApprovalRefused(barred)
    releases.attest(release_id, lambda known: with_approval(known, envelope))
    missing = missing_of(settings, release_id, run_id)
    event = "approval" if approval.decision == "approve" and missing else approval.decision
    facts = {"run": run_id, "approver": approval.approver, "kind": approval.approver_kind}
    # the reason itself is free text, which nobody could take out of the ledger again
    facts |= {"reason_sha256": approval.reason_digest} if approval.reason_digest else {}
    ledger.append_once(event, release_id, **facts)
    return SignedOff(approval, missing)


def missing_of(settings: Settings, release_id: str, run_id: str) -> str | None:
    """What is missing until a release may live, by its signed approvals and its feature's policy; None: nothing."""
    releases = ReleaseStore.of(settings)
    feature = load_feature(settings.repo, releases.content(release_id).feature)
    approvals = []
    for given in releases.attestation(release_id).get("approvals") or []:
        if given["statement"].get("run_id") == run_id:
            envelope = Envelope.model_validate(given)
            approvals.append(verify_approval(envelope, trust_dir=settings.trust_dir, subject=release_id, run_id=run_id))
    return standing(approvals, at_least=feature.approval.needed)


def still_waits(
    settings: Settings, store: Store, ledger: Ledger, channels: Channels, run: Run, *, now: datetime
) -> Run:
    """The run; one that waited too long, or whose champion changed since the report, is ended first. Repeatable."""
    if run.state != "awaiting" or run.decision is not None:
        return run
    assert run.release_id is not None
    champion = channels.read(run.feature).stable
    ended = _over(run, champion, load_feature(settings.repo, run.feature).approval.expire_after_h, now)
    if ended is None:
        return run
    ledger.append_once(f"approval {ended.how}", run.release_id, run=run.run_id, champion=champion)
    return end(settings, store, run.run_id, state="done", decision=ended.how, refusal=ended.why)


class _Ended(NamedTuple):
    """How a wait ended that nobody decided on, and why."""

    how: Literal["expired", "stale"]
    why: str


def _over(run: Run, champion: str, limit_h: float, now: datetime) -> _Ended | None:
    next_one = f"The run ends; start another with `ratchet run {run.feature}`"
    if champion != run.champion_id:
        then = str(run.champion_id)[:16]
        why = f"{run.feature} serves {champion[:16]} now, and the report compares with {then}: it no longer holds"
        return _Ended("stale", f"{why}. {next_one}")
    if run.waits_since and now - datetime.fromisoformat(run.waits_since) > timedelta(hours=limit_h):
        return _Ended("expired", f"nobody decided within {limit_h:g} hours (approval.expire_after_h). {next_one}")
    return None


def carry_out(settings: Settings, store: Store, ledger: Ledger, channels: Channels, run_id: str) -> Run:
    """Tag an approved run's commit and start its rollout. Needs git and the store only, and may be repeated.

    Raises:
        ApprovalRefused: the record says so, and the signatures do not.
    """
    run = find_run(store, run_id)
    assert run.release_id is not None and run.commit is not None and run.champion_id is not None
    if run.decision != "approve":
        return run
    if (missing := missing_of(settings, run.release_id, run_id)) is not None:
        raise ApprovalRefused(f"run {run_id} is recorded as approved, but its signatures say: {missing}")
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
