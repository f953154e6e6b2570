"""`ratchet approve` and `ratchet reject`: a decision on a run that waits, with the approver's one-time code."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from cli.prefect_api import flow_run_state, resume_flow_run
from cli.session import Json, Session, console, open_session, print_json
from ratchet.errors import ApprovalRefused, BadInput, RatchetError
from ratchet.runs import Run, find_run

Approver = Annotated[str, typer.Option(help="your name, as enrolled", prompt="Approver")]
Code = Annotated[str, typer.Option(help="your one-time code", prompt="One-time code")]
Digest = Annotated[
    str,
    typer.Option(
        help="the first 8 or more characters of the release's digest, from the report",
        prompt="First characters of the release's digest",
    ),
]

SETTLE_S = 20


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(approve)
    app.command()(reject)


def approve(
    run: Annotated[str, typer.Argument(help="the run, as `ratchet status` shows it")],
    digest: Digest,
    approver: Approver,
    code: Code,
    reason: Annotated[str, typer.Option(help="why (kept with the approval)")] = "",
    as_json: Json = False,
) -> None:
    """Let the release of a run go live.

    Example: [bold]ratchet approve support_routing-1a2b3c4d --digest 5e6f7a8b --approver ana --code 123456[/bold]
    """
    _decide(run, "approve", digest, approver, code, reason, as_json)


def reject(
    run: Annotated[str, typer.Argument(help="the run, as `ratchet status` shows it")],
    reason: Annotated[str, typer.Option(help="why; the feature's owner reads it", prompt="Reason")],
    digest: Digest,
    approver: Approver,
    code: Code,
    as_json: Json = False,
) -> None:
    """Keep the release of a run from going live.

    Example: [bold]ratchet reject support_routing-1a2b3c4d --reason "tone" --digest 5e6f7a8b[/bold]
    """
    if not reason.strip():
        raise BadInput("a rejection needs a reason: the feature's owner learns from it")
    _decide(run, "reject", digest, approver, code, reason, as_json)


def answer(session: Session, run: Run, submission: dict[str, Any], *, wait: bool = True, limit_s: float = 120) -> Run:
    """Answer the form that a run waits with; with `wait`, until the verifier's word is in the run's record.

    Raises:
        ApprovalRefused: the verifier refused; the run goes on waiting.
    """
    if run.flow_run_id is None or run.state != "awaiting":
        raise BadInput(f"run {run.run_id} does not wait for an approval: it is {run.state} ({run.outcome})")
    deadline = time.monotonic() + limit_s
    settles = time.monotonic() + SETTLE_S  # after a refusal the flow needs some seconds to suspend again
    while flow_run_state(session.settings, run.flow_run_id)[0] != "PAUSED" and time.monotonic() < settles:
        time.sleep(0.5)
    resume_flow_run(session.settings, run.flow_run_id, submission)
    while wait:
        now = find_run(session.store, run.run_id)
        if now.decision is not None and now.state == "done":
            return now
        if now.attempts > run.attempts and now.refusal is not None:
            raise ApprovalRefused(f"refused: {now.refusal}; run {run.run_id} goes on waiting")
        if now.state == "failed":
            raise RatchetError(now.error or "the run failed")
        if time.monotonic() > deadline:
            raise RatchetError(f"run {run.run_id} did not take the answer up in {limit_s:.0f} s; is `make up` running?")
        time.sleep(0.5)
    return run


def _decide(run: str, decision: str, digest: str, approver: str, code: str, reason: str, as_json: bool) -> None:
    submission = {
        "decision": decision,
        "approver": approver,
        "digest_prefix": digest.removeprefix("rel_"),
        "code": code,
        "reason": reason,
    }
    with open_session() as session:
        done = answer(session, find_run(session.store, run), submission)
    if as_json:
        print_json(done.model_dump(mode="json"))
    else:
        told = f"{done.version} goes to the canary" if decision == "approve" else "the release is refused"
        console.print(f"{decision} by {approver}: {told}")
