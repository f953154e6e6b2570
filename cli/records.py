"""`ratchet import` and `ratchet replay`: the ways in besides the gateway."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cli.session import Json, console, neutral, open_session, print_json
from ratchet.errors import BadInput
from ratchet.features import load_feature
from ratchet.files import sha256_text
from ratchet.params import load_params
from ratchet.settings import Settings
from tasks.formats import FORMATS
from tasks.formats.rows import UNDATED
from tasks.import_records import import_file
from tasks.replay import ReplayMessage, ReplayReport, load_messages, replay


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("import")(import_)
    app.command("replay")(replay_)


def import_(
    files: Annotated[list[Path], typer.Argument(help="files of interactions and feedback, plain or gzip")],
    feature: Annotated[str | None, typer.Option(help="the feature of the rows (of our own: that name none)")] = None,
    file_format: Annotated[str, typer.Option("--format", help=f"auto, {', '.join(FORMATS)}")] = "auto",
    at: Annotated[datetime | None, typer.Option(help="UTC time of rows of formats that have none")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="read and count, store nothing")] = False,
    as_json: Json = False,
) -> None:
    """Import logged interactions and feedback. Importing a file again adds nothing.

    A bad row does not stop the file: it is counted by reason and listed, by line, in a rejects file.
    Example: [bold]ratchet import traces.jsonl.gz --format langfuse --feature support_routing[/bold]
    """
    facts = []
    with open_session() as session, bar() as progress:
        if feature is not None:
            load_feature(session.settings.repo, feature)
        for file in files:
            task = progress.add_task(neutral(file.name), total=None)
            name = f"{file.name}.{sha256_text(str(file.resolve()))[:8]}.rejects.jsonl"
            report = import_file(
                session.store,
                file,
                feature=feature,
                rejects=session.settings.home / "imports" / name,
                on_progress=lambda rows, task=task: progress.update(task, completed=rows),  # type: ignore[misc]
                format=file_format,
                at=UNDATED if at is None else at.replace(tzinfo=UTC),
                is_dry_run=dry_run,
            )
            facts.append({"file": str(file), **vars(report), "rejected": dict(report.rejected)})
    if as_json:
        print_json(facts)
    for fact in facts if not as_json else []:
        _tell(fact, is_dry_run=dry_run)
    if facts and all(sum(f["rejected"].values()) == f["records"] > 0 for f in facts):
        named = ", ".join(fact["file"] for fact in facts)
        raise BadInput(f"no row of {named} could be used; the first: {facts[0]['first_rejected']}")


def _tell(fact: dict[str, Any], *, is_dry_run: bool) -> None:
    rejected = sum(fact["rejected"].values())
    new = f"{fact['accepted']} could be used" if is_dry_run else f"{fact['accepted']} new, {fact['known']} known"
    records = f" = {fact['records']} records" if fact["records"] != fact["rows"] else ""
    console.print(f"{fact['file']}: {fact['rows']} rows{records}: {new}, {rejected} rejected", markup=False)
    for reason, count in sorted(fact["rejected"].items()):
        console.print(f"  {count} x {reason}", markup=False)
    if fact["rejects_file"]:
        console.print(f"  listed in {fact['rejects_file']}", markup=False)


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
                gateway_key=settings.gateway_key,
                rates=rates,
                on_progress=lambda: progress.advance(task),
            )
        )


def bar() -> Progress:
    """A progress bar with counts and times, on stderr: stdout is for the facts."""
    label, counts, terminal = TextColumn("  {task.description}"), MofNCompleteColumn(), Console(stderr=True)
    return Progress(label, BarColumn(), counts, TimeElapsedColumn(), TimeRemainingColumn(), console=terminal)
