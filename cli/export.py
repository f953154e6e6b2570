"""`ratchet export`: curated examples as what other tools train on."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from cli.session import Json, Session, console, open_session, print_json
from ratchet import git
from ratchet.errors import BadInput
from ratchet.features import load_feature
from ratchet.runs import runs_of
from ratchet.tenants import load_tenants
from tasks.export import EXPORTS, MIN_OPENAI_ROWS, SPLITS, export
from tasks.version import fetch_curated


class Found(NamedTuple):
    """The Parquet file of each split, and where they come from, for people."""

    splits: dict[str, Path]
    origin: str


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export_)


def export_(
    dataset: Annotated[str, typer.Argument(help="a feature, or the path of a Parquet file of examples")],
    file_format: Annotated[str, typer.Option("--format", help=", ".join(EXPORTS))],
    out: Annotated[Path | None, typer.Option(help="folder to write to; default: exports/ in RATCHET_HOME")] = None,
    as_json: Json = False,
) -> None:
    """Export curated examples: of a feature's newest run, or else of the working tree.

    What the format cannot hold is left out and counted. The files hold what users wrote: keep them out of git.
    Example: [bold]ratchet export support_routing --format openai-sft --out to_openai[/bold]
    """
    with open_session() as session, tempfile.TemporaryDirectory() as fetched:
        found = _find(session, dataset, Path(fetched))
        folder = out or session.settings.home / "exports" / Path(dataset).stem / file_format
        report = export(found.splits, file_format, folder, tenants=load_tenants(session.settings.repo))
    facts = {**vars(report), "left_out": dict(report.left_out), "from": found.origin, "format": file_format}
    if as_json:
        print_json(facts)
        return
    console.print(f"{report.rows} examples of {found.origin}: {report.written} written", markup=False)
    for reason, count in sorted(report.left_out.items()):
        console.print(f"  {count} left out: {reason}", markup=False)
    for file in report.files:
        console.print(f"  {file}", markup=False)
    if file_format.startswith("openai-") and report.written < MIN_OPENAI_ROWS:
        console.print(f"  OpenAI asks for at least {MIN_OPENAI_ROWS} examples", markup=False)


def _find(session: Session, dataset: str, fetched: Path) -> Found:
    """The examples that a name stands for.

    Raises:
        BadInput: neither a file nor a feature that has any.
    """
    path = Path(dataset)
    if path.is_file():
        return Found({path.stem: path}, str(path))
    repo = session.settings.repo
    load_feature(repo, dataset)
    for run in reversed(runs_of(session.store, dataset)):
        lock = git.show(repo, run.commit, "dvc.lock") if run.commit else None
        if run.commit and lock and f"data/{dataset}/curated" in lock:
            folder = fetch_curated(session.settings, run.commit, dataset, fetched)
            return Found({split: folder / f"{split}.parquet" for split in SPLITS}, f"run {run.run_id}")
    folder = repo / "data" / dataset / "curated"
    if not folder.is_dir():
        raise BadInput(f"{dataset} has no curated examples yet: `ratchet run {dataset}` makes them")
    return Found({split: folder / f"{split}.parquet" for split in SPLITS}, f"{folder}")
