"""gateway.privacy: where a release's policy wants it, no way into the store keeps what patterns find."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.limits import Limits
from gateway.privacy import StoragePrivacy
from ratchet.features import Privacy
from ratchet.records import Feedback, Interaction
from ratchet.release import ReleasePolicy
from ratchet.store import open_store
from tasks.harvest import Watermark, harvest
from tasks.import_records import import_file
from tests.gateway.conftest import Gateway, Serving, Shop

MAIL, PHONE, CARD = "ana@example.com", "+44 20 7946 0958", "4111 1111 1111 1111"
NAME = "Zbigniew Wolański"
PLANTED = f"my name is {NAME}, {MAIL}, {PHONE}, card {CARD}"
POLICY = ReleasePolicy(scorer="label_accuracy", privacy=Privacy(scrub_in_gateway=True))
HISTORY = [
    {
        "interaction_id": "old",
        "at": "2026-01-01T10:00:00Z",
        "input": {"messages": [{"role": "user", "content": PLANTED}], "variables": {MAIL: PHONE}},
        "output": {"content": f"Hello {NAME}", "tool_calls": [{"to": MAIL}]},
        "note": PLANTED,
    },
    {
        "feedback_id": "old said",
        "interaction_id": "old",
        "at": "2026-01-01T10:00:00Z",
        "kind": "correction",
        "value": f"Hello {NAME}, we will call {PHONE}",
        "source": {"type": "agent", "id": MAIL},
        "comment": PLANTED,
    },
]


@pytest.fixture
def scrubbing(shop: Shop) -> Iterator[Gateway]:
    """A gateway whose stable release wants records scrubbed; its model repeats the question."""
    release_id = shop.put(text="Name the team, please.", policy=POLICY, output_schema=None)
    now = shop.channels.read("routing")
    shop.channels.move(
        "routing",
        stable=release_id,
        canary=None,
        expected_version=now.version,
        at=datetime.now(UTC),
        by="ana",
        reason="privacy",
    )
    shop.fake.reply = lambda body: body["messages"][-1]["content"]
    with Serving(shop, Limits()) as gateway:
        yield gateway


def in_store(shop: Shop) -> str:
    """Every row of the database as text, without the user's id, which stays until harvest."""
    path = shop.settings.database_url.removeprefix("sqlite:///")
    with sqlite3.connect(path) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return "\n".join(str(row) for table in tables for row in connection.execute(f"SELECT * FROM {table}"))


def send_through_every_way_in(gateway: Gateway) -> None:
    ratchet: dict[str, Any] = {"session": "s1", "variables": {"mail": MAIL}, "contexts": [{"id": "c", "text": PLANTED}]}
    answer = gateway.ask(PLANTED, ratchet=ratchet)
    assert MAIL in answer.json()["choices"][0]["message"]["content"]  # the caller gets it as it was
    streamed = gateway.ask(PLANTED, stream=True, ratchet=ratchet)
    assert streamed.text.endswith("data: [DONE]\n\n")
    said = gateway.say(answer.json()["id"], "comment", PLANTED, comment=PLANTED)
    assert said.json()["stored"] is True
    gateway.shop.await_interactions(2)


def test_no_way_into_the_store_or_into_raw_keeps_personal_data(scrubbing: Gateway, tmp_path: Path) -> None:
    send_through_every_way_in(scrubbing)
    kept = in_store(scrubbing.shop)
    assert not [datum for datum in (MAIL, PHONE, CARD) if datum in kept] and "<EMAIL_" in kept
    imported = tmp_path / "history.jsonl"
    imported.write_text("".join(json.dumps(row) + "\n" for row in HISTORY), encoding="utf-8")
    with open_store(scrubbing.shop.settings.database_url) as store:
        rejects = tmp_path / "rejects.jsonl"
        import_file(store, imported, feature="routing", rejects=rejects, on_progress=lambda n: None)
        report = harvest(store, "routing", tmp_path / "raw", after=Watermark(), key=b"k" * 32)
    files = [path.read_text(encoding="utf-8") for path in (tmp_path / "raw").rglob("*.jsonl")]
    assert (report.interactions_new, report.feedback_new, report.rejected) == (3, 2, 0)
    assert len(files) == 4 and all("<PERSON_" in text for text in files)
    assert not [datum for datum in (MAIL, PHONE, CARD, "Zbigniew", "Wolański") for text in files if datum in text]


def test_question_answer_and_feedback_have_the_same_pseudonyms(scrubbing: Gateway) -> None:
    send_through_every_way_in(scrubbing)
    asked = scrubbing.shop.interactions()[0]
    assert asked.input.messages[-1].content == asked.output.content == scrubbing.shop.feedback()[0].value


def test_without_the_policy_records_are_stored_as_they_came(gateway: Gateway) -> None:
    gateway.ask(PLANTED)
    assert gateway.shop.await_interactions()[0].input.messages[-1].content == PLANTED


def test_records_from_elsewhere_follow_the_features_stable_release(scrubbing: Gateway) -> None:
    shop = scrubbing.shop
    record = Interaction.model_validate(
        {
            "interaction_id": "foreign",
            "feature": "routing",
            "at": datetime.now(UTC),
            "input": {"messages": [{"role": "user", "content": PLANTED}]},
            "output": {"content": "ok"},
        }
    )
    said = Feedback.model_validate(
        {
            "feedback_id": "early",
            "interaction_id": "not there yet",
            "at": datetime.now(UTC),
            "kind": "comment",
            "value": PLANTED,
            "source": {"type": "user", "id": "u1"},
        }
    )
    with open_store(shop.settings.database_url) as store:
        privacy = StoragePrivacy(shop.settings, store)
        assert MAIL not in privacy.scrub(record).model_dump_json()
        assert MAIL not in privacy.scrub(said).model_dump_json()
        gone = record.model_copy(update={"release_id": "rel_" + "0" * 64})
        assert MAIL not in privacy.scrub(gone).model_dump_json()
        unknown = record.model_copy(update={"feature": "../routing"})
        assert privacy.scrub(unknown) == unknown
