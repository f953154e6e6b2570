"""TensorZero's tables as JSONL: chat and JSON inferences, their feedback (four files), and datapoints.

An inference is an interaction (session = episode, feature = function unless --feature names another); `input` and
`output` are JSON, often inside a string. Arguments of a template become `variables` and, as JSON, the message's text,
for the rendered prompt is not logged. A demonstration is a correction, a boolean metric a thumb, a float metric from 0
to 1 a rating (others are rejected: they have no scale), a comment a comment. Its target may be an episode: importing
turns it into the episode's last inference, if that is in the store by then; else the feedback is stored and waits, and
importing its file again after the inferences resolves it. A datapoint with an output is an interaction confirmed by
its dataset. Times come from `timestamp` or from the id (a UUIDv7 holds its time).
Read from tensorzero/tensorzero ui/fixtures and crates/tensorzero-core/fixtures/datasets.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from ratchet.errors import BadInput
from ratchet.files import canonical_json
from ratchet.records import Rejected, parse_interaction, read_jsonl
from tasks.formats.messages import Answer, Chat, keep, read_answer, read_role
from tasks.formats.replies import unpack
from tasks.formats.rows import Given, Record, field, text_or_none, to_time
from tasks.formats.scores import Said, read_score, tell

EPISODE = "tensorzero_target"  # the attribute that names a target which may be an episode
KEPT = ("variant_name", "dataset_name", "tags", "tool_params", "inference_params", "output_schema")


def is_like(row: dict[str, Any]) -> bool:
    """Whether a row may be an inference, a datapoint or feedback."""
    return "function_name" in row or ("value" in row and ("inference_id" in row or "target_id" in row))


def rows_of(path: Path) -> Iterator[tuple[str, dict[str, Any] | Rejected]]:
    """The rows of a file, feedback last, so that feedback on an episode finds all of its inferences."""
    is_said = False
    for where, row in read_jsonl(path):
        if _is_feedback(row):
            is_said = True
        else:
            yield where, row
    yield from ((where, row) for where, row in (read_jsonl(path) if is_said else ()) if _is_feedback(row))


def records_of(row: dict[str, Any], where: str, given: Given) -> Iterator[Record]:
    """The inference, datapoint or feedback."""
    if _is_feedback(row):
        yield _feedback(row, where)
        return
    if row.get("is_deleted"):
        raise BadInput("deleted in its dataset")
    interaction_id, at = _id(row, "id", "inference_id"), _time(row, "id", "timestamp", "updated_at")
    chat, variables = _read_input(unpack(row.get("input")))
    answer = _read_output(unpack(row.get("output")))
    feature = given.feature_of(row.get("function_name"))
    extra = {name: row[name] for name in KEPT if row.get(name)}
    record = {"interaction_id": interaction_id, "feature": feature, "at": at, "output": answer.output}
    record |= {"input": {"messages": chat.messages, "variables": variables}, "attributes": keep(extra, chat, answer)}
    record |= {"session_id": text_or_none(row.get("episode_id")), "latency_ms": row.get("processing_time_ms")}
    yield parse_interaction(record, where)
    if "dataset_name" in row and answer.output["content"]:
        said, source = Said("correction", answer.output["content"]), ("system", f"dataset:{row['dataset_name']}")
        yield tell(
            said, feedback_id=f"{interaction_id}:datapoint", about=interaction_id, at=at, source=source, where=where
        )


def _feedback(row: dict[str, Any], where: str) -> Record:
    feedback_id, at = _id(row, "id"), _time(row, "id", "timestamp")
    tags, metric = field(row, "tags", dict, default={}), text_or_none(row.get("metric_name"))
    person = text_or_none(tags.get("user_id")) or text_or_none(tags.get("author")) or "tensorzero"
    more: dict[str, Any] = {"attributes": {"tags": tags} if tags else {}}
    if "inference_id" in row and "metric_name" not in row:
        about, name, source = _id(row, "inference_id"), "demonstration", ("agent", person)
        said = Said("correction", _read_output(unpack(row.get("value"))).output["content"])
    else:
        about, name = _id(row, "target_id"), metric or "comment"
        said = read_score(name, row.get("value")) if metric else Said("comment", row.get("value"))
        source = ("system", name) if metric else ("agent", person)
        more["attributes"] |= {EPISODE: about} | ({"metric": metric} if metric else {})
    return tell(said, feedback_id=f"{feedback_id}:{name}"[:200], about=about, at=at, source=source, where=where, **more)


def _read_input(value: Any) -> tuple[Chat, dict[str, Any]]:
    if not isinstance(value, dict) or not isinstance(value.get("messages"), list) or not value["messages"]:
        raise BadInput("input: holds no messages")
    chat, variables = Chat([], {}), dict[str, Any]()
    turns = [{"role": "system", "content": value["system"]}] if value.get("system") else []
    for position, message in enumerate([*turns, *value["messages"]]):
        if not isinstance(message, dict):
            raise BadInput("input: holds no messages")
        content = message.get("content")
        blocks = content if isinstance(content, list) else [content]
        said = [_read_block(block, variables) for block in blocks]
        text = "\n".join(part for part in said if part is not None)
        chat.messages.append({"role": read_role(message, "input"), "content": text})
        if None in said:
            chat.as_sent[str(position)] = message
    return chat, variables


def _read_block(block: Any, variables: dict[str, Any]) -> str | None:
    """A block's text; arguments of a template go to the variables and are their JSON. None for images and tools."""
    if isinstance(block, str):
        return block
    if not isinstance(block, dict):
        return None
    if "type" not in block:  # a system prompt's arguments
        variables.update(block)
        return canonical_json(block)
    if block["type"] not in ("text", "raw_text", "template"):
        return None
    said = next((block[name] for name in ("text", "value", "arguments") if block.get(name) is not None), None)
    if isinstance(said, dict):
        variables.update(said)
        return canonical_json(said)
    return said if isinstance(said, str) else None


def _read_output(value: Any) -> Answer:
    """The answer of an inference: blocks of a chat function, {"raw"} of a JSON one; none of a datapoint without."""
    if value is None:
        return Answer({"content": None, "tool_calls": []}, None)
    if isinstance(value, dict) and isinstance(value.get("raw"), str):
        return read_answer(value["raw"])
    if isinstance(value, dict) and "parsed" in value:
        return read_answer(canonical_json(value["parsed"]))
    return read_answer({"content": value})


def _is_feedback(row: Any) -> bool:
    return isinstance(row, dict) and "value" in row and "function_name" not in row


def _id(row: dict[str, Any], *names: str) -> str:
    found = next((row[name] for name in names if isinstance(row.get(name), str) and row[name]), None)
    if found is None:
        raise BadInput(f"{names[0]}: missing or not a text")
    return str(found)


def _time(row: dict[str, Any], id_field: str, *names: str) -> datetime:
    for name in names:
        if row.get(name) is not None:
            return to_time(row[name], name)
    try:
        made = UUID(str(row.get(id_field)))
    except ValueError:
        raise BadInput("timestamp: no time, and the id holds none") from None
    if made.version != 7:
        raise BadInput("timestamp: no time, and the id holds none")
    return to_time((made.int >> 80) / 1000, "id")
