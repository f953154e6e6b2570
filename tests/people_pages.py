"""The whole server of the pages over real HTTP, on a home with releases, rollouts, runs and what a test adds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from cli.pages import application
from cli.session import Session
from pages.login import Logins
from pages.server import configure
from ratchet.channels import Channels
from ratchet.keys import Keys
from ratchet.ledger import Ledger
from ratchet.listen import address_of, listen
from ratchet.records import Feedback, Input, Interaction, Message, Output, Source
from ratchet.release import ReleaseStore
from ratchet.rollout_policy import RolloutPolicy
from ratchet.rollouts import Rollout
from ratchet.runs import Run, open_run
from ratchet.settings import Settings
from ratchet.store import open_store
from tasks.rollout import read, start, tick
from tests.released import Machine

CLONE = Path(__file__).resolve().parents[1]
CSRF = "X-CSRF-Token"
ROUTING = "support_routing"
POLICY = RolloutPolicy(steps=(0.2, 0.5), outcome_window_s=0, min_users=20, margin=0.05)


class Place:
    """A home of its own under the clone's features; `session` is what the command would open."""

    def __init__(self, session: Session) -> None:
        self.session, self.home = session, session.settings.home
        self.now = datetime.now(UTC) - timedelta(hours=3)
        self._users = 0
        self._machine = Machine(session.settings)

    def release(self, text: str, version: str, feature: str = ROUTING) -> str:
        """A release that was published and approved."""
        claims = {"feature": feature, "gate": {"verdict": "accept", "reasons": ["+4.0 points, 95 %: 1.1 to 6.9"]}}
        return self._machine.release(text, version=version, run=f"{feature}-{version}", claims=claims, feature=feature)

    def serve(self, release_id: str, feature: str = ROUTING) -> None:
        """Put a first release on stable."""
        self.session.channels.begin(feature, release_id, at=self.later(), by="ana", reason="the first release")

    def later(self, minutes: float = 1) -> datetime:
        """Some time later."""
        self.now += timedelta(minutes=minutes)
        return self.now

    def roll_out(self, release_id: str, feature: str = ROUTING, **policy: Any) -> Rollout:
        """Begin a rollout."""
        parts = (self.session.store, self.session.channels, self.session.ledger)
        chosen = POLICY.model_copy(update=policy)
        facts = {"feature": feature, "candidate_id": release_id, "salt": release_id, "approval": f"{feature}-run"}
        return start(*parts, policy=chosen, now=self.later(), **facts)  # type: ignore[arg-type]

    def tick(self, rollout: Rollout) -> str:
        """Let the next tick look; returns what it did."""
        return tick(
            self.session.store, self.session.channels, self.session.ledger, rollout.rollout_id, now=self.later()
        ).action

    def ask(self, pattern: str, rollout: Rollout, segment: str | None = None) -> None:
        """Users whose outcomes are decided: `C`/`c` a content and a discontent one of the canary, `S`/`s` of stable."""
        share = read(self.session.store, self.session.channels, rollout.rollout_id).rollout.share
        for sign in pattern:
            self._users += 1
            at, user = self.later(0.05), f"u{self._users}"
            release = rollout.candidate_id if sign in "Cc" else rollout.champion_id
            asked = Input(messages=(Message(role="user", content="where is my card"),))
            facts: dict[str, Any] = {"interaction_id": f"i{user}", "feature": rollout.feature, "user_id": user}
            facts |= {"release_id": release, "propensity": share if sign in "Cc" else 1 - share}
            facts |= {"latency_ms": 400.0 + self._users % 90, "segment": segment}
            self.session.store.add_interactions([Interaction(**facts, at=at, input=asked, output=Output(content="y"))])
            said = {"feedback_id": f"f{user}", "interaction_id": f"i{user}", "kind": "thumb", "value": sign in "CS"}
            source = Source(type="user", id=user)
            self.session.store.add_feedback([Feedback(**said, at=at, source=source)])  # type: ignore[arg-type]

    def run(self, run_id: str, *, report: str | None = None, **fields: Any) -> Run:
        """The record of a run, with a report."""
        facts: dict[str, Any] = {"feature": ROUTING, "started_at": self.later().isoformat()} | fields
        if report is not None:
            folder = self.home / "reports" / run_id
            folder.mkdir(parents=True)
            (folder / "report.html").write_text(report, encoding="utf-8")
        return open_run(self.session.store, Run(run_id=run_id, **facts))


@contextmanager
def placed(home: Path) -> Iterator[Place]:
    """A home, empty at first."""
    settings = Settings.from_env(
        {"RATCHET_REPO": str(CLONE), "RATCHET_HOME": str(home), "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    )
    with open_store(settings.database_url) as store:
        yield Place(Session(settings, store, Ledger(store.engine), Channels.of(settings), ReleaseStore.of(settings)))


class Visitor:
    """Somebody who is logged in."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self.csrf = client.get("/home").text.split('name="csrf" content="')[1].split('"')[0]

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path)

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        return self.client.post(path, json=body, headers={CSRF: self.csrf} | headers)


class House:
    """The running server."""

    def __init__(self, place: Place, address: str, logins: Logins, keys: Keys) -> None:
        self.place, self.address, self.logins, self.keys = place, address, logins, keys
        self.clients: list[httpx.Client] = []

    def client(self) -> httpx.Client:
        client = httpx.Client(base_url=self.address, headers={"Origin": self.address}, timeout=30)
        self.clients.append(client)
        return client

    def key(self, role: str, *, name: str = "kim", tenant: str = "*", features: tuple[str, ...] = ()) -> str:
        now = datetime.now(UTC)
        return self.keys.add(name, role=role, tenant=tenant, features=features, at=now).token

    def enter(self, body: dict[str, str]) -> httpx.Response:
        return self.client().post("/login", json=body)

    def visitor(self, role: str | None = None, **scope: Any) -> Visitor:
        """Logged in by a link, or by a key of a role."""
        client = self.client()
        body = {"token": self.logins.invite("ana")} if role is None else {"key": self.key(role, **scope)}
        assert client.post("/login", json=body).status_code == 200
        return Visitor(client)


@contextmanager
def opened(place: Place) -> Iterator[House]:
    """The server of a home behind a real socket."""
    keys = Keys(place.session.store.engine)
    logins = Logins("secret", keys)
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(configure(application(place.session, logins)))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    house = House(place, address_of(listener, "127.0.0.1"), logins, keys)
    try:
        yield house
    finally:
        for client in house.clients:
            client.close()
        server.should_exit = True
        thread.join(10)
        listener.close()
