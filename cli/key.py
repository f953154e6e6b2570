"""`ratchet key`: keys of the gateway - who may ask, say and see what."""

from __future__ import annotations

import getpass
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.table import Table

from cli.session import Json, console, neutral, open_session, print_json
from ratchet.errors import BadInput
from ratchet.keys import ANY, ROLES, Key, Keys
from ratchet.tenants import DEFAULT

app = typer.Typer(no_args_is_help=True, help="Keys of the gateway: who may ask, say and see what.")


@app.callback()
def key() -> None:
    """Keys of the gateway: who may ask, say and see what."""


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="what it is for, as people will read it in the list")],
    role: Annotated[str, typer.Option(help=", ".join(ROLES))] = "app",
    tenant: Annotated[str, typer.Option(help="whose requests these are; * for every tenant")] = DEFAULT,
    feature: Annotated[list[str] | None, typer.Option(help="one that it is for; again for more (default: all)")] = None,
    days: Annotated[int, typer.Option(min=0, help="how long it is valid; 0 for ever")] = 365,
    as_json: Json = False,
) -> None:
    """Make a key. It is shown once, as only its digest is kept.

    Example: [bold]ratchet key add webshop --role app --tenant acme --feature support_routing[/bold]
    """
    if not name.strip() or len(name) > 100 or not name.isprintable():
        raise BadInput("the name of a key is 1 to 100 printable characters")
    now = datetime.now(UTC)
    expires_at = now + timedelta(days=days) if days else None
    with open_session() as session:
        issued = Keys(session.store.engine).add(
            name, role=role, tenant=tenant, features=tuple(feature or ()), at=now, expires_at=expires_at
        )
        made = issued.key
        session.ledger.append(
            "key_added",
            made.key_id,
            role=made.role,
            tenant=made.tenant,
            features=list(made.features),
            expires_at=made.expires_at.isoformat() if made.expires_at else None,
            by=getpass.getuser(),
        )
    if as_json:
        print_json(_facts(made) | {"token": issued.token})
        return
    console.print(f"key {made.key_id} ({made.role}, {_scope(made)}), shown this once:", markup=False)
    typer.echo(issued.token)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """Show every key, revoked and expired ones too; never a token.

    Example: [bold]ratchet key list --json[/bold]
    """
    with open_session() as session:
        keys = Keys(session.store.engine).all()
    if as_json:
        print_json([_facts(one) for one in keys])
        return
    shown = Table("key", "name", "role", "for", "expires", "state")
    for one in keys:
        expires = f"{one.expires_at:%Y-%m-%d}" if one.expires_at else "never"
        shown.add_row(one.key_id, neutral(one.name), one.role, _scope(one), expires, _state(one))
    console.print(shown)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="the key's id, from `ratchet key list`")], as_json: Json = False
) -> None:
    """End a key; a running gateway refuses it within a second.

    Example: [bold]ratchet key revoke 0f3a9c2b71de[/bold]
    """
    with open_session() as session:
        was_live = Keys(session.store.engine).revoke(key_id, at=datetime.now(UTC))
        if was_live:
            session.ledger.append("key_revoked", key_id, by=getpass.getuser())
    if as_json:
        print_json({"key_id": key_id, "revoked": was_live})
        return
    console.print(f"key {key_id} {'is revoked' if was_live else 'had been revoked before'}", markup=False)


def _facts(one: Key) -> dict[str, Any]:
    return {name: value for name, value in asdict(one).items() if name != "digest"} | {"state": _state(one)}


def _state(one: Key) -> str:
    if one.revoked_at is not None:
        return "revoked"
    return "live" if one.is_live(datetime.now(UTC)) else "expired"


def _scope(one: Key) -> str:
    tenant = "every tenant" if one.tenant == ANY else f"tenant {one.tenant}"
    return f"{tenant}, {', '.join(one.features) or 'every feature'}"
