"""Waiting for a person: what to open, what to type, and a one-time code that is kept fresh on the screen."""

from __future__ import annotations

import time
from contextlib import nullcontext

import pyotp
from rich.live import Live
from rich.text import Text

from cli.session import Session, console
from ratchet.runs import Run, find_run


def wait_for_person(session: Session, run: Run, *, approver: str, secret: str, ui: str) -> None:
    """Show how to approve until somebody answered."""
    assert run.release_id is not None
    digest = run.release_id[4:16]
    console.print(
        "\n[bold]   your turn:[/bold] the gate accepted, and a release goes live only when a person approves it"
    )
    for reason in run.reasons:
        console.print(f"   {reason}", markup=False)
    console.print(f"   report    {session.settings.home / 'reports' / run.run_id / 'report.html'}", markup=False)
    console.print(f"   in the UI {ui}/runs/flow-run/{run.flow_run_id}  (Resume; the form asks for what stands here)")
    console.print("   or type, in another terminal in this folder:")
    # A terminal shows one line that is kept fresh; elsewhere (a pipe, a log) each new code is a new line.
    with Live(console=console, refresh_per_second=2) if console.is_terminal else nullcontext() as live:
        told = ""
        while True:
            now = find_run(session.store, run.run_id)
            if now.attempts > run.attempts or now.state != "awaiting":
                return
            line = code_line(run, digest, approver, secret)
            if live is not None:
                live.update(line)
            elif line.plain != told:
                console.print(line, soft_wrap=True)
                told = line.plain
            time.sleep(0.5)


def code_line(run: Run, digest: str, approver: str, secret: str) -> Text:
    """The line to type, with the code that is good now."""
    code = pyotp.TOTP(secret).now()
    command = f".venv/bin/ratchet approve {run.run_id} --digest {digest} --approver {approver} --code {code}"
    return Text(f"   {command}", style="bold")
