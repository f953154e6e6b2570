"""MLflow traces as JSON: `Trace.to_json()` a line ({"info", "data"}), or as REST gives them ({"trace_info", "spans"}).

A trace is one interaction: what its root span took and gave, or where that says nothing its last LLM span. Assessments
are feedback: a yes/no or a number from 0 to 1 becomes a thumb or a rating, the expectation of a response a correction;
HUMAN is the trace's own user where the ids are equal and else an agent, LLM_JUDGE a judge, CODE the system. Retriever
spans become contexts; other spans are not kept. The feature is --feature, or the tag mlflow.traceName.
Read from mlflow/mlflow (entities/assessment.py, tests/entities/test_trace.py) and its documented trace data model,
schemas 2 and 3.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ratchet.errors import BadInput
from ratchet.records import parse_interaction
from tasks.formats.messages import Answer, Chat, keep
from tasks.formats.replies import read_question, read_reply, unpack
from tasks.formats.rows import Given, Record, derive_id, field, text_or_none, to_time
from tasks.formats.scores import Said, read_score, tell, tell_each

RESPONSES = ("expected_response", "expected_output", "expected_answer", "ground_truth", "correction", "expected")


def is_like(row: dict[str, Any]) -> bool:
    """Whether a row may be a trace."""
    return ("info" in row and "data" in row) or "trace_info" in row


def records_of(row: dict[str, Any], where: str, given: Given) -> Iterator[Record]:
    """The trace as an interaction, each of its assessments as feedback."""
    info = field(row, "info", dict) or field(row, "trace_info", dict, default={})
    data = field(row, "data", dict) or field(row, "trace_data", dict, default=row)
    spans = [_Span(span) for span in field(data, "spans", list, default=[]) if isinstance(span, dict)]
    trace_id = text_or_none(info.get("trace_id")) or text_or_none(info.get("request_id"))
    if trace_id is None:
        raise BadInput("info.trace_id: missing or not a text")
    chat, answer = _read_turn(info, data, spans)
    tags = field(info, "tags", dict, default={})
    metadata = field(info, "trace_metadata", dict) or field(info, "request_metadata", dict, default={})
    user_id = text_or_none(metadata.get("mlflow.trace.user"))
    at = to_time(info.get("request_time", info.get("timestamp_ms")), "request_time")
    record: dict[str, Any] = {"interaction_id": trace_id, "at": at, "input": {"messages": chat.messages}}
    record |= {"feature": given.feature_of(tags.get("mlflow.traceName")), "output": answer.output, "user_id": user_id}
    record |= {"session_id": text_or_none(metadata.get("mlflow.trace.session")), "contexts": list(_contexts(spans))}
    record["latency_ms"] = _milliseconds(info.get("execution_duration", info.get("execution_time_ms")))
    extra = {"tags": tags} if tags else {}
    yield parse_interaction(record | {"attributes": keep(extra, chat, answer)}, where)
    assessments = field(info, "assessments", list, default=[])
    yield from tell_each(assessments, where, lambda said: _assessment(said, trace_id, user_id, where))


class _Span:
    """A span's inputs, outputs and type, whichever way its attributes are written."""

    def __init__(self, span: dict[str, Any]) -> None:
        found = span.get("attributes")
        if isinstance(found, list):  # OTLP: [{"key", "value": {"string_value"}}]
            pairs = [a for a in found if isinstance(a, dict) and isinstance(a.get("value"), dict)]
            found = {str(a.get("key")): next(iter(a["value"].values()), None) for a in pairs}
        self.attributes: dict[str, Any] = found if isinstance(found, dict) else {}
        self.is_root = not (span.get("parent_id") or span.get("parent_span_id"))
        self.name = str(span.get("span_id") or span.get("name"))

    def get(self, name: str) -> Any:
        return unpack(self.attributes.get(f"mlflow.{name}"))


def _read_turn(info: dict[str, Any], data: dict[str, Any], spans: list[_Span]) -> tuple[Chat, Answer]:
    roots = [span for span in spans if span.is_root]
    calls = [span for span in reversed(spans) if span.get("spanType") in ("LLM", "CHAT_MODEL")]
    pairs = [(span.get("spanInputs"), span.get("spanOutputs")) for span in roots + calls]
    pairs += [(data.get("request"), data.get("response"))]
    pairs += [(info.get("request_preview"), info.get("response_preview"))]
    for asked, replied in pairs:
        chat, answer = read_question(_only(asked)), read_reply(_only(replied))
        if chat and answer:
            return chat, answer
    raise BadInput("no span holds a question and an answer")


def _only(value: Any) -> Any:
    """The one argument of a function that has one, whatever its name; else the value itself."""
    value = unpack(value)
    if isinstance(value, dict) and len(value) == 1:
        inner = next(iter(value.values()))
        return inner if isinstance(inner, str) else value
    return value


def _contexts(spans: list[_Span]) -> Iterator[dict[str, str]]:
    for span in spans:
        found = span.get("spanOutputs") if span.get("spanType") == "RETRIEVER" else None
        for number, passage in enumerate(found if isinstance(found, list) else []):
            text = passage.get("page_content") if isinstance(passage, dict) else None
            if isinstance(text, str) and text:
                yield {"id": text_or_none(passage.get("id")) or f"{span.name}:{number}", "text": text}


def _assessment(said: dict[str, Any], trace_id: str, user_id: str | None, where: str) -> Record:
    name = text_or_none(said.get("assessment_name")) or text_or_none(said.get("name")) or "assessment"
    if said.get("error") or said.get("valid") is False:
        raise BadInput("an assessment that failed or was replaced")
    source = field(said, "source", dict, default={})
    kind, author = str(source.get("source_type")).upper(), text_or_none(source.get("source_id")) or name
    human = "user" if author == user_id else "agent"
    word = {"HUMAN": human, "LLM_JUDGE": "judge", "AI_JUDGE": "judge"}.get(kind, "system")
    return tell(
        _said(said, name),
        feedback_id=text_or_none(said.get("assessment_id")) or derive_id("assessment", trace_id, said),
        about=trace_id,
        at=to_time(said.get("create_time", said.get("create_time_ms")), "create_time"),
        source=(word, author),
        where=where,
        comment=said.get("rationale"),
        attributes={"metric": name},
    )


def _said(said: dict[str, Any], name: str) -> Said:
    feedback, expected = field(said, "feedback", dict), field(said, "expectation", dict)
    if feedback is not None:
        return read_score(name, feedback.get("value"))
    if expected is None or name not in RESPONSES:
        raise BadInput(f"an assessment that is neither feedback nor one of {', '.join(RESPONSES)}")
    return Said("correction", expected.get("value"))


def _milliseconds(duration: Any) -> float | None:
    if isinstance(duration, str) and re.fullmatch(r"\d{1,9}(\.\d{1,9})?s", duration):
        return float(duration[:-1]) * 1000
    return float(duration) if isinstance(duration, (int, float)) and not isinstance(duration, bool) else None
