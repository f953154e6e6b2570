"""tasks.probe against a server that speaks the protocol: noise is no change, another model is."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ratchet.ledger import Ledger
from ratchet.probes import Probe, changes_since, probes
from ratchet.settings import Settings
from ratchet.store import open_store
from tasks.probe import EVENT, probe_all
from tests.gateway.fake_model_server import FakeModelServer

AT = datetime(2026, 1, 2, tzinfo=UTC)
WORDS = [f"word{number}" for number in range(20)]
Reply = Callable[[dict[str, Any]], str]


def noisy(seed: int, share: float = 0.15) -> Reply:
    """A model whose answers to a prompt are its own, with some words different every time."""
    dice = random.Random(seed)

    def reply(body: dict[str, Any]) -> str:
        own = random.Random(body["messages"][0]["content"]).choices(WORDS, k=20)
        return " ".join(dice.choice(WORDS) if dice.random() < share else word for word in own)

    return reply


class Desk:
    """A clone with one hosted backend."""

    def __init__(self, folder: Path, fake: FakeModelServer) -> None:
        self.fake = fake
        (folder / "features" / "_probe").mkdir(parents=True)
        lines = [f'{{"id": "p{n}", "prompt": "question {n}"}}\n' for n in range(5)]
        (folder / "features" / "_probe" / "prompts.jsonl").write_text("".join(lines))
        backends = f"backends:\n  hosted: {{preset: openai, url: '{fake.url}', models: {{ours: theirs}}}}\n"
        (folder / "backends.yaml").write_text(backends)
        environ = {"RATCHET_REPO": str(folder), "RATCHET_HOME": str(folder), "RATCHET_ALLOW_PRIVATE": "1"}
        self.settings = Settings.from_env(environ)
        self.days = itertools.count()

    def probe(self) -> Probe:
        now = AT + timedelta(days=next(self.days))
        with open_store(self.settings.database_url) as store:
            [found] = probe_all(self.settings, store, Ledger(store.engine), environ={}, now=now)
            assert probes(store, "hosted", "theirs")[-1] == found
            return found

    def events(self) -> list[str]:
        with open_store(self.settings.database_url) as store:
            assert len(changes_since(store, AT)) == len(Ledger(store.engine).entries(event=EVENT))
            return [entry.subject for entry in Ledger(store.engine).entries(event=EVENT)]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with FakeModelServer(noisy(1), base="theirs") as fake:
        yield Desk(tmp_path, fake)


def test_a_models_own_variation_is_no_change(desk: Desk) -> None:
    found = [desk.probe() for _ in range(7)]
    assert not any(probe.reasons for probe in found) and desk.events() == []
    assert found[-1].similarity_within is not None and 0.3 < found[-1].similarity_within < 1  # it did vary


def test_another_model_under_the_same_name_is_told_once(desk: Desk) -> None:
    for _ in range(3):
        desk.probe()
    usual = desk.fake.reply
    desk.fake.reply = lambda body: usual({"messages": [{"content": "now " + body["messages"][0]["content"]}]})
    assert "like those before" in desk.probe().reasons[0]
    assert not desk.probe().reasons and desk.events() == ["hosted/theirs"]


def test_one_changed_answer_of_a_model_without_noise_is_told(desk: Desk) -> None:
    desk.fake.reply = lambda body: f"the answer to {body['messages'][0]['content']}"
    for _ in range(5):
        assert not desk.probe().reasons
    desk.fake.reply = lambda body: f"the answer to {body['messages'][0]['content']}".replace(
        "answer to q", "reply at q"
    )
    assert desk.probe().reasons


def test_a_provider_that_is_down_is_counted_and_no_change(desk: Desk) -> None:
    desk.probe()
    desk.fake.broken["theirs"] = 500
    down = desk.probe()
    assert (down.failed, down.answers, down.reasons) == (15, {}, ())
    desk.fake.broken.clear()
    assert desk.probe().p is not None and desk.events() == []
