"""`ratchet doctor`: whether this machine can run the loop, and how to mend what it lacks."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version as installed
from typing import NamedTuple
from urllib.parse import urlsplit

import psutil
import typer

from cli.session import Json, console, print_json
from ratchet import git
from ratchet.base_models import resolve_base_model
from ratchet.errors import BadInput, RatchetError
from ratchet.features import feature_names, load_feature
from ratchet.params import load_params
from ratchet.settings import KEYS, Settings


class Check(NamedTuple):
    """One thing that was looked at."""

    name: str
    is_fine: bool
    found: str
    mend: str = ""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(as_json: Json = False) -> None:
    """Look at machine, versions, ports, model, DVC remote and git identity; say how to mend what is wrong.

    Example: [bold]ratchet doctor[/bold]
    """
    settings = Settings.from_env()
    checks = [check(settings) for check in CHECKS]
    checks += [_port(name, url) for name, url in _addresses(settings).items()]
    if as_json:
        print_json({"checks": [c._asdict() for c in checks], "settings": KEYS})
    else:
        for check in checks:
            console.print(f"{'ok  ' if check.is_fine else 'MEND'} {check.name:<14} {check.found}", markup=False)
            if not check.is_fine:
                console.print(f"     -> {check.mend}", markup=False)
        console.print("\nsettings (environment):")
        for key, meaning in KEYS.items():
            console.print(f"  {key:<24} {meaning}", markup=False)
    broken = [c.name for c in checks if not c.is_fine]
    if broken:
        raise BadInput(f"to mend: {', '.join(broken)}")


def _machine(_: Settings) -> Check:
    memory = psutil.virtual_memory().total / 2**30
    found = f"{sys.platform}, {os.cpu_count()} cores, {memory:.0f} GiB"
    is_fine = sys.platform.startswith("linux") and memory >= 5
    return Check("machine", is_fine, found, "Linux with 6 GiB of memory or more is needed")


def _python(_: Settings) -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    return Check("python", sys.version_info[:2] == (3, 11), found, "use Python 3.11: the pinned packages need it")


def _versions(_: Settings) -> Check:
    found = ", ".join(f"{name} {installed(name)}" for name in ("prefect", "dvc", "torch", "great-expectations"))
    return Check("versions", installed("prefect") == "3.8.8", found, "run `make setup` again: the pins are not met")


def _disk(settings: Settings) -> Check:
    free = shutil.disk_usage(settings.repo).free / 2**30
    return Check("disk", free > 3, f"{free:.0f} GiB free", "free some space: runs, cache and model need about 3 GiB")


def _git(settings: Settings) -> Check:
    try:
        name, email = git.identity(settings.repo)
    except RatchetError as error:
        return Check("git identity", False, "none", str(error))
    return Check("git identity", True, f"{name} <{email}>")


def _model(settings: Settings) -> Check:
    try:
        model = resolve_base_model(load_params(settings.repo / "params.yaml").base_model, settings)
    except RatchetError as error:
        return Check("model", False, "missing", str(error))
    return Check("model", True, f"{model.name}, digest {model.digest[:12]}")


def _features(settings: Settings) -> Check:
    try:
        names = [load_feature(settings.repo, name).name for name in feature_names(settings.repo)]
    except RatchetError as error:
        return Check("features", False, "malformed", str(error))
    return Check("features", bool(names), ", ".join(names) or "none", "make one with `ratchet feature new`")


def _remote(settings: Settings) -> Check:
    command = [sys.executable, "-m", "dvc", "remote", "list"]
    done = subprocess.run(command, cwd=settings.repo, capture_output=True, text=True, check=False)
    mend = "name one with `dvc remote add -d NAME FOLDER-OR-ADDRESS` and commit .dvc/config"
    found = done.stdout.strip() or done.stderr.strip()[-200:] or "none"
    return Check("dvc remote", bool(done.stdout.strip()), found, mend)


def _addresses(settings: Settings) -> dict[str, str]:
    return {
        "prefect": settings.prefect_api_url,
        "modelserver": settings.modelserver_url,
        "gateway": settings.gateway_url,
        "verifier": settings.verifier_url,
    }


def _port(name: str, url: str) -> Check:
    address = urlsplit(url)
    with socket.socket() as probe:
        probe.settimeout(1)
        is_taken = probe.connect_ex((address.hostname or "127.0.0.1", address.port or 80)) == 0
    return Check(f"port {name}", True, f"{url} {'answers (up, or another process)' if is_taken else 'is free'}")


CHECKS: tuple[Callable[[Settings], Check], ...] = (
    _machine,
    _python,
    _versions,
    _disk,
    _git,
    _model,
    _features,
    _remote,
)
