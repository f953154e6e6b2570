"""`ratchet probe`: whether a hosted model was changed without a word."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import typer

from cli.session import Json, console, neutral, open_session, print_json
from tasks.probe import probe_all


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(probe)


def probe(as_json: Json = False) -> None:
    """Ask each hosted model the prompts of features/_probe, and hold its answers against those of the days before.

    The worker does so every day. A change beyond the model's own variation goes into the ledger and `ratchet status`.
    Example: [bold]ratchet probe[/bold]
    """
    with open_session() as session:
        now = datetime.now(UTC)
        found = probe_all(session.settings, session.store, session.ledger, environ=os.environ, now=now)
    if as_json:
        print_json([one.model_dump(mode="json", exclude={"answers"}) for one in found])
        return
    for one in found:
        asked = f"{sum(map(len, one.answers.values()))} answers, {one.failed} failed"
        alike = f"{one.similarity_to_before} like those before, {one.similarity_within} among themselves, p {one.p}"
        compared = "nothing to compare with yet" if one.p is None else alike
        console.print(f"{neutral(one.subject)}: {asked}; {compared}")
        for reason in one.reasons:
            console.print(f"  [bold]CHANGED[/bold] {neutral(reason)}")
    if not found:
        console.print("no hosted model: the backends file names none under `models` of a hosted preset")
