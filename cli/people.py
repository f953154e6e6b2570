"""`ratchet people`: who may approve."""

from __future__ import annotations

import os
from typing import Annotated

import qrcode
import typer

from cli.session import Json, console, print_json
from ratchet.approvals import enrol
from ratchet.settings import Settings, read_secret

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
    settings = Settings.from_env()
    enrolment = enrol(
        settings.verifier_url, read_secret(settings, "verifier-enrol"), name, "machine" if machine else "person"
    )
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


def keep_secret(settings: Settings, name: str, secret: str) -> None:
    """Keep a machine approver's secret on this machine (0600), for `ratchet run --auto-approve`."""
    settings.secrets_dir.mkdir(parents=True, exist_ok=True)
    settings.secrets_dir.chmod(0o700)
    path = settings.secrets_dir / f"approver-{name}"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(secret)
