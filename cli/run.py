"""`ratchet run`: one improvement cycle through the Prefect flow, followed from here."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pyotp
import typer

from cli.approve import answer
from cli.prefect_api import flow_run_state, start_flow_run
from cli.session import Json, Session, console, neutral, open_session, print_json, short
from cli.status import answers_told
from ratchet import git
from ratchet.errors import ApprovalRefused, BadInput, LeaseHeld, NothingNew, RatchetError, ServiceUnreachable
from ratchet.features import load_feature
from ratchet.params import ARMS, load_params
from ratchet.runs import Run, runs_of
from tasks.plan_look import plan_look, refuse_unsupported

PROGRESS = re.compile(r"\d+/\d+ \(\d+%\)")
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED", "MISSING")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(run)


def run(
    feature: Annotated[str, typer.Argument(help="the feature to improve")],
    arms: Annotated[str | None, typer.Option(help="arms to try, by comma: fewshot,sft")] = None,
    auto_approve: Annotated[bool, typer.Option(help="let the enrolled machine approver decide")] = False,
    wait: Annotated[bool, typer.Option(help="follow the rollout to its end")] = False,
    as_json: Json = False,
) -> None:
    """One improvement cycle: harvest, validate, curate, tune, evaluate, gate, approval, rollout.

    Ends once the release is approved and its rollout exists. Exit status: 0 after any verdict, 2 when the data was
    too bad to learn from, 3 without new feedback.

    Examples: [bold]ratchet run support_routing[/bold] · [bold]ratchet run support_routing --auto-approve --wait[/bold]
    """
    with open_session() as session:
        chosen = _arms(arms)
        known = load_feature(session.settings.repo, feature)
        load_params(session.settings.repo / "params.yaml")
        git.identity(session.settings.repo)
        refuse_second(session, feature)
        refuse_unsupported(session.settings.repo, known, session.ledger)
        say: Callable[[str], None] = (lambda _: None) if as_json else console.print
        started = start(session, feature, chosen)
        say(f"run [bold]{started.run_id}[/bold]")
        for line in plan_look(session.settings.repo, known, session.ledger):
            say(f"  [dim]{line}[/dim]")
        done = follow(session, started, say=say, on_wait=_on_wait(session, auto_approve, say))
        if wait and done.rollout_id:
            follow_rollout(session, done.rollout_id, say)
        if as_json:
            print_json(done.model_dump(mode="json"))
        else:
            print_run(done)
            if done.outcome == "blocked":
                report = session.settings.home / "reports" / done.run_id / "data_report.html"
                console.print(f"  what the data looks like: {report}", markup=False, soft_wrap=True)
    _exit(done)


class Started(NamedTuple):
    """A run that was started, by its own id and its flow run's."""

    run_id: str
    flow_run_id: str


def start(session: Session, feature: str, arms: list[str] | None) -> Started:
    """Start the flow. The flow derives the run's id from its flow run in the same way."""
    parameters: dict[str, Any] = {"feature": feature, **({"arms": arms} if arms else {})}
    flow_run_id = start_flow_run(session.settings, "improve/improve", parameters)
    return Started(f"{feature}-{flow_run_id[:8]}", flow_run_id)


def refuse_second(session: Session, feature: str) -> None:
    """Refuse early what the flow would refuse anyway: a second run beside one that waits for a person."""
    for other in runs_of(session.store, feature):
        holds = other.state == "awaiting" and session.store.lease_owner(other.lease) == other.run_id
        if holds and not _is_over(session, other):  # the next flow sweeps the lease of one that is over
            raise LeaseHeld(
                f"a second run of {feature} is refused: run {other.run_id} waits for an approval; "
                f"`ratchet approve {other.run_id}` or `ratchet reject {other.run_id} --reason ...` comes first"
            )


def follow(
    session: Session,
    started: Started,
    *,
    say: Callable[[str], None],
    on_wait: Callable[[Run], None],
    poll_s: float = 0.5,
) -> Run:
    """Print a run's progress until it is done; `on_wait` is called each time it waits for an answer.

    Raises:
        RatchetError: the run failed; the message is its error.
    """
    told = 0
    doing = ""
    asked = -1
    read = 0
    while True:
        document = session.store.document("run", started.run_id)
        if document is not None:
            run = Run.model_validate(document.body)
            for timing in run.stages[told:]:
                say(f"  {timing.stage:<14} {timing.state:<9} {timing.seconds:6.1f} s")
            told = max(told, len(run.stages))
            if run.now and run.now != doing:
                say(f"  [dim]{run.now} ...[/dim]")
            lines, read = new_progress(session.settings.runs_dir / f"{run.run_id}.log", read)
            for line in lines:
                say(f"  [dim]  {neutral(line, 120)}[/dim]")
            doing = run.now
            if run.state in ("done", "failed"):
                return run
            if run.state == "awaiting" and run.decision is None and run.attempts != asked and _waits(session, run):
                asked = run.attempts
                on_wait(run)
        _refuse_dead(session, started)
        time.sleep(poll_s)


def new_progress(log: Path, read: int) -> tuple[list[str], int]:
    """The progress lines that the stages have written since byte `read`, and how far the log is read now."""
    if not log.is_file():
        return [], read
    with log.open("rb") as file:
        file.seek(read)
        whole, _, rest = file.read().rpartition(b"\n")
        lines = whole.decode("utf-8", "replace").splitlines()
        return [line for line in lines if PROGRESS.search(line)], file.tell() - len(rest)


def follow_rollout(session: Session, rollout_id: str, say: Callable[[str], None]) -> None:
    """Print a rollout's steps until it is promoted or rolled back."""
    shown = None
    while True:
        document = session.store.document("rollout", rollout_id)
        assert document is not None
        now = (document.body["state"], document.body["step"])
        if now != shown:
            say(f"rollout {rollout_id}: {now[0]}, step {now[1]}")
            shown = now
        if now[0] in ("promoted", "rolled_back"):
            return
        time.sleep(2)


def answer_as_machine(session: Session, run: Run) -> dict[str, Any]:
    """The answer of the enrolled machine approver that feature.yaml allows, with its own one-time code.

    Raises:
        BadInput: the feature allows none, or none of those is enrolled on this machine.
    """
    for name in load_feature(session.settings.repo, run.feature).approval.machine_approvers:
        path = session.settings.secrets_dir / f"approver-{name}"
        if path.is_file():
            assert run.release_id is not None
            return {
                "decision": "approve",
                "approver": name,
                "digest_prefix": run.release_id[4:16],
                "code": pyotp.TOTP(path.read_text().strip()).now(),
                "reason": "the gate accepted, and the feature allows this machine to approve",
            }
    raise BadInput(
        f"{run.feature} has no machine approver on this machine: allow one in its feature.yaml "
        "(approval.machine_approvers) and enrol it with `ratchet people add NAME --machine`"
    )


def print_run(run: Run) -> None:
    """Print what a run came to."""
    console.print(f"\n[bold]{run.run_id}: {run.outcome or run.state}[/bold]")
    for reason in run.reasons:
        console.print(f"  {reason}", markup=False)
    for stage, counts in run.rows.items():
        told = ", ".join(f"{k} {v}" for k, v in sorted(counts.items()) if isinstance(v, int))
        console.print(f"  rows, {stage}: {told}")
    if run.release_id:
        console.print(f"  candidate {short(run.release_id)} {run.version or '(no version: not approved)'}")
    if run.rollout_id:
        console.print(f"  rollout {run.rollout_id}: follow it with `ratchet rollout status {run.feature}`")
    for line in answers_told(run.model_dump(mode="json")):
        console.print(f"  {line}")
    if run.error:
        console.print(f"  {run.error}", markup=False)


def _on_wait(session: Session, auto_approve: bool, say: Callable[[str], None]) -> Callable[[Run], None]:
    def on_wait(run: Run) -> None:
        if run.refusal:
            if auto_approve:
                raise ApprovalRefused(f"the machine approver was refused: {run.refusal}")
            say(f"  refused: {neutral(run.refusal)}")
        if auto_approve:
            answer(session, run, answer_as_machine(session, run), wait=False)
            return
        assert run.release_id is not None
        digest = run.release_id[4:16]
        say(f"  waits for an approval: the form at {ui_address(session)}/runs/flow-run/{run.flow_run_id}, or")
        say(f"  [bold]ratchet approve {run.run_id} --digest {digest} --approver YOU --code 123456[/bold]")

    return on_wait


def ui_address(session: Session) -> str:
    """Where the Prefect UI is."""
    return session.settings.prefect_api_url.removesuffix("/api")


def _waits(session: Session, run: Run) -> bool:
    """Whether the flow run is suspended by now; until then it would not take an answer."""
    return run.flow_run_id is not None and flow_run_state(session.settings, run.flow_run_id)[0] == "PAUSED"


def _is_over(session: Session, run: Run) -> bool:
    """Whether the flow run of a run that waits has ended, so that nobody will ever read an answer."""
    try:
        return run.flow_run_id is not None and flow_run_state(session.settings, run.flow_run_id)[0] in FINAL
    except ServiceUnreachable:
        return False


def _refuse_dead(session: Session, started: Started) -> None:
    """Raise if the flow run of a run that is not over has ended: refused, crashed or cancelled."""
    kind, message = flow_run_state(session.settings, started.flow_run_id)
    if kind not in FINAL:
        return
    document = session.store.document("run", started.run_id)
    if document is None or document.body["state"] not in ("done", "failed"):
        raise RatchetError(f"run {started.run_id} ended without a result ({kind.lower()}): {message or 'no message'}")


def _arms(arms: str | None) -> list[str] | None:
    if arms is None:
        return None
    chosen = [arm.strip() for arm in arms.split(",") if arm.strip()]
    unknown = [arm for arm in chosen if arm not in ARMS]
    if unknown or not chosen:
        raise BadInput(f"unknown arm {', '.join(unknown) or '(none given)'}; there are: {', '.join(ARMS)}")
    return chosen


def _exit(run: Run) -> None:
    if run.state == "failed":
        raise RatchetError(run.error or "the run failed")
    if run.outcome == "nothing_new":
        raise NothingNew(" ".join(run.reasons))
    if run.outcome == "blocked":
        raise BadInput("the data was too bad to learn from: " + " ".join(run.reasons))
