"""`ratchet try`: one page about one's own logs, before anything is set up."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

import typer

from cli.records import bar
from cli.session import Json, console, print_json
from ratchet.features import feature_names
from ratchet.files import write_whole
from ratchet.settings import Settings
from tasks.try_out import Facts, try_out
from tasks.try_out.findings import findings
from tasks.try_out.page import render
from tasks.try_out.summary import summary


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("try")(try_)


def try_(
    files: Annotated[list[Path], typer.Argument(help="logs in any format that `ratchet import` reads")],
    format: Annotated[str, typer.Option(help="auto, or the format of all files")] = "auto",
    feature: Annotated[str | None, typer.Option(help="a name for rows that name no feature")] = None,
    out: Annotated[Path, typer.Option(help="the page")] = Path("try.html"),
    as_json: Json = False,
) -> None:
    """What your own logs say: one HTML page. No account, no gateway, no training; nothing is stored or sent.

    Which requests go wrong, who asks again, what leaks, what the last change did, how long a canary would take, and
    the cheapest safe next step.
    Examples: [bold]ratchet try logs.jsonl[/bold] · [bold]ratchet try traces.jsonl scores.jsonl --out page.html[/bold]
    """
    facts = gather_facts(files, format, feature)
    write_whole(out, render(facts, key=secrets.token_bytes(32)))
    if as_json:
        print_json({"page": str(out), **summary(facts)})
        return
    size, judged = facts.counts.size, facts.counts.judged
    console.print(f"{size.interactions:,} interactions, {judged.n:,} judged, {judged.k:,} of them bad", markup=False)
    for finding in findings(facts):
        console.print(f"  - {finding.text}", markup=False)
    console.print(f"next: {facts.step.title}", markup=False)
    console.print(f"the page: {out}", markup=False)


def gather_facts(files: list[Path], format: str, feature: str | None) -> Facts:
    """Read the files with a progress bar."""
    with bar() as progress:
        task = progress.add_task("reading", total=None)

        def on_progress(what: str, records: int | None) -> None:
            progress.update(task, description=what, completed=records)

        known = feature_names(Settings.from_env().repo)
        return try_out(files, format, feature=feature, known=known, on_progress=on_progress)
