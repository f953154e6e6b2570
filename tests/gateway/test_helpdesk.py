from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from gateway.helpdesk import sign
from ratchet.release import ReleasePolicy
from ratchet.settings import read_secret
from ratchet.store import open_store
from tests.gateway.conftest import Gateway
from tests.gateway.test_traces import RECEIPT, export
from tests.ratchet.spans import chat, request, span

ANSWER = "A new card costs 5 pounds and arrives within 4 working days."
EDITED = "A new card is free for you and arrives within 4 working days."


def post(gateway: Gateway, body: Any, *, timestamp: str | None = None, **changes: str | bytes) -> httpx.Response:
    """A webhook signed as it should be, but for the `changes` of its headers."""
    stamp = timestamp or datetime.now(UTC).isoformat()
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    secret = read_secret(gateway.shop.settings, "helpdesk")
    headers: dict[str, str | bytes] = {"x-ratchet-timestamp": stamp, "x-ratchet-signature": sign(secret, stamp, sent)}
    return gateway.http.post("/v1/helpdesk", content=sent, headers=headers | changes)


def reply(**fields: Any) -> dict[str, Any]:
    return {"receipt": RECEIPT, "agent": "agent-7", "sent": ANSWER} | fields


@pytest.fixture
def answers(gateway: Gateway) -> Gateway:
    """A gateway with a feature of free text and one observed answer of it."""
    policy = ReleasePolicy(mode="managed", scorer="token_f1")
    gateway.shop.begin(
        "answers", gateway.shop.put(text="Answer.", feature="answers", output_schema=None, policy=policy)
    )
    assert export(gateway, request(span(chat("what does a card cost?", ANSWER))), feature="answers").json() == {}
    return gateway


def stored(gateway: Gateway, feature: str = "answers") -> list[tuple[str, Any]]:
    with open_store(gateway.shop.settings.database_url) as store:
        return [(record.kind, record.value) for _, _, record in store.feedback(feature)]


def test_a_reply_sent_as_suggested_is_accepted(answers: Gateway) -> None:
    told = post(answers, reply(sent=f"Dear Ana,\n{ANSWER}\n\nRegards\nSam")).json()
    assert (told["stored"], told["kind"], told["similarity"]) == (True, "accept", 1.0)
    assert stored(answers) == [("accept", True)]


def test_an_edited_reply_is_a_correction(answers: Gateway) -> None:
    told = post(answers, reply(sent=EDITED, ticket=4711, suggested=ANSWER)).json()
    assert told["kind"] == "correction" and 0.5 < told["similarity"] < 1
    assert stored(answers) == [("correction", EDITED)]


def test_an_unrelated_reply_teaches_nothing(answers: Gateway) -> None:
    post(answers, reply(sent="We cannot reset your passcode by mail; please call us."))
    assert stored(answers) == [("accept", 0.0)]


def test_the_receipt_is_found_inside_a_note(answers: Gateway) -> None:
    assert post(answers, reply(receipt=f"suggested by the assistant ({RECEIPT}).")).json()["stored"]


def test_a_webhook_sent_again_changes_nothing(answers: Gateway) -> None:
    assert [post(answers, reply(sent=sent)).json()["stored"] for sent in (EDITED, EDITED, ANSWER)] == [
        True,
        False,
        False,
    ]
    assert stored(answers) == [("correction", EDITED)]
    assert post(answers, reply(agent="agent-8")).json()["stored"]


def test_a_label_feature_compares_labels(gateway: Gateway) -> None:
    receipt = gateway.ask("my card is lost").json()["id"]
    assert post(gateway, {"receipt": receipt, "agent": "a1", "label": "cards"}).json()["kind"] == "accept"
    assert post(gateway, {"receipt": receipt, "agent": "a2", "label": "loans"}).json()["kind"] == "correction"
    assert stored(gateway, "routing") == [("accept", True), ("correction", "loans")]


def test_an_observed_answer_is_held_against_the_live_release(gateway: Gateway) -> None:
    export(gateway, request(span(chat(answered='{"route": "cards"}'))))
    assert post(gateway, reply(label="loans")).json()["kind"] == "correction"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "malformed_json"),
        (b'{"receipt": "\\ud800"}', 400, "malformed_json"),
        (b'{"a": ' + b"[" * 70 + b"]" * 70 + b"}", 400, "nested_too_deeply"),
        ({"sent": "x"}, 422, "invalid_body"),
        (reply(agent=7), 422, "invalid_body"),
        (reply(receipt="int_nosuch"), 404, "unknown_receipt"),
        (reply(sent=None), 422, "invalid_body"),
        (reply(suggested="We cannot reset your passcode by mail."), 422, "another_answer"),
    ],
)
def test_a_body_that_cannot_be_used_is_refused(answers: Gateway, body: Any, status: int, code: str) -> None:
    answer = post(answers, body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert stored(answers) == []


@pytest.mark.parametrize(("label", "code"), [(None, "invalid_body"), ("SECRET", "not_in_schema")])
def test_a_label_that_is_missing_or_unknown_is_422(standing: Gateway, label: str | None, code: str) -> None:
    receipt = standing.ask().json()["id"]
    answer = post(standing, {"receipt": receipt, "agent": "a", "sent": "x", "label": label})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, code)
    assert "SECRET" not in answer.text


def test_only_the_holder_of_the_secret_may_call(standing: Gateway) -> None:
    body = json.dumps(reply()).encode()
    old = datetime.now(UTC).isoformat()
    answers = [
        standing.http.post("/v1/helpdesk", content=body),
        post(standing, reply(), **{"x-ratchet-signature": sign("guess", old, body)}),
        post(standing, reply(), **{"x-ratchet-timestamp": datetime.now(UTC).isoformat()}),
        post(standing, reply(), **{"x-ratchet-signature": b"\xff"}),
    ]
    assert [(a.status_code, a.json()["error"]["code"]) for a in answers] == [(401, "bad_signature")] * 4


@pytest.mark.parametrize(
    ("timestamp", "code"),
    [
        ((datetime.now(UTC) - timedelta(minutes=6)).isoformat(), "too_old"),
        ((datetime.now(UTC) + timedelta(hours=1)).isoformat(), "too_old"),
        ("9" * 30, "bad_timestamp"),
        ("yesterday", "bad_timestamp"),
    ],
    ids=["six minutes old", "from the future", "no time at all", "words"],  # a time would name the test anew each run
)
def test_an_old_webhook_cannot_be_replayed(standing: Gateway, timestamp: str, code: str) -> None:
    answer = post(standing, reply(), timestamp=timestamp)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, code)


def test_zendesks_own_headers_are_understood(answers: Gateway) -> None:
    body, stamp = json.dumps(reply()).encode(), datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    signature = sign(read_secret(answers.shop.settings, "helpdesk"), stamp, body)
    headers = {"X-Zendesk-Webhook-Signature": signature, "X-Zendesk-Webhook-Signature-Timestamp": stamp}
    assert answers.http.post("/v1/helpdesk", content=body, headers=headers).json()["stored"]
