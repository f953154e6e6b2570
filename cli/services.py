"""The real parts as processes of this one: Prefect server, model server, gateway, verifier, pages, served flows."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from ratchet.errors import PortInUse, RatchetError
from ratchet.params import load_params
from ratchet.process import die_with_parent
from ratchet.settings import Settings

START_LIMIT_S = 180
STOP_LIMIT_S = 15
TELEMETRY_OFF = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
}


@dataclass(frozen=True)
class Service:
    """One process: how it is started, and the address that answers once it is ready (None: at once)."""

    name: str
    command: tuple[str, ...]
    health: str | None
    port: int | None


def services(settings: Settings, *, with_schedules: bool) -> list[Service]:
    """The parts in the order in which they start."""
    urls = (settings.prefect_api_url, settings.modelserver_url, settings.gateway_url)
    prefect, model, gateway, verifier, pages = map(urlsplit, (*urls, settings.verifier_url, settings.pages_url))
    base_model = load_params(settings.repo / "params.yaml").base_model
    factory = ("-m", "uvicorn", "--factory", "prefect.server.api.server:create_app", "--log-level", "warning")
    serve = ("-m", "flows.deployments", *(() if with_schedules else ("--no-schedules",)))
    return [
        _service("prefect", (*factory, *_listen(prefect)), settings.prefect_api_url + "/health", prefect.port),
        _service(
            "modelserver",
            ("-m", "modelserver", "--model", base_model, *_listen(model)),
            settings.modelserver_url + "/health",
            model.port,
        ),
        _service("verifier", ("-m", "verifier", *_listen(verifier)), settings.verifier_url + "/healthz", verifier.port),
        _service("gateway", ("-m", "gateway", *_listen(gateway)), settings.gateway_url + "/healthz", gateway.port),
        _service("pages", ("-m", "cli.main", "pages", "--serve"), settings.pages_url + "/healthz", pages.port),
        _service("flows", serve, None, None),
    ]


def environment(settings: Settings) -> dict[str, str]:
    """What every part is started with: one set of folders and addresses, telemetry off."""
    prefect = urlsplit(settings.prefect_api_url)
    return {
        **os.environ,
        **TELEMETRY_OFF,
        "RATCHET_REPO": str(settings.repo),
        "RATCHET_HOME": str(settings.home),
        "RATCHET_CACHE": str(settings.cache),
        "RATCHET_DATABASE_URL": settings.database_url,
        "RATCHET_GATEWAY_URL": settings.gateway_url,
        "RATCHET_MODELSERVER_URL": settings.modelserver_url,
        "RATCHET_VERIFIER_URL": settings.verifier_url,
        "RATCHET_PAGES_URL": settings.pages_url,
        "PREFECT_API_URL": settings.prefect_api_url,
        "PREFECT_HOME": str(settings.home / "prefect"),
        "PREFECT_SERVER_API_HOST": prefect.hostname or "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(prefect.port or 4200),
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://{prefect.hostname}:{prefect.port or 4200}",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_RUNNER_POLL_FREQUENCY": "2",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PYTHONUNBUFFERED": "1",
        "PATH": os.path.dirname(sys.executable) + os.pathsep + os.environ.get("PATH", ""),
    }


@contextmanager
def running(
    settings: Settings,
    *,
    with_schedules: bool,
    say: Callable[[str], None],
    log: Callable[[str], None],
    environ: Mapping[str, str] | None = None,
) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Start all parts, wait until they answer, stop all of them at the end of the block.

    Args:
        with_schedules: whether the clock starts flows, or only people do.
        say: told what is starting.
        log: given each line that a part prints, with the part's name.
        environ: what the parts are started with; the default is this process's own, completed by `environment`.

    Raises:
        PortInUse: before anything is started.
        RatchetError: a part ended, or did not answer in time; the message has its last lines.
    """
    parts = services(settings, with_schedules=with_schedules)
    for part in parts:
        _refuse_taken_port(part)
    started: dict[str, subprocess.Popen[str]] = {}
    tails: dict[str, list[str]] = {}
    try:
        environ = environ or environment(settings)
        # The servers start side by side; the flows are served once the Prefect server answers.
        for group in ([p for p in parts if p.health], [p for p in parts if not p.health]):
            for part in group:
                say(f"starting {part.name}")
                tails[part.name] = []
                started[part.name] = _start(part, settings, environ, tails[part.name], log)
            for part in group:
                _await_ready(part, started[part.name], tails[part.name])
        yield started
    finally:
        _stop(list(reversed(started.values())))


def _service(name: str, arguments: tuple[str, ...], health: str | None, port: int | None) -> Service:
    return Service(name, (sys.executable, *arguments), health, port)


def _listen(address: object) -> tuple[str, ...]:
    host, port = getattr(address, "hostname", None), getattr(address, "port", None)
    return ("--host", host or "127.0.0.1", "--port", str(port or 80))


def _refuse_taken_port(part: Service) -> None:
    if part.port is None:
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", part.port))
        except OSError as error:
            raise PortInUse(
                f"port {part.port} of {part.name} is in use by another process; end that, or give {part.name} another "
                "address (`ratchet doctor` lists the settings)"
            ) from error


def _start(
    part: Service, settings: Settings, environ: Mapping[str, str], tail: list[str], log: Callable[[str], None]
) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        part.command,
        cwd=settings.repo,
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        preexec_fn=die_with_parent,  # noqa: PLW1509 - Linux, and nothing but prctl runs in it
    )
    threading.Thread(target=_pump, args=(part.name, process, tail, log), daemon=True).start()
    return process


def _pump(name: str, process: subprocess.Popen[str], tail: list[str], log: Callable[[str], None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        tail.append(line.rstrip())
        del tail[:-20]
        log(f"{name:<11} | {line.rstrip()}")


def _await_ready(part: Service, process: subprocess.Popen[str], tail: list[str]) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RatchetError(f"{part.name} ended with status {process.returncode}: " + " | ".join(tail[-5:]))
        if part.health is None or _answers(part.health):
            return
        time.sleep(0.2)
    raise RatchetError(f"{part.name} did not answer {part.health} within {START_LIMIT_S} s: " + " | ".join(tail[-5:]))


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def _stop(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_LIMIT_S
    for process in processes:
        try:
            process.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
