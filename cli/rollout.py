"""`ratchet rollout status|tick` and `ratchet rollback`: how a release goes live, and comes back."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import Annotated

import typer

from cli.backtest import backtest_
from cli.session import Json, Session, console, open_session, print_json, short
from ratchet.features import load_feature
from tasks.rollout import rollback as take_back
from tasks.rollout import tick_all


def register(app: typer.Typer) -> None:
    """Add the commands."""
    sub = typer.Typer(no_args_is_help=True, help="The staged move of a release: canary steps, then stable, or back.")
    sub.command()(status)
    sub.command()(tick)
    sub.command("backtest")(backtest_)
    app.add_typer(sub, name="rollout")
    app.command()(rollback)


def status(
    feature: Annotated[str | None, typer.Argument(help="one feature; the default is all of them")] = None,
    as_json: Json = False,
) -> None:
    """Where each rollout stands, and on which evidence.

    Example: [bold]ratchet rollout status support_routing[/bold]
    """
    with open_session() as session:
        if feature is not None:
            load_feature(session.settings.repo, feature)
        bodies = [document.body for document in session.store.documents("rollout", feature)]
    if as_json:
        print_json(bodies)
        return
    for body in bodies:
        print_rollout(body)
    if not bodies:
        console.print("no rollout yet: one begins when a run is approved")


def tick(as_json: Json = False) -> None:
    """Read the evidence of every running rollout and make at most one step each; repeating it is safe.

    Example: [bold]ratchet rollout tick[/bold]
    """
    with open_session() as session:
        reports = tick_all(session.store, session.channels, session.ledger, now=datetime.now(UTC))
        if as_json:
            print_json([report.model_dump(mode="json") for report in reports])
            return
        for report in reports:
            console.print(f"{report.rollout_id}: {report.action}: {' '.join(report.reasons)}", markup=False)
        if not reports:
            console.print("no rollout is running")


def rollback(
    feature: Annotated[str, typer.Argument(help="the feature whose former release comes back")],
    reason: Annotated[str, typer.Option(help="why; the ledger keeps it")] = "asked for by hand",
) -> None:
    """Take the canary, or else the stable release, back at once. Needs neither Prefect nor git.

    Example: [bold]ratchet rollback support_routing --reason "customers complain"[/bold]
    """
    with open_session() as session:
        load_feature(session.settings.repo, feature)
        release_id = roll_back(session, feature, reason)
    console.print(f"{feature} serves {short(release_id)} to everyone")


def roll_back(session: Session, feature: str, reason: str) -> str:
    """Take a feature back. Returns the release that serves from now on."""
    now = datetime.now(UTC)
    take_back(session.store, session.channels, session.ledger, feature, now=now, by=getpass.getuser(), reason=reason)
    return session.channels.read(feature).stable


def print_rollout(body: dict[str, object]) -> None:
    """Print one rollout's record."""
    policy = body["policy"]
    assert isinstance(policy, dict)
    where = f"{body['state']}, step {body['step']} of {policy['steps']}"
    console.print(f"{body['rollout_id']} {body['feature']}: {where}", markup=False)
    console.print(f"  {short(str(body['champion_id']))} -> {short(str(body['candidate_id']))}")
    log = body.get("log") or []
    assert isinstance(log, list)
    for line in log[-5:]:
        console.print(f"  {line}", markup=False)
