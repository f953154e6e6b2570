"""ratchet.examples: how all feedback on one interaction becomes an example or a reason."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.examples import Example, SetAside, resolve
from ratchet.features import Feature
from ratchet.feedback import claims_of
from ratchet.records import Feedback
from ratchet.signals import Signal
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


def outcome(*feedbacks: Feedback, feature: Feature = ROUTING, rephrased: bool = False, **changes: Any) -> str:
    """`target/origin/weight`, or the reason."""
    asked, signals = row(**changes), [Signal("i1", "rephrase", AT, 0.8)] if rephrased else []
    found = resolve(asked, claims_of(asked, feedbacks, feature, signals), feature)
    return found.reason if isinstance(found, SetAside) else f"{found.target}/{found.origin}/{found.weight}"


CARDS, LOANS = target("cards"), target("loans")
UP, DOWN = said("thumb", True, "user:u"), said("thumb", False, "user:u")
CASES = [
    ([said("correction", "loans")], f"{LOANS}/correction/1.0"),
    ([said("correction", {"route": "loans"})], f"{LOANS}/correction/1.0"),
    ([said("correction", "loans", "user:u")], f"{LOANS}/correction/0.8"),
    ([said("correction", "loans"), UP], f"{LOANS}/correction/1.0"),
    ([said("correction", "loans"), said("correction", "cards", "user:u")], f"{LOANS}/correction/1.0"),
    ([said("correction", "loans", "user:u"), said("thumb", False)], f"{LOANS}/correction/0.8"),
    ([said("correction", "cards")], f"{CARDS}/confirmed/1.0"),
    ([said("thumb", True)], f"{CARDS}/confirmed/1.0"),
    ([UP], f"{CARDS}/confirmed/0.5"),
    ([said("rating", 0.9, "user:u")], f"{CARDS}/confirmed/0.5"),
    ([said("preference", {"chosen": "loans", "rejected": "cards"})], f"{LOANS}/correction/1.0"),
    ([said("correction", "cards", minutes=1), said("correction", "loans", minutes=2)], f"{LOANS}/correction/1.0"),
    ([said("correction", "loans", minutes=1), said("correction", "cards", minutes=2)], f"{CARDS}/confirmed/1.0"),
    ([said("thumb", False), said("correction", "loans", minutes=0)], f"{LOANS}/correction/1.0"),
    ([said("correction", "loans"), said("correction", "cards", "agent:ben")], "disagreement"),
    ([said("correction", "loans"), said("thumb", True, "agent:ben")], "disagreement"),
    ([said("thumb", False), said("thumb", True, "agent:ben")], "disagreement"),
    ([said("thumb", False), UP], "negative without correction"),
    ([DOWN], "negative without correction"),
    ([said("escalation", True, "system:bot")], "negative without correction"),
    ([said("correction", "mortgages")], "label not in schema"),
    ([said("correction", {"team": "loans"})], "label not in schema"),
    ([said("comment", "hm", "user:u")], "no verdict in the feedback"),
    ([said("rating", 0.5, "user:u")], "no verdict in the feedback"),
    ([], "no verdict in the feedback"),
]


@pytest.mark.parametrize(("feedbacks", "expected"), CASES)
def test_feedback_is_resolved(feedbacks: list[Feedback], expected: str) -> None:
    assert outcome(*feedbacks) == expected


def test_asking_again_is_a_no_that_only_an_agent_or_a_correction_outweighs() -> None:
    assert outcome(rephrased=True) == "rephrased without correction"
    assert outcome(UP, rephrased=True) == "rephrased without correction"
    assert outcome(said("thumb", True), rephrased=True) == f"{CARDS}/confirmed/1.0"
    assert outcome(said("correction", "loans", "user:u"), rephrased=True) == f"{LOANS}/correction/0.8"


def test_a_free_text_that_was_liked_is_confirmed_as_it_was_served() -> None:
    assert outcome(UP, feature=FREE, output=" In the app. ") == "In the app./confirmed/0.5"
    assert outcome(UP, feature=FREE, output="") == "answer not usable as a target"


def test_an_answer_outside_the_schema_is_confirmed_by_nobody_but_can_be_corrected() -> None:
    assert outcome(UP, output="no idea") == "answer not usable as a target"
    assert outcome(said("correction", "loans"), output="no idea") == f"{LOANS}/correction/1.0"


def test_an_example_carries_the_time_of_what_decided_it() -> None:
    feedbacks = [said("correction", "loans"), said("comment", "thanks", "user:u", 9)]
    found = resolve(row(), claims_of(row(), feedbacks, ROUTING), ROUTING)
    assert isinstance(found, Example)
    assert (found.feedback_at, found.label, found.user_id) == (AT + timedelta(minutes=1), "loans", "u")


SAID = st.builds(
    said,
    st.just("thumb"),
    st.booleans(),
    st.sampled_from(["agent:ana", "agent:ben", "user:u", "judge:j"]),
    st.integers(0, 9),
) | st.builds(
    said,
    st.just("correction"),
    st.sampled_from(["cards", "loans", "nonsense"]),
    st.sampled_from(["agent:ana", "agent:ben", "user:u"]),
    st.integers(0, 9),
)


@given(
    st.lists(SAID, max_size=5, unique_by=lambda f: f.feedback_id).flatmap(
        lambda x: st.tuples(st.just(x), st.permutations(x))
    )
)
def test_the_order_of_arrival_does_not_matter(orders: tuple[list[Feedback], list[Feedback]]) -> None:
    assert outcome(*orders[0]) == outcome(*orders[1])
