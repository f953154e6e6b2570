"""`ratchet audit verify`: whether the ledger is whole."""

from __future__ import annotations

from typing import Any

import typer

from cli.session import Json, console, open_session, print_json


def register(app: typer.Typer) -> None:
    """Add the commands."""
    sub = typer.Typer(no_args_is_help=True, help="The ledger: who decided what, when, on which evidence.")
    sub.callback()(lambda: None)
    sub.command()(verify)
    sub.command()(log)
    app.add_typer(sub, name="audit")


def verify(as_json: Json = False) -> None:
    """Check the ledger's hash chain and its checkpoints; exit 1, naming the entry, where it is broken.

    Example: [bold]ratchet audit verify[/bold]
    """
    with open_session() as session:
        settings = session.settings
        public_key = settings.ledger_key.with_suffix(".pub")
        has_checkpoints = settings.checkpoints_dir.is_dir() and public_key.is_file()
        signed = (settings.checkpoints_dir, public_key) if has_checkpoints else (None, None)
        report = session.ledger.verify(*signed)
    if as_json:
        print_json({**report._asdict(), "whole": True})
        return
    told = f"{report.entries} entries, {report.checkpoints} signed checkpoints, head {report.head_digest[:16]}"
    console.print(f"the ledger is whole: {told}")


def log(as_json: Json = False) -> None:
    """Print the ledger, oldest entry first.

    Example: [bold]ratchet audit log --json[/bold]
    """
    with open_session() as session:
        entries: list[dict[str, Any]] = [
            {"seq": e.seq, "at": e.at, "event": e.event, "subject": e.subject, "facts": e.facts}
            for e in session.ledger.entries()
        ]
    if as_json:
        print_json(entries)
        return
    for entry in entries:
        facts = " ".join(f"{k}={v}" for k, v in sorted(entry["facts"].items()))
        console.print(f"{entry['seq']:>4} {entry['at']} {entry['event']} {entry['subject'][:24]} {facts}", markup=False)
