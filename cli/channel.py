"""`ratchet channel show|history|freeze|unfreeze|pin|unpin`: what serves whom, and who may move it."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import Annotated

import typer

from cli.session import Json, Session, console, neutral, open_session, print_json, short
from ratchet.channels import channel_name
from ratchet.errors import BadInput
from ratchet.features import load_feature
from ratchet.trust import trust_of
from tasks.pin import channels_of
from tasks.pin import freeze as stop_moves
from tasks.pin import pin as pin_channel
from tasks.pin import unpin as unpin_channel

app = typer.Typer(no_args_is_help=True, help="Channels: which release serves a feature, a tenant, a segment.")
FeatureName = Annotated[str, typer.Argument(help="the feature")]
MaybeFeature = Annotated[str | None, typer.Argument(help="the feature, with the channels of its tenants and segments")]
Every = Annotated[bool, typer.Option("--all", help="every channel of every feature")]
Tenant = Annotated[str | None, typer.Option(help="the tenant")]
Segment = Annotated[str | None, typer.Option(help="the segment")]
Reason = Annotated[str, typer.Option(help="why; channel and ledger keep it", prompt="Reason")]


@app.callback()
def channel() -> None:
    """Channels."""


@app.command()
def show(
    feature: Annotated[str | None, typer.Argument(help="one feature; the default is all of them")] = None,
    tenant: Tenant = None,
    segment: Segment = None,
    as_json: Json = False,
) -> None:
    """What every channel serves; with a tenant or segment, the one that serves them.

    Example: [bold]ratchet channel show support_routing --tenant acme[/bold]
    """
    with open_session() as session:
        if feature is not None and (tenant or segment):
            found = [session.channels.resolve(feature, tenant, segment)]
        else:
            names = channels_of(session.channels, feature)
            found = [(name, session.channels.read(name)) for name in names]
    if as_json:
        print_json([{"channel": name, **state.model_dump(mode="json")} for name, state in found])
        return
    for name, state in found:
        serves = "inherits" if state.inherits else short(state.stable)
        canary = f", canary {short(state.canary.release_id)} {state.canary.share:.0%}" if state.canary else ""
        console.print(f"{name}: {serves}{canary} (version {state.version})", markup=False)
        if state.frozen:
            console.print(
                f"  frozen by {neutral(state.frozen.by)} at {state.frozen.at}: {neutral(state.frozen.reason)}"
            )


@app.command()
def history(feature: FeatureName, tenant: Tenant = None, segment: Segment = None, as_json: Json = False) -> None:
    """Every move of a channel, oldest first, with who and why; freezes too.

    Example: [bold]ratchet channel history support_routing[/bold]
    """
    with open_session() as session:
        name = channel_name(feature, tenant, segment)
        rows = [{"event": "move", **move._asdict()} for move in session.channels.history(name)]
        for event in ("freeze", "unfreeze"):
            told = session.ledger.entries(event=event, subject=name)
            rows += [{"event": event, "at": entry.at, **entry.facts} for entry in told]
    rows.sort(key=lambda row: row["at"])
    if as_json:
        print_json(rows)
        return
    for row in rows:
        what = row["event"]
        if what == "move":
            canary = f" canary {short(row['canary'])}" if row["canary"] else ""
            what = f"{row['version']:>4} {'inherits' if row['inherits'] else short(row['stable'])}{canary}"
        console.print(f"{row['at'][:19]} {what} by {neutral(row['by'])}: {neutral(row['reason'])}")


@app.command()
def freeze(reason: Reason, feature: MaybeFeature = None, every: Every = False, as_json: Json = False) -> None:
    """Stop every move of a feature's channels but the way back, until `unfreeze`.

    Example: [bold]ratchet channel freeze --all --reason "Black Friday"[/bold]
    """
    _freeze(feature, every, reason, as_json, thaw=False)


@app.command()
def unfreeze(reason: Reason, feature: MaybeFeature = None, every: Every = False, as_json: Json = False) -> None:
    """Let a feature's channels move again.

    Example: [bold]ratchet channel unfreeze support_routing --reason "incident closed"[/bold]
    """
    _freeze(feature, every, reason, as_json, thaw=True)


@app.command()
def pin(
    feature: FeatureName,
    release: Annotated[str, typer.Option(help="the release: its id, or its first characters")],
    reason: Reason,
    tenant: Tenant = None,
    segment: Segment = None,
    as_json: Json = False,
) -> None:
    """Have a tenant or a segment served by one approved release, whatever the feature's rollouts do.

    Example: [bold]ratchet channel pin support_routing --tenant acme --release 5e6f7a8b --reason "contract"[/bold]
    """
    with open_session() as session:
        load_feature(session.settings.repo, feature)
        name, found = channel_name(feature, tenant, segment), session.releases.find(release)
        told = {"trust": trust_of(session.settings), "now": datetime.now(UTC), "by": getpass.getuser()}
        parts = (session.channels, session.releases, session.ledger)
        state = pin_channel(*parts, name, found, reason=reason, **told)  # type: ignore[arg-type]
    _tell(name, f"serves {short(state.stable)}", as_json)


@app.command()
def unpin(
    feature: FeatureName, reason: Reason, tenant: Tenant = None, segment: Segment = None, as_json: Json = False
) -> None:
    """Let a tenant or segment go: the next wider channel serves it again.

    Example: [bold]ratchet channel unpin support_routing --tenant acme --reason "contract ended"[/bold]
    """
    with open_session() as session:
        name, now = channel_name(feature, tenant, segment), datetime.now(UTC)
        unpin_channel(session.channels, session.ledger, name, now=now, by=getpass.getuser(), reason=reason)
    _tell(name, "inherits", as_json)


def _freeze(feature: str | None, every: bool, reason: str, as_json: bool, *, thaw: bool) -> None:
    if (feature is None) == (not every):
        raise BadInput("name a feature, or --all of them")
    with open_session() as session:
        names = _names(session, feature)
        facts = {"now": datetime.now(UTC), "by": getpass.getuser(), "reason": reason, "thaw": thaw}
        stop_moves(session.channels, session.ledger, names, **facts)  # type: ignore[arg-type]
    _tell(", ".join(names), "moves again" if thaw else "frozen: only the way back is open", as_json)


def _names(session: Session, feature: str | None) -> list[str]:
    if feature is not None:
        load_feature(session.settings.repo, feature)
    return channels_of(session.channels, feature)


def _tell(name: str, what: str, as_json: bool) -> None:
    if as_json:
        print_json({"channel": name, "now": what})
    else:
        console.print(f"{name}: {what}", markup=False)
