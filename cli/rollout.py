"""`ratchet rollout` and `ratchet rollback`: how a release goes live, who may step in, and how it comes back."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from cli.backtest import backtest_
from cli.evidence import evidence_lines, shadow_lines, worth_lines
from cli.session import Json, Session, console, open_session, print_json, short
from ratchet.channels import Channels, channel_name
from ratchet.features import load_feature
from ratchet.ledger import Ledger
from ratchet.rollouts import SHADOW
from ratchet.store import Store
from ratchet.trust import trust_of
from tasks.rollout import rollback as take_back
from tasks.rollout import tick_all
from tasks.steer_rollout import abort, pause, promote, resume, start_again
from tasks.worth import weigh_promotions

FeatureName = Annotated[str, typer.Argument(help="the feature")]
Tenant = Annotated[str | None, typer.Option(help="for this tenant alone")]
Segment = Annotated[str | None, typer.Option(help="for this segment alone")]
Reason = Annotated[str, typer.Option(help="why; the ledger keeps it", prompt="why (the ledger keeps it)")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    sub = typer.Typer(no_args_is_help=True, help="The staged move of a release: canary steps, then stable, or back.")
    sub.command()(status)
    sub.command()(worth)
    sub.command()(tick)
    sub.command("pause")(pause_)
    sub.command("resume")(resume_)
    sub.command("abort")(abort_)
    sub.command("promote")(promote_)
    sub.command("start")(start_)
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
        held = feature is not None and bool(bodies) and session.channels.read(feature).holdback is not None
    if as_json:
        print_json(bodies)
        return
    for body in bodies:
        print_rollout(body)
    if held:
        console.print(f"users are held back: `ratchet rollout worth {feature}` says what the promotions are worth")
    if not bodies:
        console.print("no rollout yet: one begins when a run is approved")


def worth(feature: FeatureName, as_json: Json = False) -> None:
    """What all promotions together are worth: users held back on the first release, against those on stable.

    Example: [bold]ratchet rollout worth support_routing[/bold]
    """
    with open_session() as session:
        policy = load_feature(session.settings.repo, feature).rollout
        found = weigh_promotions(session.store, session.channels, feature, policy, now=datetime.now(UTC))
    if as_json:
        print_json(found)
        return
    for line in worth_lines(found):
        console.print(line, markup=False)


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


def pause_(feature: FeatureName, reason: Reason, tenant: Tenant = None, segment: Segment = None) -> None:
    """Hold a rollout where it is. An alarm still takes the canary back.

    Example: [bold]ratchet rollout pause support_routing --reason "holiday traffic"[/bold]
    """
    with _steering(feature, tenant, segment) as (parts, name, by, _):
        pause(*parts, name, by=by, reason=reason)
    console.print(f"the rollout of {name} is paused; `ratchet rollout resume` goes on")


def resume_(feature: FeatureName, reason: Reason, tenant: Tenant = None, segment: Segment = None) -> None:
    """Let a paused rollout go on; what users said meanwhile counts.

    Example: [bold]ratchet rollout resume support_routing --reason "holidays are over"[/bold]
    """
    with _steering(feature, tenant, segment) as (parts, name, by, _):
        resume(*parts, name, by=by, reason=reason)
    console.print(f"the rollout of {name} goes on with the next tick")


def abort_(feature: FeatureName, reason: Reason, tenant: Tenant = None, segment: Segment = None) -> None:
    """End a rollout: everybody gets the release that is stable.

    Example: [bold]ratchet rollout abort support_routing --reason "a better one is coming"[/bold]
    """
    with _steering(feature, tenant, segment) as (parts, name, by, now):
        stable = abort(*parts, name, now=now, by=by, reason=reason)
    console.print(f"{name} serves {short(stable)} to everyone", markup=False)


def promote_(feature: FeatureName, reason: Reason, tenant: Tenant = None, segment: Segment = None) -> None:
    """Put the canary on stable without the rule's proof. The ledger keeps who said so, why, and the evidence then.

    A candidate that is only mirrored so far goes on to the first canary step.

    Example: [bold]ratchet rollout promote support_routing --reason "forty users a year; reviewed by hand"[/bold]
    """
    with _steering(feature, tenant, segment) as (parts, name, by, now):
        found = promote(*parts, name, now=now, by=by, reason=reason)
    whom = "everyone" if found.state == "promoted" else f"{found.share:.0%} of the users"
    console.print(f"{name} serves {short(found.candidate_id)} to {whom}, on the word of {by}", markup=False)


def start_(
    feature: FeatureName,
    release: Annotated[str, typer.Argument(help="the id of an approved release, as `ratchet release list` shows it")],
    reason: Reason,
    tenant: Tenant = None,
    segment: Segment = None,
) -> None:
    """Try an approved release (again) against the one that is stable; what was proven of it before still counts.

    With a tenant or segment only its users meet it, and only they decide. Where it is taken back they get again what
    everybody gets; where it is promoted they keep it, until `ratchet channel unpin`.

    Example: [bold]ratchet rollout start support_routing rel_3f… --reason "the outage was not its fault"[/bold]
    """
    with open_session() as session:
        name = channel_name(feature, tenant, segment)
        found = start_again(
            session.store,
            session.channels,
            session.ledger,
            session.releases,
            feature=load_feature(session.settings.repo, feature),
            release_id=release,
            now=datetime.now(UTC),
            by=getpass.getuser(),
            reason=reason,
            channel=name,
            trust=trust_of(session.settings),
        )
    where = f"on the canary for {found.share:.0%} of the users"
    if found.step == SHADOW and found.policy.shadow is not None:
        where = f"mirrored {found.policy.shadow.share:.0%} of the requests"
    console.print(f"{found.rollout_id}: {short(release)} is {where} of {name}", markup=False)


@contextmanager
def _steering(
    feature: str, tenant: str | None, segment: str | None
) -> Iterator[tuple[tuple[Store, Channels, Ledger], str, str, datetime]]:
    with open_session() as session:
        load_feature(session.settings.repo, feature)
        name = channel_name(feature, tenant, segment)
        yield (session.store, session.channels, session.ledger), name, getpass.getuser(), datetime.now(UTC)


def rollback(
    feature: Annotated[str, typer.Argument(help="the feature whose former release comes back")],
    reason: Annotated[str, typer.Option(help="why; the ledger keeps it")] = "asked for by hand",
    tenant: Tenant = None,
    segment: Segment = None,
) -> None:
    """Take the canary, or else the stable release, back at once. Needs neither Prefect nor git.

    With a tenant or segment only it goes back; what everybody else gets stays as it is.

    Example: [bold]ratchet rollback support_routing --reason "customers complain"[/bold]
    """
    with open_session() as session:
        load_feature(session.settings.repo, feature)
        name = channel_name(feature, tenant, segment)
        release_id = roll_back(session, name, reason)
    console.print(f"{name} serves {short(release_id)} to everyone", markup=False)


def roll_back(session: Session, name: str, reason: str) -> str:
    """Take a feature, tenant or segment back. Returns the release that serves from now on."""
    now, by = datetime.now(UTC), getpass.getuser()
    return take_back(session.store, session.channels, session.ledger, name, now=now, by=by, reason=reason)


def print_rollout(body: dict[str, Any]) -> None:
    """Print one rollout's record and its evidence."""
    paused = f", paused by {body['paused']}" if body.get("paused") else ""
    step = "shadow" if body["step"] == SHADOW else body["step"]
    where = f"{body['state']}{paused}, step {step} of {body['policy']['steps']}"
    console.print(f"{body['rollout_id']} {body.get('channel') or body['feature']}: {where}", markup=False)
    console.print(f"  {short(str(body['champion_id']))} -> {short(str(body['candidate_id']))}")
    for line in [*shadow_lines(body.get("mirrored") or {}), *evidence_lines(body.get("evidence") or {})]:
        console.print(f"  {line}", markup=False)
    for line in (body.get("log") or [])[-5:]:
        console.print(f"  {line}", markup=False)
