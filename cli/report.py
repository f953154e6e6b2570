"""`ratchet report`: the report of a run, its release card, and what releases promised beside what users showed."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from cli.session import Json, Session, console, open_session, print_json
from cli.status import answers_told
from ratchet.errors import BadInput
from ratchet.features import feature_names
from ratchet.files import read_json
from ratchet.runs import Run, runs_of
from ratchet.stats import Difference
from tasks.confront import facts_of, keep
from tasks.report.picture import Kept
from tasks.wording import points

PAGE, MARKDOWN, CARD, DATA_PAGE = "report.html", "report.md", "release_card.md", "data_report.html"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(report)


def report(
    name: Annotated[str, typer.Argument(help="a feature (its latest run with a report), or a run's id")],
    opens: Annotated[bool, typer.Option("--open/--no-open", help="open the page in a browser")] = True,
    markdown: Annotated[bool, typer.Option("--markdown", help="print it as Markdown")] = False,
    card: Annotated[bool, typer.Option("--card", help="print the release card")] = False,
    history: Annotated[bool, typer.Option("--history", help="promised and realised gain, release by release")] = False,
    as_json: Json = False,
) -> None:
    """Open the report of a run: the verdict, what got worse, what changes for users, cost, intervals, safety, lineage.

    Everything is on one page, which fetches nothing. Without a run, the page of the last `dvc repro` is opened.
    Example: [bold]ratchet report support_routing[/bold] · [bold]ratchet report support_routing --history[/bold]
    """
    with open_session() as session:
        if history:
            feature = _feature_of(session, name)
            _show_history(keep(session.store, session.ledger, session.releases, feature), as_json=as_json)
            return
        folder, run = find_report(session, name)
    if markdown or card:
        typer.echo(_text(folder, CARD if card else MARKDOWN), nl=False)
        return
    page = folder / (PAGE if (folder / PAGE).is_file() else DATA_PAGE)
    if as_json:
        print_json(_facts(folder, page, run))
        return
    console.print(str(page), markup=False, soft_wrap=True)
    for line in answers_told(run.model_dump(mode="json")) if run else []:
        console.print(line)
    if page.name == DATA_PAGE:
        console.print("The run was stopped by its data, so there is no verdict: this is the report on the data.")
    if opens and not webbrowser.open(page.as_uri()):
        console.print("No browser could be started: open the file by hand.")


def find_report(session: Session, name: str) -> tuple[Path, Run | None]:
    """The folder of a run's report, by the run's id or a feature's name; no run is that of a local `dvc repro`.

    Raises:
        BadInput: no such run or feature, or none with a report.
    """
    reports, runs = session.settings.home / "reports", runs_of(session.store)
    if named := [run for run in runs if run.run_id == name]:
        if not _has_page(reports / name):
            raise BadInput(f"run {name} has no report: it is {named[0].state}, and a report is written at its end")
        return reports / name, named[0]
    if name not in feature_names(session.settings.repo):
        known = ", ".join(feature_names(session.settings.repo)) or "none"
        raise BadInput(f"no run and no feature is called {name[:80]!r}; features: {known}; `ratchet status` tells runs")
    for run in reversed(runs):
        if run.feature == name and _has_page(reports / run.run_id):
            return reports / run.run_id, run
    local = session.settings.repo / "data" / name
    if not _has_page(local):
        raise BadInput(f"{name} has no report yet: `ratchet run {name}` makes one, or `dvc repro` an advisory one")
    return local, None


def _has_page(folder: Path) -> bool:
    return (folder / PAGE).is_file() or (folder / DATA_PAGE).is_file()


def _text(folder: Path, name: str) -> str:
    path = folder / name
    if not path.is_file():
        why = "only a published run has a card" if name == CARD else "the run came to no verdict"
        raise BadInput(f"{path} is not there: {why}")
    return path.read_text(encoding="utf-8")


def _facts(folder: Path, page: Path, run: Run | None) -> dict[str, Any]:
    there = {name: folder / name for name in (MARKDOWN, CARD)}
    gate = folder / "metrics" / "gate.json"
    return {
        "run_id": run.run_id if run else None,
        "page": str(page),
        "markdown": str(there[MARKDOWN]) if there[MARKDOWN].is_file() else None,
        "card": str(there[CARD]) if there[CARD].is_file() else None,
        "gate": read_json(gate) if gate.is_file() else None,
        "answers": [said.model_dump() for said in run.answers] if run else [],
    }


def _feature_of(session: Session, name: str) -> str:
    if name in feature_names(session.settings.repo):
        return name
    _, run = find_report(session, name)
    assert run is not None
    return run.feature


def _show_history(history: list[Kept], *, as_json: bool) -> None:
    if as_json:
        print_json([{"release_id": k.release_id, "version": k.version, **facts_of(k)} for k in history])
        return
    if not history:
        console.print("No rollout has ended yet: nothing was promised that could have been realised.")
        return
    table = Table("release", "rollout", "promised (points of score)", "realised (points of users)", "users new/old")
    for kept in history:
        name = kept.version or kept.release_id[:16]
        ends = [_told(kept.promised), _told(kept.realised)]
        table.add_row(name, kept.ended.replace("_", " "), *ends, f"{kept.users[0]}/{kept.users[1]}")
    console.print(table)
    console.print(
        "Promised: the gate's gain corrected for selection. Realised: users without a complaint, new minus old."
    )


def _told(found: Difference | None) -> str:
    return "-" if found is None else f"{points(found.estimate)} ({points(found.low)} to {points(found.high)})"
