"""`ratchet approve` and `ratchet reject`: a decision on a run that waits, with the approver's one-time code."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from cli.prefect_api import flow_run_state, resume_flow_run
from cli.session import Json, Session, console, open_session, print_json
from ratchet.errors import ApprovalRefused, BadInput, RatchetError
from ratchet.runs import Run, find_run
from tasks.approve import take_answer

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
    """Decide on a run that waits, and wake its flow once it is decided; with `wait`, until the decision is carried out.

    The code goes from here to the verifier: neither Prefect nor the flow gets to see it, or to choose what it is for.

    Raises:
        ApprovalRefused: the verifier refused, and the run goes on waiting; or its time or its champion is over.
    """
    if run.flow_run_id is None or run.state != "awaiting":
        raise BadInput(f"run {run.run_id} does not wait for an approval: it is {run.state} ({run.outcome})")
    now = take_answer(session.settings, session.store, session.ledger, session.channels, run, submission)
    if now.decision not in ("approve", "reject"):
        if now.refusal is not None:
            goes_on = "" if now.decision else f"; run {run.run_id} goes on waiting"
            raise ApprovalRefused(f"refused: {now.refusal}{goes_on}")
        return now
    _wake(session, now, submission | {"code": ""})
    deadline = time.monotonic() + limit_s
    while wait and (now := find_run(session.store, run.run_id)).state != "done":
        if now.state == "failed":
            raise RatchetError(now.error or "the run failed")
        if time.monotonic() > deadline:
            raise RatchetError(f"run {run.run_id} did not take the answer up in {limit_s:.0f} s; is `make up` running?")
        time.sleep(0.5)
    return now


def _wake(session: Session, run: Run, form: dict[str, Any]) -> None:
    """Resume the flow, which finds the decision in the run's record; flow `approvals` does it too, within a minute."""
    assert run.flow_run_id is not None
    settles = time.monotonic() + SETTLE_S  # after a refused form the flow needs some seconds to suspend again
    while flow_run_state(session.settings, run.flow_run_id)[0] != "PAUSED" and time.monotonic() < settles:
        time.sleep(0.5)
    try:
        resume_flow_run(session.settings, run.flow_run_id, form)
    except RatchetError:
        if find_run(session.store, run.run_id).state == "awaiting":
            raise  # else the other one was first


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
    elif done.decision is None:
        console.print(f"approve by {approver}: kept; the feature asks for two people, so another one has to approve")
    else:
        told = f"{done.version} goes to the canary" if decision == "approve" else "the release is refused"
        console.print(f"{decision} by {approver}: {told}")
