"""ratchet.feedback: what each source claims about an answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ratchet.features import Feature
from ratchet.feedback import claims_of
from ratchet.records import Feedback
from ratchet.signals import WEIGHT, Signal
from tests.routing_clone import feature_fields, target

ROUTING = Feature.model_validate(feature_fields())
FREE = Feature.model_validate(feature_fields(output_schema=None, scorer="token_f1"))
AT = datetime(2026, 1, 5, 10, tzinfo=UTC)


def row(**changes: Any) -> dict[str, Any]:
    fields = {"interaction_id": "i1", "tenant": "default", "user_id": "u", "session_id": "s", "at": AT.isoformat()}
    fields |= {"messages": "[]", "variables": "{}", "contexts": "[]", "output": target("cards"), "fallback": False}
    return fields | {"consent": None, "input_text": "my card is lost"} | changes


def said(kind: str, value: Any, by: str = "agent:ana", minutes: int = 1) -> Feedback:
    source = dict(zip(("type", "id"), by.split(":"), strict=True))
    at = AT + timedelta(minutes=minutes)
    fields = {"feedback_id": f"{kind}{by}{minutes}", "interaction_id": "i1", "at": at, "kind": kind, "value": value}
    return Feedback.model_validate(fields | {"source": source})


def test_what_each_source_says_is_a_claim() -> None:
    told = [said("correction", "loans"), said("thumb", True, "user:u"), said("thumb", False, "judge:j")]
    found = claims_of(row(), told, ROUTING)
    assert [(c.source_type, c.target, c.is_written, c.weight) for c in found] == [
        ("agent", target("loans"), True, 1.0),
        ("judge", None, False, 0.3),
        ("user", target("cards"), False, 0.5),
    ]
    assert {(c.interaction_id, c.user_id, c.session_id, c.own) for c in found} == {("i1", "u", "s", target("cards"))}


def test_of_one_source_its_last_correction_counts_or_its_last_thumb() -> None:
    thumbs = [said("thumb", True, minutes=1), said("thumb", False, minutes=2)]
    assert [c.target for c in claims_of(row(), thumbs, ROUTING)] == [None]
    told = [said("correction", "loans", minutes=1), said("correction", "cards", minutes=2), *thumbs]
    assert [c.target for c in claims_of(row(), told, ROUTING)] == [target("cards")]


def test_a_correction_that_cannot_be_a_target_still_says_that_the_answer_is_wrong() -> None:
    (claim,) = claims_of(row(), [said("correction", "mortgages")], ROUTING)
    assert (claim.target, claim.flaw, claim.weight) == (None, "label not in schema", 0.0)


@pytest.mark.parametrize(
    "told",
    [said("comment", "hm"), said("rating", 0.5), said("abandon", True), said("accept", 0.2), said("rephrase", False)],
)
def test_what_says_neither_right_nor_wrong_is_no_claim(told: Feedback) -> None:
    assert claims_of(row(), [told], ROUTING) == []


def test_praise_of_an_answer_that_cannot_be_a_target_is_no_claim() -> None:
    assert claims_of(row(output="no idea"), [said("thumb", True)], ROUTING) == []
    assert claims_of(row(output=""), [said("thumb", True)], FREE) == []


def test_copies_of_a_question_have_one_text() -> None:
    asked = [row(messages=f'[{{"role": "user", "content": "{text}"}}]') for text in ("My card!", "my  CARD")]
    texts = {claims_of(found, [said("thumb", True)], ROUTING)[0].text for found in asked}
    assert texts == {"my card"}


def test_a_derived_signal_claims_what_it_was_measured_to_weigh_and_nothing_where_that_is_nothing() -> None:
    signals = [Signal("i1", "rephrase", AT, 0.8), Signal("i1", "abandon", AT, 0.5)]
    (claim,) = claims_of(row(), [], ROUTING, signals)
    assert (claim.is_derived, claim.source_id, claim.target) == (True, "rephrase", None)
    assert claim.weight == pytest.approx(0.8 * WEIGHT["rephrase"]) and WEIGHT["abandon"] == 0


def test_a_source_that_is_named_like_a_signal_is_none() -> None:
    told = [said("thumb", True, "system:rephrase")]
    found = claims_of(row(), told, ROUTING, [Signal("i1", "rephrase", AT, 0.8)])
    assert {c.is_derived: c.target for c in found} == {False: target("cards"), True: None}
