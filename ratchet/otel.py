"""OpenTelemetry traces (OTLP/JSON) to records: a span of a model call is an interaction, an evaluation is feedback.

A span belongs to the feature that its attribute `ratchet.feature` names (its own, else its resource's); else to the
default that the caller gives; else to the feature that `gen_ai.agent.name` or `service.name` names, where one of the
`known` ones has that name. A span's receipt is `otel-<trace id>-<span id>`, so that an application can cite it; a call
that went through our own gateway keeps the receipt it was given.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ratchet.errors import BadInput
from ratchet.genai import Conversation, parse_json, read_conversation, read_tools
from ratchet.otlp import attributes_of, hex_at, objects, spans_of, time_at
from ratchet.records import Feedback, Interaction, Rejected, parse_feedback, parse_interaction
from ratchet.scores import KINDS, read_score, read_score_as

MODEL_CALLS = (None, "chat", "text_completion", "generate_content")
OWN_RECEIPT = re.compile(r"chatcmpl-int_[0-9a-f]{32}")
EVALUATION = "gen_ai.evaluation.result"
OF_EVALUATION = ": evaluation "  # in the place of a rejected evaluation, after that of its span
CONTENT_EVENTS = ("gen_ai.content.prompt", "gen_ai.content.completion", "gen_ai.client.inference.operation.details")
MESSAGE_EVENTS = {f"gen_ai.{role}.message": role for role in ("system", "user", "assistant", "tool")}


class _NotACall(BadInput):
    """A span of something else than a model call."""


@dataclass(frozen=True)
class _Span:
    """One span with its attributes decoded, those of its events of content folded in."""

    where: str
    trace_id: str
    span_id: str
    parent_id: str | None
    attributes: dict[str, Any]
    resource: dict[str, Any]
    began_at: datetime
    seconds: float
    evaluations: tuple[dict[str, Any], ...]

    @property
    def interaction_id(self) -> str:
        response_id = self.attributes.get("gen_ai.response.id")
        if isinstance(response_id, str) and OWN_RECEIPT.fullmatch(response_id):
            return response_id.removeprefix("chatcmpl-")
        return receipt_of(self.trace_id, self.span_id)

    def first(self, *names: str) -> str | None:
        """The first of these attributes, of the span or its resource, that is a text."""
        for name in names:
            for attributes in (self.attributes, self.resource):
                value = attributes.get(name)
                if isinstance(value, str) and "\x00" in value:  # PostgreSQL cannot store it
                    raise BadInput(f"{name} holds a NUL")
                if isinstance(value, str) and value:
                    return value
        return None


def receipt_of(trace_id: str, span_id: str) -> str:
    """The interaction id of a span."""
    return f"otel-{trace_id}-{span_id}"


def records_of(
    payload: dict[str, Any], where: str, *, feature: str | None, known: Collection[str] | None = None
) -> Iterator[Interaction | Feedback | Rejected]:
    """The records of one ExportTraceServiceRequest: for each span an interaction or why it is none, then its feedback.

    Args:
        where: what a rejection's place begins with.
        feature: the feature of spans that name none.
        known: the features that exist; others are rejected. None where the caller checks later.
    """
    if not isinstance(payload.get("resourceSpans"), list):
        yield Rejected(where, "no list of resourceSpans")
        return
    for found in spans_of(payload, where):
        if isinstance(found, Rejected):
            yield found
        else:
            place, span, resource = found
            yield from _span_records(span, resource, place, feature, known)


def _span_records(
    raw: dict[str, Any], resource: dict[str, Any], where: str, feature: str | None, known: Collection[str] | None
) -> Iterator[Interaction | Feedback | Rejected]:
    try:
        span = _read_span(raw, resource, where)
    except BadInput as error:
        yield Rejected(where, str(error))
        return
    record: Interaction | Rejected
    target: str | None = span.interaction_id
    try:
        record = _interaction(span, _conversation(span), _feature_of(span, feature, known))
    except _NotACall as error:
        record = Rejected(where, str(error), target)
        target = receipt_of(span.trace_id, span.parent_id) if span.parent_id else None
    except BadInput as error:
        record = Rejected(where, str(error), target)
    is_call = target == span.interaction_id
    if is_call or target is None or not span.evaluations:  # else the evaluations are what the span is for
        yield record
    for number, evaluation in enumerate(span.evaluations, 1):
        place = f"{where}{OF_EVALUATION}{number}"
        if is_call and isinstance(record, Rejected):
            yield Rejected(place, "an evaluation of a span that was rejected", target)
        else:
            yield _feedback(span, evaluation, place, target)


def _conversation(span: _Span) -> Conversation:
    operation = span.attributes.get("gen_ai.operation.name")
    conversation = read_conversation(span.attributes) if operation in MODEL_CALLS else None
    if conversation is not None:
        return conversation
    if operation is not None and operation in MODEL_CALLS:
        raise BadInput("the span holds no messages; turn on the capture of message content in its instrumentation")
    raise _NotACall("not a model call")


def _feature_of(span: _Span, default: str | None, known: Collection[str] | None) -> str:
    named = span.first("ratchet.feature") or default
    if named is None and known is not None:
        names = (span.first("gen_ai.agent.name"), span.first("service.name"))
        named = next((name for name in names if name in known), None)
    if named is None:
        raise BadInput("the span names no feature; set the attribute ratchet.feature")
    if known is not None and named not in known:
        raise BadInput("unknown feature")
    return named


def _interaction(span: _Span, said: Conversation, feature: str) -> Interaction | Rejected:
    extra = {
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "provider": span.first("gen_ai.provider.name"),
        "response_id": span.first("gen_ai.response.id"),
        "tools": read_tools(span.attributes),
        "n_choices": said.n_choices if said.n_choices > 1 else None,
        "messages_reduced": said.is_reduced or None,
        "canary_share": _share(span.attributes.get("ratchet.canary_share")),
        "drawn_for": span.first("ratchet.drawn_for"),
    }
    row = {
        "interaction_id": span.interaction_id,
        "feature": feature,
        "tenant": span.first("ratchet.tenant") or "default",
        "segment": span.first("ratchet.segment"),
        "session_id": span.first("gen_ai.conversation.id", "session.id", "traceloop.association.properties.session_id"),
        "user_id": span.first("user.id", "enduser.id", "traceloop.association.properties.user_id"),
        "at": span.began_at,
        "input": {"messages": [message.model_dump() for message in said.messages]},
        "output": said.output.model_dump(),
        "release_id": span.first("ratchet.release_id"),
        "channel": span.first("ratchet.channel"),
        "propensity": _propensity(span.attributes.get("ratchet.propensity")),
        "model": span.first("gen_ai.response.model", "gen_ai.request.model", "llm.model_name"),
        "usage": {
            "input_tokens": _count(span, "gen_ai.usage.input_tokens", "prompt"),
            "output_tokens": _count(span, "gen_ai.usage.output_tokens", "completion"),
        },
        "latency_ms": round(span.seconds * 1000, 3),
        "finish_reason": said.finish_reason or _first_text(span.attributes.get("gen_ai.response.finish_reasons")),
        "attributes": {"source": "otel"} | {k: v for k, v in extra.items() if v is not None},
    }
    return parse_interaction(row, span.where)


def _count(span: _Span, name: str, older: str) -> int:
    found = (span.attributes.get(k) for k in (name, f"gen_ai.usage.{older}_tokens", f"llm.token_count.{older}"))
    return next((n for n in found if isinstance(n, int) and not isinstance(n, bool) and n >= 0), 0)


def _propensity(value: Any) -> float | None:
    return _share(value) or None


def _share(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 <= value <= 1 else None


def _first_text(value: Any) -> str | None:
    return value[0] if isinstance(value, list) and value and isinstance(value[0], str) else None


def _feedback(span: _Span, evaluation: dict[str, Any], where: str, target: str | None) -> Feedback | Rejected:
    name, label = evaluation.get("gen_ai.evaluation.name"), evaluation.get("gen_ai.evaluation.score.label")
    explanation = evaluation.get("gen_ai.evaluation.explanation")
    if not isinstance(name, str) or not name:
        return Rejected(where, "an evaluation without a name", target)
    if target is None:
        return Rejected(where, "an evaluation that belongs to no model call")
    score = evaluation.get("gen_ai.evaluation.score.value")
    kind = evaluation.get("ratchet.kind") or (name if name in KINDS else None)
    said = label if score is None else score
    try:
        kind, value = read_score_as(str(kind), name, said) if kind else read_score(name, said)
    except BadInput as error:
        return Rejected(where, str(error), target)
    row = {
        "feedback_id": f"otel-{span.trace_id}-{span.span_id}-{name}"[:200],
        "interaction_id": target,
        "at": evaluation["at"],
        "kind": kind,
        "value": value,
        "source": {"type": evaluation.get("ratchet.source", "judge"), "id": name[:200]},
        "comment": explanation[:10_000] if isinstance(explanation, str) else None,
        "attributes": {"name": name, "label": label} if isinstance(label, str) else {"name": name},
    }
    return parse_feedback(row, where)


def _read_span(raw: dict[str, Any], resource: dict[str, Any], where: str) -> _Span:
    attributes = attributes_of(raw)
    began_at, ended_at = time_at(raw, "startTimeUnixNano"), time_at(raw, "endTimeUnixNano")
    evaluations = []
    for event in objects(raw, "events"):
        name = str(event.get("name"))
        if name == EVALUATION:
            evaluations.append(attributes_of(event) | {"at": time_at(event, "timeUnixNano")})
        elif name in CONTENT_EVENTS:
            attributes = attributes_of(event) | attributes
        elif name in MESSAGE_EVENTS:
            _add_message(attributes, "gen_ai.prompt", {"role": MESSAGE_EVENTS[name]} | attributes_of(event))
        elif name == "gen_ai.choice":
            _add_message(attributes, "gen_ai.completion", attributes_of(event))
    return _Span(
        where=where,
        trace_id=hex_at(raw, "traceId", 32),
        span_id=hex_at(raw, "spanId", 16),
        parent_id=hex_at(raw, "parentSpanId", 16) if raw.get("parentSpanId") else None,
        attributes=attributes,
        resource=resource,
        began_at=began_at,
        seconds=max(0.0, (ended_at - began_at).total_seconds()),
        evaluations=tuple(evaluations),
    )


def _add_message(attributes: dict[str, Any], key: str, message: dict[str, Any]) -> None:
    said = message.get("message")
    if isinstance(said, str) and said.lstrip().startswith("{"):  # gen_ai.choice carries its message as JSON text
        message |= {"message": parse_json(said, "the message of a choice")}
    before = attributes.get(key)
    attributes[key] = [*before, message] if isinstance(before, list) else [message]
