"""OpenAI's Batch API: requests {"custom_id", "body"}, outputs {"custom_id", "response": {"body"}}, or both on a line.

OpenAI writes the outputs to a file of their own, without the questions: append it to the file of the requests
(`cat requests.jsonl outputs.jsonl`), and each request and its output are read as one row. A request without an output
is a question without an answer (`output.content` is null). An output tells its time (`created`); a request never has
one: --at, or 1970-01-01. Read from openai/openai-cookbook (nightly_support_qa_batch.jsonl) and the Batch API's
reference: bodies of /v1/chat/completions and of /v1/responses.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ratchet.errors import BadInput
from ratchet.records import Rejected, parse_interaction, read_jsonl
from tasks.formats.messages import keep
from tasks.formats.replies import read_question, read_reply, usage_of
from tasks.formats.rows import Given, Record, derive_id, field, text_or_none, to_time

MAX_OUTPUTS = 50_000  # the requests of one batch, so that what is held in memory is bounded
KEPT = ("custom_id", "method", "url", "error")


def is_like(row: dict[str, Any]) -> bool:
    """Whether a row may be a request or an output of a batch."""
    return "custom_id" in row and ("body" in row or "response" in row)


def rows_of(path: Path) -> Iterator[tuple[str, dict[str, Any] | Rejected]]:
    """The rows of a file, a request and its output as one; an output without a request stands alone, at the end."""
    outputs: dict[str, tuple[str, dict[str, Any]]] = {}
    for where, row in read_jsonl(path):
        name = _name(row)
        if isinstance(row, dict) and "response" in row and "body" not in row and name and len(outputs) < MAX_OUTPUTS:
            outputs.setdefault(name, (where, row))
    held = {where for where, _ in outputs.values()}
    for where, row in read_jsonl(path):
        name = _name(row)
        if isinstance(row, dict) and "body" in row and "response" not in row and name in outputs:
            yield where, outputs.pop(name)[1] | row
        elif where not in held:
            yield where, row
    yield from outputs.values()


def records_of(row: dict[str, Any], where: str, given: Given) -> Iterator[Record]:
    """The request with its answer, if it has one, as an interaction."""
    body, response = field(row, "body", dict), field(row, "response", dict, default={})
    if body is None:
        raise BadInput("an output without its request: put both in one file, joined by custom_id")
    chat = read_question(body if "messages" in body else body | {"content": body.get("input")})
    if chat is None:
        raise BadInput("body: holds no messages and no input")
    replied = field(response, "body", dict, default={})
    answer = read_reply(replied)
    feature = given.feature_of(row.get("feature"))
    record: dict[str, Any] = {
        "interaction_id": derive_id("batch", feature, row.get("custom_id"), body),
        "feature": feature,
    }
    made = replied.get("created", replied.get("created_at"))
    record |= {"at": given.at if made is None else to_time(made, "created"), "input": {"messages": chat.messages}}
    record |= {"output": answer.output if answer else {"content": None}, "usage": usage_of(replied.get("usage"))}
    extra = {name: row[name] for name in KEPT if row.get(name) is not None}
    extra["settings"] = {k: v for k, v in body.items() if k not in ("messages", "input", "instructions", "model")}
    record["model"] = text_or_none(replied.get("model")) or text_or_none(body.get("model"))
    yield parse_interaction(record | {"attributes": keep(extra, chat, answer)}, where)


def _name(row: Any) -> str | None:
    return text_or_none(row.get("custom_id")) if isinstance(row, dict) else None
