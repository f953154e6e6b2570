"""The real verifier on a port of this machine, the people who use it, and a run that waits for them."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pyotp
import uvicorn
import yaml

from ratchet import git
from ratchet.approvals import Kind, enrol
from ratchet.rollout_policy import RolloutPolicy
from ratchet.runs import Run, change_run, find_run, open_run
from ratchet.settings import Settings, read_secret
from ratchet.trust import check_signatures
from tasks.approve import take_answer
from tests.conftest import POLICY
from tests.released import Machine
from verifier.app import create_app


class People:
    """The enrolled of a running verifier, each with codes that were not used yet."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.ahead_s = 0.0
        self._secrets: dict[str, str] = {}

    def code(self, name: str, kind: Kind = "person") -> str:
        """A fresh code; who is not enrolled is enrolled first. The verifier's clock goes on by a step."""
        if name not in self._secrets:
            token = read_secret(self.settings, "verifier-enrol")
            self._secrets[name] = enrol(self.settings.verifier_url, token, name, kind).secret
        self.ahead_s += 30
        return pyotp.TOTP(self._secrets[name]).at(int(time.time() + self.ahead_s))


@contextmanager
def verifier_on(settings: Settings) -> Iterator[People]:
    """Serve until the end of the block; the people's `settings` name its address."""
    people = People(settings)
    app = create_app(settings, lambda: time.time() + people.ahead_s)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    people.settings = dataclasses.replace(settings, verifier_url=f"http://127.0.0.1:{port}")
    yield people
    server.should_exit = True
    thread.join()


NOW = datetime.now(UTC)


class Desk:
    """A clone whose feature `routing` serves v1, a run that waits with another release, and a running verifier."""

    def __init__(self, people: People) -> None:
        self.people, self.settings = people, people.settings
        self.machine = Machine(self.settings)
        self.store, self.ledger, self.channels = self.machine.store, self.machine.ledger, self.machine.channels
        self.champion = self.machine.release("One.")
        self.channels.begin("routing", self.champion, at=NOW, by="ana", reason="v1")
        self.parts: Any = (self.settings, self.store, self.ledger, self.channels)
        claims = {"gate": {"verdict": "accept"}, "authors": ["ana@example.com", "ana"], "champion": self.champion}
        self.release = self.machine.release("Two.", version=None, run="r1", approve=False, claims=claims)
        commit = git.run(self.settings.repo, "rev-parse", "HEAD")
        facts = {"release_id": self.release, "champion_id": self.champion, "commit": commit, "outcome": "accept"}
        self.run = open_run(self.store, Run(run_id="r1", feature="routing", started_at=NOW.isoformat()))
        self.change(state="awaiting", waits_since=NOW.isoformat(), **facts)
        self.store.acquire_lease("improve:routing", "r1")

    def change(self, **changes: Any) -> None:
        self.run = change_run(self.store, "r1", **changes)

    def policy(self, **approval: Any) -> None:
        rollout = RolloutPolicy().model_dump(mode="json")
        document = POLICY | {"approval": approval, "rollout": rollout}
        (self.settings.repo / "features/routing/feature.yaml").write_text(yaml.safe_dump(document))

    def form(self, name: str, decision: str = "approve", **changes: Any) -> dict[str, Any]:
        answer = {"decision": decision, "approver": name, "digest_prefix": self.release[4:14], "reason": ""}
        return answer | ({} if "code" in changes else {"code": self.people.code(name)}) | changes

    def answer(self, name: str, decision: str = "approve", **changes: Any) -> Run:
        self.run = take_answer(*self.parts, find_run(self.store, "r1"), self.form(name, decision, **changes))
        return self.run

    def events(self) -> list[str]:
        return [entry.event for entry in self.ledger.entries(subject=self.release) if entry.event != "publish"]

    def faults(self) -> list[str]:
        """What a gateway with a trust file would say."""
        return check_signatures(
            self.release, self.machine.releases.attestation(self.release), self.machine.trust
        ).faults
