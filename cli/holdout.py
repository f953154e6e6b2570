"""`ratchet holdout add`: the labelled messages that candidates are proven on."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cli.session import Json, console, open_session, print_json
from ratchet.features import load_feature
from tasks.add_holdout import add_holdout

app = typer.Typer(no_args_is_help=True, help="The holdout: labelled blind, read by evaluate only.")


@app.callback()
def holdout() -> None:
    """The holdout."""


@app.command()
def add(
    feature: Annotated[str, typer.Argument(help="the feature")],
    file: Annotated[Path, typer.Argument(help='JSONL of {"messages" or "text", "expected", "contexts"?}')],
    showcase: Annotated[Path | None, typer.Option(help="items to show people; default: a share of FILE")] = None,
    share: Annotated[float, typer.Option(help="the showcase's share of FILE", min=0, max=0.5)] = 0.15,
    as_json: Json = False,
) -> None:
    """Make labelled messages the feature's holdout: a random sample of traffic, labelled without seeing any answer.

    Feedback that arrived after this moment is not trained on while this holdout is in use.
    Example: [bold]ratchet holdout add support_routing labelled.jsonl[/bold]
    """
    with open_session() as session:
        known = load_feature(session.settings.repo, feature)
        added = add_holdout(
            session.settings, session.ledger, known, file, showcase=showcase, share=share, now=datetime.now(UTC)
        )
    if as_json:
        print_json(added._asdict())
    else:
        console.print(f"{feature}: {added.holdout} items in the holdout, {added.showcase} in the showcase")
        console.print(f"commit data/{feature}/holdout.dvc (it is staged), so that it stays on your branch")
