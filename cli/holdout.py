"""`ratchet holdout`: the labelled messages that candidates are proven on, how far they are used up, the next ones."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.session import Json, console, open_session, print_json
from ratchet.features import load_feature
from tasks.add_holdout import add_holdout
from tasks.next_holdout import SHOWCASE_SHARE, NextHoldout, holdout_status, refresh_holdout

app = typer.Typer(no_args_is_help=True, help="The holdout: labelled blind, read by evaluate only.")


@app.callback()
def holdout() -> None:
    """The holdout."""


@app.command()
def add(
    feature: Annotated[str, typer.Argument(help="the feature")],
    file: Annotated[Path, typer.Argument(help='JSONL of {"messages" or "text", "expected", "contexts"?}')],
    showcase: Annotated[Path | None, typer.Option(help="items to show people; default: a share of FILE")] = None,
    share: Annotated[float, typer.Option(help="the showcase's share of FILE", min=0, max=0.5)] = SHOWCASE_SHARE,
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


@app.command()
def refresh(
    feature: Annotated[str, typer.Argument(help="the feature")],
    share: Annotated[
        float | None,
        typer.Option(help="the showcase's share of the items (default: the present one's)", min=0, max=0.5),
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw the next holdout at random from traffic since this one was labelled; once it is labelled, use it.

    Run it again after `ratchet review FEATURE --blind`: with enough labels the draw becomes the holdout. The old one
    retires: its items may be trained on then, and prove nothing again. Killed anywhere, run it again.
    Example: [bold]ratchet holdout refresh support_routing[/bold]
    """
    with open_session() as session:
        known = load_feature(session.settings.repo, feature)
        done = refresh_holdout(
            session.settings, session.store, session.ledger, known, share=share, now=datetime.now(UTC)
        )
    if as_json:
        added = done.added._asdict() if done.added else None
        print_json({"feature": feature, "next": done.next._asdict(), "added": added, "queue": str(done.queue)})
    elif done.added is not None:
        console.print(f"{feature}: {done.added.holdout} items in the holdout, {done.added.showcase} in the showcase")
        console.print(f"the old one is retired; commit data/{feature}/holdout.dvc (it is staged)")
    else:
        console.print(f"{feature}: {_told(done.next)}")
        console.print(f"next: ratchet review {feature} --blind, then ratchet holdout refresh {feature}")


@app.command()
def status(
    feature: Annotated[str, typer.Argument(help="the feature")],
    as_json: Json = False,
) -> None:
    """Say how far a holdout is used up: looks, error left, retired or not, labels of the next one. No score is read.

    Example: [bold]ratchet holdout status support_routing --json[/bold]
    """
    with open_session() as session:
        known = load_feature(session.settings.repo, feature)
        facts = holdout_status(session.settings, session.store, session.ledger, known)
    if as_json:
        print_json(facts)
        return
    for line in _status_lines(facts):
        console.print(line, markup=False, soft_wrap=True)


def _status_lines(facts: dict[str, Any]) -> list[str]:
    dated = facts["labelled_at"] or "at a time that nobody wrote down"
    lines = [
        f"{facts['feature']}: {facts['items']} items and {facts['showcase']} in the showcase, labelled {dated}",
        f"looks: {facts['looks']}; of an error of {facts['alpha']:g} there is {facts['alpha_left']:.2g} left, "
        f"{facts['alpha_of_next_look']:.2g} for the next look",
        f"over {facts['holdouts']} holdouts so far at most {facts['wrong_accepts_expected_at_most']:g} wrong accepts "
        "are to be expected (alpha times holdouts)",
    ]
    if facts["is_retired"]:
        lines.append(f"retired: {facts['why_retired']}; next: ratchet holdout refresh {facts['feature']}")
    if facts["next"]:
        lines.append(f"the next one: {_told(NextHoldout(**facts['next']))}")
    return lines


def _told(found: NextHoldout) -> str:
    disputed = f", {found.disputed} in dispute" if found.disputed else ""
    return f"{found.drawn} items drawn, {found.labelled} labelled{disputed}; {found.needed} are needed"
