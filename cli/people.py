"""`ratchet people`: who may approve."""

from __future__ import annotations

import os
from typing import Annotated

import qrcode
import typer
from rich.table import Table

from cli.session import Json, console, open_session, print_json
from ratchet.approvals import Kind, dismiss, enrol
from ratchet.approvals import people as enrolled
from ratchet.settings import Settings, read_secret

ENROL_SECRET = "verifier-enrol"  # noqa: S105 - the name of the file, not what is in it

app = typer.Typer(no_args_is_help=True, help="Who may approve.")


@app.callback()
def people() -> None:
    """Who may approve."""


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="the name that approvals will carry")],
    machine: Annotated[bool, typer.Option("--machine", help="a machine; its secret stays here")] = False,
    as_json: Json = False,
) -> None:
    """Enrol an approver with the verifier, which keeps the secret.

    A person scans the QR code with an authenticator app; it is shown once. Example: [bold]ratchet people add ana[/bold]
    """
    with open_session() as session:
        settings = session.settings
        kind: Kind = "machine" if machine else "person"
        enrolment = enrol(settings.verifier_url, read_secret(settings, ENROL_SECRET), name, kind)
        session.ledger.append("approver enrolled", name, kind=kind)
    if machine:
        keep_secret(settings, name, enrolment.secret)
    if as_json:
        print_json({"name": name, "machine": machine, **({} if machine else {"otpauth_uri": enrolment.otpauth_uri})})
        return
    if machine:
        console.print(f"{name} is enrolled as a machine; a feature must allow it in approval.machine_approvers")
        return
    code = qrcode.QRCode(border=1)
    code.add_data(enrolment.otpauth_uri)
    code.print_ascii()
    console.print(f"{name} is enrolled; scan this with an authenticator app. It is not shown again:")
    console.print(enrolment.otpauth_uri, markup=False, soft_wrap=True)


@app.command()
def remove(name: Annotated[str, typer.Argument(help="an enrolled name")], as_json: Json = False) -> None:
    """Take an approver's secret away: who left, or lost the phone. What they approved stays approved.

    Who lost the phone is enrolled again with `add`. Example: [bold]ratchet people remove ana[/bold]
    """
    with open_session() as session:
        settings = session.settings
        gone = dismiss(settings.verifier_url, read_secret(settings, ENROL_SECRET), name)
        session.ledger.append("approver removed", name, kind=gone.kind)
        (settings.secrets_dir / f"approver-{name}").unlink(missing_ok=True)
    if as_json:
        print_json(gone.model_dump())
    else:
        console.print(f"{name} can approve nothing any more; `ratchet people add {name}` enrols anew", markup=False)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """Who is enrolled with the verifier. Example: [bold]ratchet people list[/bold]."""
    settings = Settings.from_env()
    found = enrolled(settings.verifier_url, read_secret(settings, ENROL_SECRET))
    if as_json:
        print_json(found)
        return
    table = Table("name", "kind")
    for name, kind in found.items():
        table.add_row(name, kind)
    console.print(table)


def keep_secret(settings: Settings, name: str, secret: str) -> None:
    """Keep a machine approver's secret on this machine (0600), for `ratchet run --auto-approve`."""
    settings.secrets_dir.mkdir(parents=True, exist_ok=True)
    settings.secrets_dir.chmod(0o700)
    path = settings.secrets_dir / f"approver-{name}"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(secret)
