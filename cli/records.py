"""`ratchet import` and `ratchet replay`: the ways in besides the gateway."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cli.session import Json, console, open_session, print_json
from ratchet.errors import BadInput
from ratchet.features import load_feature
from ratchet.params import load_params
from ratchet.settings import Settings
from tasks.import_records import import_file
from tasks.replay import ReplayMessage, ReplayReport, load_messages, replay


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("import")(import_)
    app.command("replay")(replay_)


def import_(
    files: Annotated[list[Path], typer.Argument(help="JSONL of interactions and feedback, mixed or apart")],
    feature: Annotated[str | None, typer.Option(help="the feature of rows that name none")] = None,
    as_json: Json = False,
) -> None:
    """Import logged interactions and feedback. Importing a file again adds nothing.

    A bad row does not stop the file: it is counted by reason and listed, by line, in a rejects file.
    Example: [bold]ratchet import logs.jsonl thumbs.jsonl --feature support_routing[/bold]
    """
    facts = []
    with open_session() as session, bar() as progress:
        if feature is not None:
            load_feature(session.settings.repo, feature)
        for file in files:
            task = progress.add_task(file.name, total=None)
            rejects = session.settings.home / "imports" / f"{file.name}.rejects.jsonl"
            report = import_file(
                session.store,
                file,
                feature=feature,
                rejects=rejects,
                on_progress=lambda rows, task=task: progress.update(task, completed=rows),  # type: ignore[misc]
            )
            facts.append({"file": str(file), **vars(report), "rejected": dict(report.rejected)})
    if as_json:
        print_json(facts)
    for fact in facts if not as_json else []:
        rejected = sum(fact["rejected"].values())
        told = f"{fact['accepted']} new, {fact['known']} known, {rejected} rejected"
        console.print(f"{fact['file']}: {fact['rows']} rows: {told}", markup=False)
        for reason, count in sorted(fact["rejected"].items()):
            console.print(f"  {count} x {reason}", markup=False)
        if fact["rejects_file"]:
            console.print(f"  listed in {fact['rejects_file']}")
    if facts and all(sum(f["rejected"].values()) == f["rows"] > 0 for f in facts):
        named = ", ".join(fact["file"] for fact in facts)
        raise BadInput(f"no row of {named} could be used; the first: {facts[0]['first_rejected']}")


def replay_(
    feature: Annotated[str, typer.Argument(help="the feature")],
    file: Annotated[Path, typer.Argument(help='JSONL of {"text", "label" or "expected", "session"?, "user"?}')],
    as_json: Json = False,
) -> None:
    """Act as customers and support agents: send labelled messages through the gateway, give feedback on the answers.

    For demonstrations and tests; rates and noise are in params.yaml (replay).
    Example: [bold]ratchet replay support_routing data/demo/support_routing/traffic.jsonl[/bold]
    """
    settings = Settings.from_env()
    report = replay_file(settings, feature, load_messages(file))
    if as_json:
        print_json(vars(report))
    else:
        console.print(
            f"replayed {report.sent} messages: {report.thumbs} thumbs, {report.corrections} corrections, "
            f"{report.rephrases} rephrased, {report.failed} failed"
        )


def replay_file(settings: Settings, feature: str, messages: list[ReplayMessage]) -> ReplayReport:
    """Replay messages with a progress bar."""
    rates = load_params(settings.repo / "params.yaml").replay
    known = load_feature(settings.repo, feature)
    with bar() as progress:
        task = progress.add_task("replaying", total=len(messages))
        return asyncio.run(
            replay(
                messages,
                feature=known,
                gateway_url=settings.gateway_url,
                rates=rates,
                on_progress=lambda: progress.advance(task),
            )
        )


def bar() -> Progress:
    """A progress bar with counts and times, on stderr: stdout is for the facts."""
    label, counts, terminal = TextColumn("  {task.description}"), MofNCompleteColumn(), Console(stderr=True)
    return Progress(label, BarColumn(), counts, TimeElapsedColumn(), TimeRemainingColumn(), console=terminal)
