import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.otel import records_of
from ratchet.records import Feedback, Interaction, Rejected
from tests.ratchet.spans import PARENT_ID, SPAN_ID, TRACE_ID, chat, evaluation, event, key_values, request, span

PUBLIC = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "peer_formats" / "otlp_traces"
RECEIPT = f"otel-{TRACE_ID}-{SPAN_ID}"
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.just("\x00"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


def read(payload: dict[str, Any], **more: Any) -> list[Interaction | Feedback | Rejected]:
    return list(records_of(payload, "body", **({"feature": "routing"} | more)))


def only(payload: dict[str, Any], **more: Any) -> Interaction:
    (record,) = read(payload, **more)
    assert isinstance(record, Interaction)
    return record


def reasons(records: list[Any]) -> list[str]:
    return [record.reason for record in records if isinstance(record, Rejected)]


@pytest.mark.parametrize("name", ["anthropic_chat", "anthropic_tool_use", "openai_chat", "openai_responses"])
def test_recorded_exports_of_instrumentations_become_interactions(name: str) -> None:
    path = PUBLIC / f"{name}.jsonl"
    if not path.is_file():
        pytest.skip(f"the public data beside the clone is missing: {path.name}")
    records = [r for line in path.read_text().splitlines() for r in read(json.loads(line))]
    assert records and all(isinstance(r, Interaction) and r.usage.input_tokens and r.latency_ms for r in records)


def test_a_model_call_becomes_an_interaction() -> None:
    attributes = {"gen_ai.response.model": "m1-2026", "gen_ai.usage.input_tokens": 13, "user.id": "u1"}
    attributes |= {"gen_ai.conversation.id": "s1", "ratchet.tenant": "acme", "gen_ai.usage.output_tokens": 2}
    record = only(request(span(chat(**attributes))))
    assert (record.interaction_id, record.feature, record.tenant) == (RECEIPT, "routing", "acme")
    assert (record.user_id, record.session_id, record.model) == ("u1", "s1", "m1-2026")
    assert record.at == datetime(2026, 4, 16, 13, 42, 50, 937517, tzinfo=UTC) and record.latency_ms == 1000
    assert (record.input.messages[0].content, record.output.content) == ("my card is lost", "cards")
    assert (record.usage.input_tokens, record.usage.output_tokens, record.finish_reason) == (13, 2, "stop")


def test_a_call_through_our_gateway_keeps_its_receipt() -> None:
    receipt = "int_" + "0" * 32
    assert only(request(span(chat(**{"gen_ai.response.id": f"chatcmpl-{receipt}"})))).interaction_id == receipt
    assert only(request(span(chat(**{"gen_ai.response.id": "chatcmpl-int_x"})))).interaction_id == RECEIPT


def test_a_feature_is_named_by_attribute_then_default_then_agent_or_service() -> None:
    named = {"ratchet.feature": "answers"}
    assert only(request(span(chat(**named)))).feature == "answers"
    assert only(request(span(chat()), ratchet__feature="answers")).feature == "answers"
    known = {"routing", "answers"}
    assert only(request(span(chat()), service__name="answers"), known=known).feature == "routing"
    assert only(request(span(chat()), service__name="answers"), known=known, feature=None).feature == "answers"
    agent = chat(**{"gen_ai.agent.name": "answers"})
    assert only(request(span(agent), service__name="routing"), known=known, feature=None).feature == "answers"


def test_a_feature_that_is_unknown_or_not_named_is_rejected() -> None:
    assert reasons(read(request(span(chat())), known={"other"})) == ["unknown feature"]
    (missing,) = reasons(read(request(span(chat()), service__name="x"), known={"other"}, feature=None))
    assert missing == "the span names no feature; set the attribute ratchet.feature"


def test_the_older_events_carry_the_messages_too() -> None:
    call = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m1"}
    asked = event("gen_ai.user.message", {"content": "Hello?"})
    said = event("gen_ai.choice", {"message": '{"content": "Hi."}', "finish_reason": "stop"})
    record = only(request(span(call, events=[event("gen_ai.system.message", {"content": "Be brief."}), asked, said])))
    assert [m.role for m in record.input.messages] == ["system", "user"]
    assert (record.output.content, record.finish_reason) == ("Hi.", "stop")
    prompt = event("gen_ai.content.prompt", {"gen_ai.prompt": "Hello?"})
    answer = event("gen_ai.content.completion", {"gen_ai.completion": "Hi."})
    assert only(request(span(call, events=[prompt, answer]))).output.content == "Hi."


def test_evaluations_become_feedback_of_a_judge() -> None:
    events = [evaluation("relevance", value=0.8, explanation="on topic"), evaluation("safe", label="pass")]
    _, first, second = read(request(span(chat(), events=events)))
    assert isinstance(first, Feedback) and isinstance(second, Feedback)
    assert (first.interaction_id, first.kind, first.value, first.comment) == (RECEIPT, "rating", 0.8, "on topic")
    assert (second.kind, second.value, second.source.type, second.source.id) == ("thumb", True, "judge", "safe")
    assert first.feedback_id != second.feedback_id


def test_an_evaluation_on_a_span_of_its_own_speaks_of_the_parent() -> None:
    judged = span({}, number=9, parentSpanId=SPAN_ID, events=[evaluation("relevance", value=1.0)])
    (record,) = read(request(judged))
    assert isinstance(record, Feedback) and record.interaction_id == RECEIPT


@pytest.mark.parametrize(
    ("score", "reason"),
    [({"value": 7.0}, "outside 0 to 1"), ({"label": "meh"}, "neither a number nor"), ({}, "not of the type")],
)
def test_a_score_that_fits_no_kind_is_rejected(score: dict[str, Any], reason: str) -> None:
    (told,) = reasons(read(request(span(chat(), events=[evaluation("x", **score)]))))
    assert reason in told


def test_evaluations_of_a_rejected_span_are_rejected_with_it() -> None:
    found = read(request(span(chat(), events=[evaluation("x", value=1.0)])), known={"other"})
    assert reasons(found) == ["unknown feature", "an evaluation of a span that was rejected"]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (span({"http.request.method": "GET"}), "not a model call"),
        (span(chat() | {"gen_ai.operation.name": "execute_tool"}), "not a model call"),
        (span({"gen_ai.operation.name": "chat"}), "turn on the capture of message content"),
        (span(chat(), traceId="xyz"), "traceId is not 32 hexadecimal digits"),
        (span(chat(), spanId="0" * 16), "spanId is all zeros"),
        (span(chat(), startTimeUnixNano="soon"), "startTimeUnixNano is not a time"),
        (span(chat(), endTimeUnixNano=10**40), "endTimeUnixNano is not a time"),
        (span(chat(), attributes=7), "attributes is not a list"),
        (span(chat(), attributes=[{"value": {}}]), "an attribute without a key"),
        (span(chat(), attributes=[{"key": "k", "value": {"intValue": "1.5"}}]), "value is malformed"),
        (span(chat(**{"user.id": "u\x00"})), "user.id holds a NUL"),
        (span(chat(**{"user.id": "u\ud800"})), "user_id: Input should be a valid string"),
        (span(chat(**{"ratchet.tenant": "a/b"})), "tenant: String should match"),
        ("a text", "spans holds what is no object"),
    ],
)
def test_a_span_that_is_no_use_is_rejected_and_its_neighbour_kept(given: Any, reason: str) -> None:
    rejected, kept = read(request(given, span(chat(), number=5)))
    assert isinstance(rejected, Rejected) and reason in rejected.reason
    assert isinstance(kept, Interaction) and rejected.where == "body: span 1"


def test_a_malformed_resource_costs_each_of_its_spans_and_no_other() -> None:
    broken = request(span(chat()), span(chat(), number=4))
    broken["resourceSpans"][0]["resource"] = {"attributes": "x"}
    whole = request(span(chat(), number=5))
    found = read({"resourceSpans": [*broken["resourceSpans"], 3, *whole["resourceSpans"]]})
    assert len(reasons(found)) == 3 and isinstance(found[-1], Interaction)


def test_an_attribute_nested_too_deeply_is_rejected() -> None:
    value: dict[str, Any] = {"stringValue": "x"}
    for _ in range(70):
        value = {"arrayValue": {"values": [value]}}
    deep = span(chat())
    deep["attributes"] += [{"key": "k", "value": value}]
    assert reasons(read(request(deep))) == ["an attribute is nested over 64 levels"]


@pytest.mark.parametrize("payload", [{}, {"resourceSpans": None}, {"resourceSpans": {}}, {"other": 1}])
def test_what_is_no_export_is_rejected(payload: dict[str, Any]) -> None:
    assert reasons(read(payload)) == ["no list of resourceSpans"]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(ODD, st.sampled_from(["attributes", "events", "startTimeUnixNano", "parentSpanId", "traceId", "spanId"]))
def test_any_value_of_a_field_gives_one_outcome_for_the_span(value: Any, field: str) -> None:
    first, *others = read(request(span(chat()) | {field: value}, span(chat(), number=5)))
    assert isinstance(first, Interaction | Rejected) and isinstance(others[-1], Interaction)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    ODD, st.sampled_from(sorted(chat(**{"user.id": "u", "gen_ai.response.id": "r", "gen_ai.usage.input_tokens": 1})))
)
def test_any_value_of_an_attribute_gives_one_outcome_for_the_span(value: Any, key: str) -> None:
    attributes = [*key_values({k: v for k, v in chat().items() if k != key}), {"key": key, "value": value}]
    assert len(read(request(span({}, attributes=attributes)))) == 1


def test_the_parent_of_nothing_is_no_receipt() -> None:
    alone = span({}, events=[evaluation("x", value=1.0)])
    assert reasons(read(request(alone))) == ["not a model call", "an evaluation that belongs to no model call"]
    assert PARENT_ID not in str(read(request(span(chat(), parentSpanId=PARENT_ID))))
