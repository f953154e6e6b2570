"""NVIDIA's Data Flywheel log: {"timestamp", "workload_id", "client_id", "request", "response"} a line.

`request` and `response` are OpenAI chat payloads, word for word; `timestamp` counts seconds; the feature is the
workload unless --feature names another. A document as Elasticsearch exports it (`_source`) is read too. Read from
NVIDIA-AI-Blueprints/data-flywheel, README, "Log schema".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ratchet.errors import BadInput
from ratchet.records import parse_interaction
from tasks.formats.messages import keep
from tasks.formats.replies import read_question, read_reply, usage_of
from tasks.formats.rows import Given, Record, derive_id, field, text_or_none, to_time


def is_like(row: dict[str, Any]) -> bool:
    """Whether a row may be a log record of a flywheel."""
    log = row.get("_source", row)
    return isinstance(log, dict) and "request" in log and "response" in log


def records_of(row: dict[str, Any], where: str, given: Given) -> Iterator[Record]:
    """The logged call as an interaction."""
    log = field(row, "_source", dict, default=row)
    request, response = field(log, "request", dict, default={}), field(log, "response", dict, default={})
    chat, answer = read_question(request if "messages" in request else None), read_reply(response)
    if chat is None:
        raise BadInput("request.messages: not a list of messages")
    if answer is None:
        raise BadInput("response.choices: holds no answer")
    feature = given.feature_of(log.get("workload_id"))
    choices = response.get("choices")
    ended = choices[0].get("finish_reason") if isinstance(choices, list) and isinstance(choices[0], dict) else None
    interaction_id = text_or_none(response.get("id")) or derive_id("flywheel", feature, log)
    record = {"interaction_id": interaction_id, "feature": feature, "at": to_time(log.get("timestamp"), "timestamp")}
    record |= {"input": {"messages": chat.messages}, "output": answer.output, "usage": usage_of(response.get("usage"))}
    record |= {"user_id": text_or_none(request.get("user")), "finish_reason": text_or_none(ended)}
    record["model"] = text_or_none(response.get("model")) or text_or_none(request.get("model"))
    extra = {name: log[name] for name in ("workload_id", "client_id") if name in log}
    extra["settings"] = {k: v for k, v in request.items() if k not in ("messages", "model", "user")}
    yield parse_interaction(record | {"attributes": keep(extra, chat, answer)}, where)
