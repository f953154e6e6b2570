"""`ratchet pull`: interactions and feedback from where a team keeps them; the flow `pull` does the same each hour."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cli.records import bar
from cli.session import Json, Session, console, open_session, print_json
from ratchet.errors import BadInput
from ratchet.features import Feature, load_feature
from tasks.pull import OnProgress, PullReport

app = typer.Typer(no_args_is_help=True, help="Interactions and feedback from Langfuse, S3 or a dataset.")
Named = Annotated[str, typer.Option("--feature", help="the feature that what is read belongs to")]


@app.command()
def langfuse(
    feature: Named,
    since: Annotated[str | None, typer.Option(help="read from this day on (2026-01-31), also what was read")] = None,
    as_json: Json = False,
) -> None:
    """Pull traces and scores from a Langfuse project: what is new since the last pull, at first 30 days.

    The address and keys are in the environment (RATCHET_LANGFUSE_URL, …_PUBLIC_KEY, …_SECRET_KEY), the kinds of
    feedback that score names stand for in feature.yaml (sources.langfuse.scores).
    Example: [bold]ratchet pull langfuse --feature support_routing --since 2026-01-01[/bold]
    """
    from tasks.pull_langfuse import pull_langfuse

    start = _day(since) if since is not None else None
    now = datetime.now(UTC)
    _pull(
        feature,
        as_json,
        lambda session, known, tick: pull_langfuse(
            session.settings, session.store, known, now=now, since=start, on_progress=tick
        ),
    )


@app.command()
def s3(
    feature: Named,
    uri: Annotated[str | None, typer.Argument(help="s3://bucket/prefix; default: sources.s3 of feature.yaml")] = None,
    format: Annotated[str, typer.Option(help="as of `ratchet import`; auto tells it from the first rows")] = "auto",
    as_json: Json = False,
) -> None:
    """Pull the objects below an S3 prefix, each once; a changed object is read again, which adds what is new in it.

    Credentials are those of the AWS tools (AWS_ACCESS_KEY_ID and so on); RATCHET_S3_ENDPOINT names another S3.
    Example: [bold]ratchet pull s3 s3://logs/chat/2026/ --feature support_routing[/bold]
    """
    from tasks.pull_s3 import pull_s3

    _pull(
        feature,
        as_json,
        lambda session, known, tick: pull_s3(
            session.settings, session.store, known, uri, format=format, on_progress=tick
        ),
    )


@app.command()
def dataset(
    feature: Named,
    path: Annotated[Path, typer.Argument(help="a folder of save_to_disk, of Parquet or of JSONL, or one such file")],
    column: Annotated[list[str] | None, typer.Option(help="FIELD=COLUMN, as text=question; may stand again")] = None,
    split: Annotated[str | None, typer.Option(help="the split to read, where there are several")] = None,
    as_json: Json = False,
) -> None:
    """Pull a dataset on this machine: questions with answers, and right outputs as corrections.

    Fields: text or messages, output, expected, id, at, session, user, tenant; a column of that name needs no --column.
    Example: [bold]ratchet pull dataset ./faq --feature support_routing --column text=question[/bold]
    """
    from tasks.pull_dataset import pull_dataset

    pairs = [pair.partition("=") for pair in column or []]
    if not all(field and name for field, _, name in pairs):
        raise BadInput("--column is given as FIELD=COLUMN, for example text=question")
    columns = {field: name for field, _, name in pairs}
    _pull(
        feature,
        as_json,
        lambda session, known, tick: pull_dataset(
            session.settings, session.store, known, path, columns=columns, split=split, on_progress=tick
        ),
    )


def _pull(feature: str, as_json: bool, run: Callable[[Session, Feature, OnProgress], PullReport]) -> None:
    with open_session() as session, bar() as progress:
        known = load_feature(session.settings.repo, feature)
        task = progress.add_task("pulling", total=None)
        report = run(session, known, lambda read: progress.update(task, completed=read))
    if as_json:
        print_json(report.facts())
        return
    rejected = sum(report.rejected.values())
    told = f"{report.accepted} new, {report.known} known, {rejected} rejected"
    unchanged = f"; {report.unchanged} objects unchanged" if report.unchanged else ""
    console.print(f"{feature}: {report.read} records: {told}{unchanged}", markup=False)
    for reason, count in sorted(report.rejected.items()):
        console.print(f"  {count} x {reason}", markup=False)
    if report.rejects:
        console.print(f"  listed in {report.rejects}", markup=False)


def _day(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInput(f"--since {text}: not a day or time as 2026-01-31 or 2026-01-31T12:00:00Z") from error
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
