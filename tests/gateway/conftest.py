from __future__ import annotations

import dataclasses
import json
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import uvicorn

from gateway.app import create_app
from gateway.limits import Limits
from ratchet.channels import Canary, Channels
from ratchet.records import Feedback, Interaction
from ratchet.release import ReleaseStore
from ratchet.settings import Settings
from ratchet.store import open_store
from tests.gateway.fake_model_server import FakeModelServer
from tests.released import made_candidate

SCHEMA = {"type": "object", "properties": {"route": {"type": "string", "enum": ["cards", "loans"]}}}
AT = datetime(2026, 1, 2, tzinfo=UTC)


class Shop:
    """A machine with one feature `routing`: its settings, channels and releases, and a model server."""

    def __init__(self, root: Path, fake: FakeModelServer) -> None:
        self.root = root
        self.fake = fake
        environ = {
            "RATCHET_REPO": str(root),
            "RATCHET_HOME": str(root / "home"),
            "RATCHET_MODELSERVER_URL": fake.url,
        }
        self.environ = environ
        self.settings = Settings.from_env(environ)
        self.channels = Channels(self.settings.channels_dir)
        self.stable = self.put(text="Name the team.")
        self.channels.begin("routing", self.stable, at=AT, by="ana", reason="first")

    def put(self, *, text: str, weights: bytes | None = None, **changes: Any) -> str:
        """Store a release; with `weights` it is an adapter. Returns its id."""
        folder = made_candidate(self.root, text, weights=weights, **({"output_schema": SCHEMA} | changes))
        return ReleaseStore(self.settings.releases_dir).put(folder)

    def begin(self, feature: str, release_id: str) -> None:
        """Give another feature its first release."""
        self.channels.begin(feature, release_id, at=AT, by="ana", reason="first")

    def try_canary(self, release_id: str, share: float = 0.999999) -> None:
        """Give a release a share of the users: by default all of them."""
        trial = Canary(release_id=release_id, share=share, salt="s1", rollout_id="ro1")
        now = self.channels.read("routing")
        self.channels.move(
            "routing", stable=now.stable, canary=trial, expected_version=now.version, at=AT, by="ana", reason="trial"
        )

    def interactions(self) -> list[Interaction]:
        with open_store(self.settings.database_url) as store:
            return [record for _, record in store.interactions("routing")]

    def feedback(self) -> list[Feedback]:
        with open_store(self.settings.database_url) as store:
            return [record for _, _, record in store.feedback("routing")]

    def await_interactions(self, n: int = 1) -> list[Interaction]:
        """What is stored, once there are `n` records."""
        deadline = time.monotonic() + 5
        while len(found := self.interactions()) < n and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(found) == n
        return found


class Gateway:
    """A running gateway and its clients."""

    def __init__(self, url: str, shop: Shop) -> None:
        self.url = url
        self.shop = shop
        self.http = httpx.Client(base_url=url, trust_env=False, timeout=20)
        self.openai = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)

    def ask(self, text: str = "my card is lost", *, user: str | None = "u1", **more: Any) -> httpx.Response:
        body: dict[str, Any] = {"model": "routing", "messages": [{"role": "user", "content": text}]}
        return self.http.post("/v1/chat/completions", json=body | ({"user": user} if user else {}) | more)

    def say(self, receipt: str, kind: str, value: Any, **more: Any) -> httpx.Response:
        return self.http.post("/v1/feedback", json={"interaction_id": receipt, "kind": kind, "value": value} | more)


class Serving:
    """An app on a real port in a thread, for a block."""

    def __init__(self, shop: Shop, limits: Limits) -> None:
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(create_app(shop.settings, limits), log_level="error", access_log=False)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listener]})
        self.gateway = Gateway(f"http://127.0.0.1:{self.listener.getsockname()[1]}", shop)

    def __enter__(self) -> Gateway:
        self.thread.start()
        deadline = time.monotonic() + 10
        while not self.server.started and time.monotonic() < deadline:
            time.sleep(0.005)
        return self.gateway

    def __exit__(self, *_: object) -> None:
        self.gateway.http.close()
        self.gateway.openai.close()
        self.server.should_exit = True
        self.thread.join()
        self.listener.close()


def label_of_question(body: dict[str, Any]) -> str:
    """What a perfect model would say."""
    return json.dumps({"route": "cards" if "card" in body["messages"][-1]["content"] else "loans"})


@pytest.fixture
def fake() -> Iterator[FakeModelServer]:
    with FakeModelServer(label_of_question) as server:
        yield server


@pytest.fixture
def shop(tmp_path: Path, fake: FakeModelServer) -> Shop:
    return Shop(tmp_path, fake)


@pytest.fixture
def limits() -> Limits:
    return dataclasses.replace(Limits(), try_s=1.0, breaker_failures=3, breaker_open_s=0.5)


@pytest.fixture
def gateway(shop: Shop, limits: Limits) -> Iterator[Gateway]:
    with Serving(shop, limits) as running:
        yield running


@pytest.fixture(scope="session")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that all tests share whose outcome depends on nothing that is stored."""
    with (
        FakeModelServer(label_of_question) as fake,
        Serving(Shop(tmp_path_factory.mktemp("standing"), fake), Limits()) as running,
    ):
        yield running
