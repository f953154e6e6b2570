"""Langfuse traces, as its API and its UI export them: {"trace", "observations"} or one trace with both inside.

A trace is one interaction: what its input and output say, or where they say nothing its last generation that does. Its
scores are feedback: ANNOTATION is an agent's, API a user's, EVAL a judge's; a number from 0 to 1 or a boolean becomes a
rating or a thumb (scores for faults, such as toxicity, are turned round), CORRECTION a correction. Retrievals become
contexts; other observations are not kept. The feature is --feature, or the trace's name.
Read from langfuse/langfuse worker/src/__tests__/chatml/framework-traces and its openapi.yml.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ratchet.errors import BadInput
from ratchet.records import parse_interaction
from tasks.formats.messages import Answer, Chat, keep
from tasks.formats.replies import read_question, read_reply, unpack, usage_of
from tasks.formats.rows import Given, Record, derive_id, field, text_or_none, to_time
from tasks.formats.scores import Said, read_score, read_score_as, tell, tell_each

SOURCES = {"ANNOTATION": "agent", "API": "user", "EVAL": "judge"}
NO_KINDS: Mapping[str, str] = MappingProxyType({})
KEPT = ("name", "environment", "tags", "release", "version", "metadata")


class Turn(NamedTuple):
    """What a trace asked and answered, and the generation that it was taken from, if it was."""

    chat: Chat
    answer: Answer
    generation: dict[str, Any]


def is_like(row: dict[str, Any]) -> bool:
    """Whether a row may be a trace with its observations."""
    return isinstance(row.get("observations"), list) or ("projectId" in row and "timestamp" in row)


def records_of(row: dict[str, Any], where: str, given: Given) -> Iterator[Record]:
    """The trace as an interaction, each of its scores as feedback."""
    trace = dict(field(row, "trace", dict, default=row))
    for name in ("observations", "scores"):
        trace[name] = field(row, name, list) or field(trace, name, list, default=[])
    yield from records_of_trace(trace, where, feature=given.feature)


def records_of_trace(trace: dict[str, Any], where: str, *, feature: str | None) -> Iterator[Record]:
    """One trace with `observations` and `scores` (objects, not ids) as an interaction and feedback on it.

    Raises:
        BadInput: the trace has no id, no time, no feature, or no question and answer.
    """
    trace_id = text_or_none(trace.get("id"))
    if trace_id is None:
        raise BadInput("id: missing or not a text")
    observations = [o for o in field(trace, "observations", list, default=[]) if isinstance(o, dict)]
    turn = _read_turn(trace, observations)
    usage = [usage_of(o.get("usageDetails") or o.get("usage")) for o in observations]
    latency = trace.get("latency")
    record: dict[str, Any] = {"interaction_id": trace_id, "feature": Given(feature).feature_of(trace.get("name"))}
    record |= {"at": to_time(trace.get("timestamp"), "timestamp"), "input": {"messages": turn.chat.messages}}
    record |= {"output": turn.answer.output, "contexts": list(_read_contexts(observations))}
    record |= {"session_id": text_or_none(trace.get("sessionId")), "user_id": text_or_none(trace.get("userId"))}
    record["model"] = text_or_none(turn.generation.get("model"))
    record["usage"] = {n: sum(u.get(n, 0) for u in usage) for n in ("input_tokens", "output_tokens")}
    record["latency_ms"] = latency * 1000 if isinstance(latency, (int, float)) else None
    extra = {name: unpack(trace[name]) for name in KEPT if trace.get(name)}
    yield parse_interaction(record | {"attributes": keep(extra, turn.chat, turn.answer)}, where)
    scores = field(trace, "scores", list, default=[]) + field(trace, "corrections", list, default=[])
    user_id = text_or_none(trace.get("userId"))
    yield from tell_each(scores, where, lambda score: read_score_of(score, where, trace_id=trace_id, user_id=user_id))


def _read_turn(trace: dict[str, Any], observations: list[dict[str, Any]]) -> Turn:
    """The trace's own input and output, or the latest generation's that has both, or the best of either."""
    generations = [o for o in observations if o.get("type") == "GENERATION"]
    generations.sort(key=lambda o: str(o.get("startTime")), reverse=True)
    found = [(o, read_question(o.get("input")), read_reply(o.get("output"))) for o in (trace, *generations)]
    for holder, chat, answer in found:
        if chat and answer:
            return Turn(chat, answer, holder if holder is not trace else (generations or [{}])[0])
    chat, answer = (next((f[n] for f in found if f[n]), None) for n in (1, 2))  # type: ignore[assignment]
    if chat is None or answer is None:
        raise BadInput("neither the trace nor a generation holds a question and an answer")
    return Turn(chat, answer, (generations or [{}])[0])


def _read_contexts(observations: list[dict[str, Any]]) -> Iterator[dict[str, str]]:
    for observation in observations:
        found = unpack(observation.get("output")) if observation.get("type") == "RETRIEVER" else None
        for number, passage in enumerate(found if isinstance(found, list) else []):
            named = passage if isinstance(passage, dict) else {"text": passage}
            text = next((named[n] for n in ("page_content", "text", "content") if isinstance(named.get(n), str)), "")
            if text:
                yield {"id": text_or_none(named.get("id")) or f"{observation.get('id')}:{number}", "text": text}


def read_score_of(
    score: dict[str, Any], where: str, *, trace_id: str, user_id: str | None, kinds: Mapping[str, str] = NO_KINDS
) -> Record:
    """A score as feedback on its trace.

    Args:
        user_id: who asked, and so who gave a score that the application sent.
        kinds: the kind of feedback that a score's name stands for; others are read by their values.

    Raises:
        BadInput: it says nothing in our words.
    """
    name = text_or_none(score.get("name")) or "score"
    kind = SOURCES.get(str(score.get("source")), "system")
    author = score.get("authorUserId") or (user_id if kind == "user" else None)
    value = _value(score)
    return tell(
        read_score_as(kinds[name], name, value) if name in kinds else _said(score, name, value),
        feedback_id=text_or_none(score.get("id")) or derive_id("score", trace_id, score),
        about=trace_id,
        at=to_time(score.get("timestamp") or score.get("createdAt"), "timestamp"),
        source=(kind, text_or_none(author) or name),
        where=where,
        comment=score.get("comment"),
        attributes={"metric": name},
    )


def _said(score: dict[str, Any], name: str, value: Any) -> Said:
    return Said("correction", value) if score.get("dataType") == "CORRECTION" else read_score(name, value)


def _value(score: dict[str, Any]) -> Any:
    kind, value = score.get("dataType"), score.get("value")
    if kind == "CORRECTION":
        return score.get("longStringValue") or score.get("stringValue")
    if kind == "BOOLEAN":
        return bool(value)
    return score.get("stringValue") if kind == "CATEGORICAL" or value is None else value
