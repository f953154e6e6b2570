"""The gateway and the verifier as processes of their own, driven until they are killed, or until their disk is full."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import httpx
import pyotp

from benchmarks.kills import CLONE
from ratchet.settings import Settings, read_secret
from ratchet.store import open_store

CALLERS = 4
SUBJECT = "rel_" + "0123456789abcdef" * 4
STEP_S = 30
CODES = 10  # of one person so many are valid at any time


class Server(NamedTuple):
    """A process that listens."""

    process: subprocess.Popen[str]
    url: str


@contextmanager
def server(
    module: str, environ: Mapping[str, str], *, inside: Sequence[str] = (), log: IO[bytes] | int = subprocess.DEVNULL
) -> Iterator[Server]:
    """Run `python -m module` until the end of the block; `inside` goes before it on the command line."""
    command = [*inside, sys.executable, "-m", module, "--port", "0"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RATCHET_")}
    with subprocess.Popen(
        command, cwd=CLONE, env=kept | dict(environ), stdout=subprocess.PIPE, stderr=log, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if " ready " not in line:
                raise RuntimeError(f"{module} did not start")
            yield Server(process, line.rsplit(" ", 1)[-1].strip())
        finally:
            process.kill()


def kill_gateways(environ: Mapping[str, str], rounds: int) -> dict[str, int]:
    """Kill a gateway that answers and takes feedback, `rounds` times; what it acknowledged must be in the store."""
    dice, told, lost = random.Random(3), 0, 0
    settings = Settings.from_env(environ)
    for _ in range(rounds):
        heard: list[tuple[str, str]] = []
        with server("gateway", environ) as running:
            callers = [threading.Thread(target=call_until_dead, args=(running.url, heard)) for _ in range(CALLERS)]
            for caller in callers:
                caller.start()
            time.sleep(dice.uniform(0.05, 0.8))
            running.process.kill()
            for caller in callers:
                caller.join()
        told += len(heard)
        lost += missing(settings, heard)
    return {"kills": rounds, "acknowledged": told, "lost": lost}


def call_until_dead(url: str, heard: list[tuple[str, str]], *, until: threading.Event | None = None) -> None:
    """Ask and send feedback by turns; keep what was acknowledged. A refusal acknowledges nothing."""
    body: dict[str, Any] = {"model": "helping", "user": "u1", "messages": [{"role": "user", "content": "a card"}]}
    with contextlib.suppress(httpx.HTTPError), httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        while until is None or not until.is_set():
            answer = client.post("/v1/chat/completions", json=body)
            if answer.status_code != 200:
                continue
            receipt = answer.headers["x-ratchet-interaction-id"]
            heard.append(("interaction", receipt))
            said = client.post("/v1/feedback", json={"interaction_id": receipt, "kind": "thumb", "value": True})
            if said.status_code == 200:
                heard.append(("feedback", said.json()["feedback_id"]))


def missing(settings: Settings, heard: Sequence[tuple[str, str]]) -> int:
    """How much of what was acknowledged is not in the store."""
    with open_store(settings.database_url) as store:
        find = {"interaction": store.interaction, "feedback": store.feedback_of}
        return sum(find[kind](record_id) is None for kind, record_id in heard)


def kill_verifiers(environ: Mapping[str, str], rounds: int) -> dict[str, int]:
    """Kill a verifier that enrols and signs; whom it enrolled stays, and no code that it took is taken again."""
    dice, signed, lost, twice = random.Random(4), 0, 0, 0
    settings = Settings.from_env(environ)
    before: list[tuple[str, str]] = []  # the names and codes that the last one accepted
    for number in range(rounds + 1):
        with server("verifier", environ) as running:
            token = {"Authorization": f"Bearer {read_secret(settings, 'verifier-enrol')}"}
            with httpx.Client(base_url=running.url, trust_env=False, timeout=30) as client:
                if before:
                    names = {person["name"] for person in client.get("/v1/people", headers=token).json()}
                    lost += before[-1][0] not in names
                    twice += _sign(client, *before[-1]) == 200
                before = []
                if number == rounds:
                    break
                killer = threading.Timer(dice.uniform(0.01, 0.5), running.process.kill)
                killer.start()
                with contextlib.suppress(httpx.HTTPError):
                    _use_codes(client, token, f"p{number}", before)
                killer.join()
        signed += len(before)
    return {"kills": rounds, "acknowledged": signed, "lost": lost, "double": twice}


def _use_codes(client: httpx.Client, token: dict[str, str], name: str, accepted: list[tuple[str, str]]) -> None:
    secret = client.post("/v1/people", json={"name": name, "kind": "person"}, headers=token).json()["secret"]
    now = int(time.time())
    for age in range(CODES - 1, -1, -1):
        code = pyotp.TOTP(secret).at(now - age * STEP_S)
        if _sign(client, name, code) == 200:
            accepted.append((name, code))


def _sign(client: httpx.Client, name: str, code: str) -> int:
    facts = {"run_id": "run_1", "subject": SUBJECT, "digest_prefix": SUBJECT[4:12], "approver": name}
    return client.post("/v1/approvals", json=facts | {"code": code, "decision": "approve"}).status_code


def fill_disk(environ: Mapping[str, str], *, megabytes: int) -> dict[str, Any] | None:
    """A gateway whose state lies on a tmpfs of its own, filled to the last byte while it is asked, then given room.

    Returns:
        What was acknowledged before, while and after it was full, what of it is lost, and the statuses meanwhile; None
        where this machine lets nobody mount a tmpfs (a user namespace is needed).
    """
    home = environ["RATCHET_HOME"]
    mount = f'mount -t tmpfs -o size={megabytes}m none "$0" && cp -a "$0.made/." "$0" && exec "$@"'
    inside = ["unshare", "-rm", "sh", "-c", mount, home]
    if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode:
        return None
    os.rename(home, f"{home}.made")
    Path(home).mkdir()
    with server("gateway", environ, inside=inside) as running:
        there = Path(f"/proc/{running.process.pid}/root{home}")
        heard: list[tuple[str, str]] = []
        statuses = {"before": ask_some(running.url, heard)}
        ballast = there / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass
        statuses["full"] = ask_some(running.url, heard)
        ballast.unlink()
        statuses["after"] = ask_some(running.url, heard)
        for path in there.glob("store.db*"):  # SQLite would follow /proc/…/root to our own root: so it reads a copy
            shutil.copy(path, home)
    lost = missing(Settings.from_env(environ), heard)
    return {"acknowledged": len(heard), "lost": lost, "statuses": statuses}


def ask_some(url: str, heard: list[tuple[str, str]], n: int = 60) -> dict[str, int]:
    """The statuses of `n` questions, by how often each came."""
    found: dict[str, int] = {}
    body: dict[str, Any] = {"model": "helping", "user": "u1"}
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        for number in range(n):
            asked = [{"role": "user", "content": f"a card {number} " + "x" * 2000}]
            answer = client.post("/v1/chat/completions", json=body | {"messages": asked})
            found[str(answer.status_code)] = found.get(str(answer.status_code), 0) + 1
            if answer.status_code == 200:
                heard.append(("interaction", answer.headers["x-ratchet-interaction-id"]))
    return found
