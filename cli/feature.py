"""`ratchet feature new` and `owners`: a feature of your own out of one that exists; who is asked when one changes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from cli.session import Json, Session, console, neutral, open_session, print_json, short
from ratchet import git
from ratchet.errors import RatchetError
from ratchet.files import write_whole
from ratchet.settings import Settings
from tasks.first_release import ensure_first_release
from tasks.new_feature import Label, read_labels, write_feature
from tasks.owners import plan_owners

app = typer.Typer(no_args_is_help=True, help="Features: one folder of features/ each, with its policy and prompts.")


@app.callback()
def feature() -> None:
    """Features."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="the new feature's name, e.g. ticket_routing")],
    labels: Annotated[Path, typer.Option(help='a label a line, or JSONL {"label", "description"?}')],
    source: Annotated[str, typer.Option("--from", help="the feature whose policy is copied")] = "support_routing",
    as_json: Json = False,
) -> None:
    """Write features/NAME and put its v1 (a plain prompt on the base model) on channel stable.

    Example: [bold]ratchet feature new ticket_routing --from support_routing --labels labels.txt[/bold]
    """
    with open_session() as session:
        folder, release_id = make_feature(session, name, source=source, labels=read_labels(labels))
    if as_json:
        print_json({"feature": name, "folder": str(folder), "release_id": release_id, "version": "v1.0.0"})
        return
    console.print(f"wrote {folder.relative_to(session.settings.repo)}; v1 is {short(release_id)}, on channel stable")
    console.print(f"next: read its feature.yaml, then `ratchet holdout add {name} FILE` and send it traffic")


@app.command()
def owners(
    write: Annotated[bool, typer.Option("--write", help="write CODEOWNERS; your own lines in it stay")] = False,
    check: Annotated[bool, typer.Option("--check", help="exit 1 where CODEOWNERS is stale (for CI)")] = False,
    as_json: Json = False,
) -> None:
    """Who owns which feature, as CODEOWNERS says it: git hosting asks them where policy, prompts or holdout change.

    Example: [bold]ratchet feature owners --write[/bold]
    """
    planned = plan_owners(Settings.from_env().repo)
    is_stale = planned.is_stale
    if write and is_stale:
        write_whole(planned.path, planned.content)
    facts = {"file": str(planned.path), "stale": is_stale and not write, "nameless": planned.nameless}
    if as_json:
        print_json({**facts, "content": planned.content})
    else:
        console.print(planned.content.rstrip(), markup=False)
        for one in planned.nameless:
            told = "is neither @user, @org/team nor an e-mail: nobody is asked"
            console.print(f"note: {neutral(one)} {told}", markup=False)
    if check and is_stale and not write:
        raise RatchetError(f"{planned.path} is stale: run `ratchet feature owners --write`")


def make_feature(session: Session, name: str, *, source: str, labels: list[Label]) -> tuple[Path, str]:
    """Write the folder and v1. Returns the folder and v1's release id."""
    owner = git.identity(session.settings.repo)[0]
    folder = write_feature(session.settings.repo, name, source=source, labels=labels, owner=owner)
    try:
        release_id = ensure_first_release(session.settings, session.store, session.ledger, session.channels, name)
    except RatchetError:
        shutil.rmtree(folder)  # or the next try would find the name taken
        raise
    return folder, release_id
