from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from gateway.limits import Limits
from ratchet.release import ReleasePolicy
from tests.gateway.conftest import Gateway, Serving, Shop


@pytest.fixture
def receipt(gateway: Gateway) -> str:
    return str(gateway.ask().json()["id"])


@pytest.fixture
def standing_receipt(standing: Gateway) -> str:
    return str(standing.ask().json()["id"])


def test_feedback_is_stored_under_the_interaction(gateway: Gateway, receipt: str) -> None:
    answer = gateway.say(receipt, "thumb", True, comment="quick")
    assert answer.json() == {"feedback_id": gateway.shop.feedback()[0].feedback_id, "stored": True}
    stored = gateway.shop.feedback()[0]
    assert (stored.kind, stored.value, stored.comment, stored.source.id) == ("thumb", True, "quick", "u1")
    assert stored.interaction_id == receipt.removeprefix("chatcmpl-")


def test_the_header_is_a_receipt_too(standing: Gateway, standing_receipt: str) -> None:
    assert standing.say(standing_receipt.removeprefix("chatcmpl-"), "rating", 0.5).status_code == 200


def test_the_same_feedback_twice_is_stored_once(gateway: Gateway, receipt: str) -> None:
    first, again = (gateway.say(receipt, "thumb", False).json() for _ in range(2))
    assert (first["stored"], again["stored"]) == (True, False)
    assert first["feedback_id"] == again["feedback_id"]
    assert gateway.say(receipt, "thumb", True).json()["stored"]


def test_an_id_of_the_application_makes_it_idempotent(standing: Gateway, standing_receipt: str) -> None:
    assert standing.say(standing_receipt, "thumb", True, feedback_id="f1").json() == {
        "feedback_id": "f1",
        "stored": True,
    }
    assert not standing.say(standing_receipt, "thumb", True, feedback_id="f1").json()["stored"]


def test_an_unknown_receipt_is_404(standing: Gateway) -> None:
    answer = standing.say("int_nosuch", "thumb", True)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_receipt")


@pytest.mark.parametrize(
    ("kind", "value", "word"),
    [
        ("thumb", "yes", "true or false"),
        ("rating", 7, "from 0 to 1"),
        ("clap", True, "must be one of thumb, rating"),
        ("preference", {"chosen": "a"}, "rejected"),
        ("correction", 3, "right output"),
    ],
)
def test_a_value_that_does_not_fit_is_422_and_says_what_does(
    standing: Gateway, standing_receipt: str, kind: str, value: Any, word: str
) -> None:
    answer = standing.say(standing_receipt, kind, value)
    assert answer.status_code == 422
    assert word in answer.json()["error"]["message"]


@pytest.mark.parametrize("value", ["loans", '{"route": "loans"}', {"route": "loans"}])
def test_a_correction_is_kept_as_it_was_sent(gateway: Gateway, receipt: str, value: Any) -> None:
    source = {"type": "agent", "id": "a1"}
    assert gateway.say(receipt, "correction", value, source=source).status_code == 200
    assert gateway.shop.feedback()[0].value == value


def test_a_canary_that_lost_a_label_is_corrected_to_it(gateway: Gateway) -> None:
    lost = {"type": "object", "properties": {"route": {"type": "string", "enum": ["cards"]}}}
    gateway.shop.try_canary(gateway.shop.put(text="Name the team.", output_schema=lost))
    answer = gateway.ask("I want a loan")
    assert answer.headers["x-ratchet-channel"] == "canary"
    assert gateway.say(answer.json()["id"], "correction", "loans").json()["stored"]
    assert gateway.say(answer.json()["id"], "correction", "boats").status_code == 422


@pytest.mark.parametrize("value", ["pets SECRET", {"route": "pets"}, {"other": "loans"}])
def test_a_correction_outside_the_schema_is_422_and_names_the_labels(
    standing: Gateway, standing_receipt: str, value: Any
) -> None:
    answer = standing.say(standing_receipt, "correction", value)
    assert answer.status_code == 422
    assert "allowed labels: cards, loans" in answer.text
    assert "SECRET" not in answer.text


def test_a_correction_of_a_free_text_is_a_text(gateway: Gateway) -> None:
    policy = ReleasePolicy(mode="managed", scorer="token_f1")
    gateway.shop.begin("free", gateway.shop.put(text="", feature="free", policy=policy, output_schema=None))
    receipt = gateway.ask(model="free").json()["id"]
    assert gateway.say(receipt, "correction", "The right answer.").status_code == 200
    assert gateway.say(receipt, "correction", {"a": 1}).status_code == 422


def test_another_user_may_not_speak_of_it(standing: Gateway, standing_receipt: str) -> None:
    assert standing.say(standing_receipt, "thumb", True, user="u2").status_code == 403
    assert standing.say(standing_receipt, "thumb", True, user="u1").status_code == 200


def test_an_agent_may_speak_of_a_users_answer(standing: Gateway, standing_receipt: str) -> None:
    assert (
        standing.say(standing_receipt, "thumb", True, user="u2", source={"type": "agent", "id": "a1"}).status_code
        == 200
    )


def test_another_tenant_may_not_speak_of_it(standing: Gateway, standing_receipt: str) -> None:
    source = {"type": "agent", "id": "a1"}
    assert standing.say(standing_receipt, "thumb", True, tenant="acme", source=source).status_code == 403


def test_an_unknown_field_is_422(standing: Gateway, standing_receipt: str) -> None:
    assert "vlaue: unknown field" in standing.say(standing_receipt, "thumb", True, vlaue=1).json()["error"]["message"]


def test_a_source_that_is_another_user_is_refused(standing: Gateway, standing_receipt: str) -> None:
    assert standing.say(standing_receipt, "thumb", True, source={"type": "user", "id": "u2"}).status_code == 403


def test_an_id_of_another_feedback_is_409_and_changes_nothing(gateway: Gateway, receipt: str) -> None:
    gateway.say(receipt, "thumb", True, feedback_id="f1")
    assert gateway.say(receipt, "rating", 0.0, feedback_id="f1").json()["error"]["code"] == "id_taken"
    other = gateway.ask().json()["id"]
    assert gateway.say(other, "thumb", True, feedback_id="f1").status_code == 409
    assert [(f.kind, f.interaction_id) for f in gateway.shop.feedback()] == [
        ("thumb", receipt.removeprefix("chatcmpl-"))
    ]


def test_a_receipt_expires(shop: Shop, limits: Limits) -> None:
    with Serving(shop, dataclasses.replace(limits, receipt_days=0)) as gateway:
        answer = gateway.say(gateway.ask().json()["id"], "thumb", True)
    assert (answer.status_code, answer.json()["error"]["code"]) == (410, "receipt_expired")
