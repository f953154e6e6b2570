"""`ratchet demo`: one whole improvement cycle on this machine, with the real parts, told as it goes.

Where it stands is kept in RATCHET_HOME/demo/<feature>.json, so that a second `make demo` takes up an unfinished cycle.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.approve import answer
from cli.demo_data import DemoData, bundled, from_source
from cli.demo_sabotage import scene, second_act
from cli.demo_table import print_result
from cli.people import keep_secret
from cli.records import replay_file
from cli.rollout_watch import watch_rollout
from cli.run import Started, answer_as_machine, follow, start, ui_address
from cli.services import running
from cli.session import Session, console, open_session
from cli.waiting import wait_for_person
from ratchet import git
from ratchet.approvals import enrol
from ratchet.errors import BadInput, GitIdentityMissing, RatchetError
from ratchet.features import load_feature
from ratchet.files import read_json, write_json
from ratchet.runs import Run, find_run
from ratchet.settings import read_secret
from tasks.add_holdout import add_holdout
from tasks.first_release import ensure_first_release
from tasks.replay import load_messages

PERSON, MACHINE = "demo-approver", "demo-machine"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    source: Annotated[str | None, typer.Option(help='a folder or JSONL of {"text","label"}: your own data')] = None,
    routes: Annotated[int, typer.Option(help="with --source: the most frequent labels to take", min=2)] = 10,
    yes: Annotated[bool, typer.Option("--yes", help="let the enrolled machine approver decide")] = False,
    sabotage: Annotated[bool, typer.Option("--sabotage", help="second act: a worse release, and its way back")] = False,
) -> None:
    """One whole improvement cycle: replayed customers, feedback, training, proof, approval, canary, stable.

    Examples: [bold]ratchet demo --yes[/bold] · [bold]ratchet demo --source my_tickets.jsonl --routes 8[/bold] ·
    [bold]ratchet demo --sabotage[/bold]
    """
    with open_session() as session:
        lend_identity(session.settings.repo)
        if sabotage:
            on = scene(session, Path(source) if source else None, routes)
            with parts_of(session, f"{on.feature}, second act") as parts:
                prepare(session, on.feature)
                second_act(session, on, parts, approver=MACHINE)
            return
        data = from_source(session, Path(source), routes) if source else bundled(session)
        state = read_state(session, data.feature)
        if state.get("phase") == "done":
            console.print("nothing is new: this cycle is finished. `make reset` starts over.\n")
            print_result(session, find_run(session.store, state["run_id"]))
            return
        if not yes and not sys.stdin.isatty():
            raise BadInput("no terminal to ask for an approval at: use `make demo YES=1`, and a machine approves")
        with parts_of(session, data.feature):
            run = cycle(session, data, state, yes=yes)
            save_state(session, data.feature, {"phase": "done", "run_id": run.run_id})
            print_result(session, run)


@contextmanager
def parts_of(session: Session, title: str) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """All real parts, up for the block, with their log in a file."""
    path = session.settings.home / "demo" / "services.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    console.print(f"[bold]Ratchet demo: {title}[/bold]  (the parts' log: {path})")
    with (
        path.open("a", encoding="utf-8") as log,
        running(session.settings, with_schedules=False, say=_say_dim, log=lambda line: _write(log, line)) as parts,
    ):
        yield parts


def lend_identity(repo: Path) -> None:
    """Let the demo's runs commit on a machine where git does not know who you are; nothing is configured."""
    try:
        git.identity(repo)
    except GitIdentityMissing:
        console.print("git does not know who you are: this demo commits its runs as 'Ratchet demo'")
        for role in ("AUTHOR", "COMMITTER"):
            os.environ[f"GIT_{role}_NAME"], os.environ[f"GIT_{role}_EMAIL"] = "Ratchet demo", "demo@localhost"


def cycle(session: Session, data: DemoData, state: dict[str, Any], *, yes: bool) -> Run:
    """The steps of the cycle; those that an earlier demo finished are skipped."""
    secret = prepare(session, data.feature)
    if "replayed" not in state:
        console.print("\n[bold]1. v1 serves[/bold]; a replayer acts as customers and support agents")
        replay_file(session.settings, data.feature, load_messages(data.traffic))
        state = save_state(session, data.feature, {**state, "replayed": True})
    if "holdout" not in state:
        added = hold_out(session, data)
        console.print(f"   holdout: {added[0]} messages labelled blind, {added[1]} in the showcase")
        state = save_state(session, data.feature, {**state, "holdout": True})
    run = improve(session, data, state, secret=secret, yes=yes)
    if run.outcome == "accept" and run.decision == "approve":
        console.print("\n[bold]3. rollout[/bold]: canary steps, decided by what users do, while traffic goes on")
        watch_rollout(session, data, run)
    return run


def prepare(session: Session, feature: str) -> str:
    """Make v1 and enrol the demo's approvers once. Returns the person's secret, which only a demo keeps."""
    ensure_first_release(session.settings, session.store, session.ledger, session.channels, feature)
    settings = session.settings
    kept = settings.secrets_dir / f"approver-{PERSON}"
    if not kept.exists():
        token = read_secret(settings, "verifier-enrol")
        keep_secret(settings, PERSON, enrol(settings.verifier_url, token, PERSON, "person").secret)
        keep_secret(settings, MACHINE, enrol(settings.verifier_url, token, MACHINE, "machine").secret)
    return kept.read_text().strip()


def hold_out(session: Session, data: DemoData) -> tuple[int, int]:
    """Add the holdout, after the replay: what is trained on arrived before what is judged on."""
    known = load_feature(session.settings.repo, data.feature)
    added = add_holdout(
        session.settings,
        session.ledger,
        known,
        data.holdout,
        showcase=data.showcase,
        share=0,
        now=datetime.now(UTC),
    )
    return added.holdout, added.showcase


def improve(session: Session, data: DemoData, state: dict[str, Any], *, secret: str, yes: bool) -> Run:
    """Start the flow, or follow the one that an earlier demo left, until its release is approved or refused."""
    console.print(f"\n[bold]2. flow improve[/bold]  ({ui_address(session)} shows it)")
    started = resumable(session, state) or start(session, data.feature, None)
    save_state(session, data.feature, {**state, "run_id": started.run_id, "flow_run_id": started.flow_run_id})

    def on_wait(run: Run) -> None:
        if run.refusal:
            console.print(f"   refused: {run.refusal}", markup=False)
        if yes:
            answer(session, run, answer_as_machine(session, run), wait=False)
            console.print(f"   approved by the machine approver {MACHINE}, which the feature allows")
        else:
            wait_for_person(session, run, approver=PERSON, secret=secret, ui=ui_address(session))

    run = follow(session, started, say=console.print, on_wait=on_wait)
    if run.state == "failed":
        raise RatchetError(run.error or "the run failed")
    return run


def resumable(session: Session, state: dict[str, Any]) -> Started | None:
    """The run that an earlier demo started, if it can still go on: one that waits, or one that was approved."""
    if "run_id" not in state:
        return None
    document = session.store.document("run", state["run_id"])
    if document is None or document.body["state"] not in ("awaiting", "done"):
        return None
    return Started(state["run_id"], state["flow_run_id"])


def read_state(session: Session, feature: str) -> dict[str, Any]:
    """Where the demo of a feature stands."""
    path = session.settings.home / "demo" / f"{feature}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    return dict(read_json(path)) if path.is_file() else {}


def save_state(session: Session, feature: str, state: dict[str, Any]) -> dict[str, Any]:
    """Keep where the demo stands. Returns the state."""
    write_json(session.settings.home / "demo" / f"{feature}.json", state)
    return state


def _say_dim(text: str) -> None:
    console.print(f"   [dim]{text}[/dim]")


def _write(log: Any, line: str) -> None:
    if not log.closed:
        log.write(line + "\n")
        log.flush()
