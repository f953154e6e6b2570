"""Humanloop's logs as its export tool writes them: one log of a prompt a line (files/<id>/logs/*.jsonl).

A log is an interaction, its evaluator logs are feedback: a judgment that is a boolean, a number from 0 to 1 or a word
for good or bad becomes a thumb or a rating, a text of an evaluator named for corrections a correction, another text a
comment; a human evaluator is an agent, an AI evaluator a judge, code the system. Logs of an evaluation ({"log",
"evaluator_logs"}) and the older `feedback` list are read too. The feature is --feature, or the prompt's name.
Read from humanloop/humanloop-export (export.py) and humanloop/humanloop-python (PromptLogResponse,
EvaluatorLogResponse).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ratchet.errors import BadInput
from ratchet.records import parse_interaction
from tasks.formats.messages import Chat, keep
from tasks.formats.replies import read_question, read_reply
from tasks.formats.rows import Given, Record, derive_id, field, text_or_none, to_time
from tasks.formats.scores import Said, read_score, tell, tell_each

KEPT = ("metadata", "source", "environment", "error", "batches", "source_datapoint_id")


def is_like(row: dict[str, Any]) -> bool:
    """Whether a row may be a log."""
    return isinstance(row.get("log"), dict) or ("id" in row and ("evaluator_logs" in row or "output_message" in row))


def records_of(row: dict[str, Any], where: str, given: Given) -> Iterator[Record]:
    """The log as an interaction, each judgment as feedback."""
    log = field(row, "log", dict, default=row)
    log_id = text_or_none(log.get("id"))
    if log_id is None:
        raise BadInput("id: missing or not a text")
    chat, answer = _asked(log), read_reply(log.get("output_message")) or read_reply(log.get("output"))
    if answer is None:
        raise BadInput("output_message and output: hold no answer")
    prompt = field(log, "prompt", dict, default={})
    at = to_time(log.get("start_time") or log.get("created_at"), "created_at")
    record: dict[str, Any] = {"interaction_id": log_id, "feature": given.feature_of(prompt.get("name")), "at": at}
    record |= {"input": {"messages": chat.messages, "variables": field(log, "inputs", dict, default={})}}
    record |= {"output": answer.output, "model": text_or_none(prompt.get("model"))}
    record |= {"user_id": text_or_none(log.get("user")), "session_id": text_or_none(log.get("trace_id"))}
    tokens = {"input_tokens": log.get("prompt_tokens"), "output_tokens": log.get("output_tokens")}
    record["usage"] = {name: count for name, count in tokens.items() if count is not None}
    costs = [log[name] for name in ("prompt_cost", "output_cost") if isinstance(log.get(name), (int, float))]
    latency = log.get("provider_latency")
    record |= {"cost_usd": sum(costs) if costs else None, "finish_reason": text_or_none(log.get("finish_reason"))}
    record["latency_ms"] = latency * 1000 if isinstance(latency, (int, float)) else None
    extra = {name: log[name] for name in KEPT if log.get(name)}
    extra |= {f"prompt_{n}": prompt[n] for n in ("id", "version_id", "path") if prompt.get(n)}
    yield parse_interaction(record | {"attributes": keep(extra, chat, answer)}, where)
    said = [item for holder in (row, log) for item in field(holder, "evaluator_logs", list, default=[])]
    unique = said if log is not row else field(row, "evaluator_logs", list, default=[])
    yield from tell_each(unique, where, lambda item: _judgment(item, log_id, where))
    yield from tell_each(
        field(log, "feedback", list, default=[]), where, lambda item: _older_feedback(item, log_id, at, where)
    )


def _asked(log: dict[str, Any]) -> Chat:
    found = read_question({"messages": log["messages"]}) if isinstance(log.get("messages"), list) else None
    found = found or read_question(field(log, "inputs", dict))
    if found is None:
        raise BadInput("messages: not a list of messages")
    return found


def _judgment(item: dict[str, Any], log_id: str, where: str) -> Record:
    evaluator = field(item, "evaluator", dict, default={})
    spec = field(evaluator, "spec", dict, default={})
    name = text_or_none(evaluator.get("name")) or text_or_none(evaluator.get("path")) or "evaluator"
    kind = {"human": "agent", "llm": "judge"}.get(str(spec.get("evaluator_type")), "system")
    return tell(
        _said(name, item.get("judgment")),
        feedback_id=text_or_none(item.get("id")) or derive_id("judgment", log_id, item),
        about=log_id,
        at=to_time(item.get("created_at") or item.get("start_time"), "created_at"),
        source=(kind, text_or_none(item.get("user")) or name),
        where=where,
        attributes={"metric": name},
    )


def _older_feedback(item: dict[str, Any], log_id: str, at: Any, where: str) -> Record:
    name = text_or_none(item.get("type")) or "feedback"
    made = item.get("created_at")
    return tell(
        _said(name, item.get("value")),
        feedback_id=text_or_none(item.get("id")) or derive_id("feedback", log_id, item),
        about=log_id,
        at=at if made is None else to_time(made, "created_at"),
        source=("user", text_or_none(item.get("user")) or "humanloop"),
        where=where,
    )


def _said(name: str, judgment: Any) -> Said:
    if isinstance(judgment, list) and len(judgment) == 1:
        judgment = judgment[0]  # a choice of one option
    if isinstance(judgment, str) and "correction" in name.lower():
        return Said("correction", judgment)
    try:
        return read_score(name, judgment)
    except BadInput:
        if isinstance(judgment, str) and judgment.strip():
            return Said("comment", judgment)
        raise
