"""OpenAI's chat fine-tuning JSONL: {"messages": [...], "tools"?: [...]} a line; the last assistant turn is the output.

Such rows never have a time or an id: the time is --at (1970-01-01 if it is not given), the id a digest of the row.
Read from openai/openai-cookbook examples/data/toy_chat_fine_tuning.jsonl and the fine-tuning guide.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ratchet.errors import BadInput
from ratchet.records import parse_interaction
from tasks.formats.messages import keep, read_answer, read_chat
from tasks.formats.rows import Given, Record, derive_id, field


def is_like(row: dict[str, Any]) -> bool:
    """Whether a row may be a fine-tuning example."""
    return "messages" in row and not {"interaction_id", "custom_id", "request", "output_message", "prompt"} & set(row)


def records_of(row: dict[str, Any], where: str, given: Given) -> Iterator[Record]:
    """The example as an interaction."""
    messages = field(row, "messages", list, default=[])
    if not messages or not isinstance(messages[-1], dict) or messages[-1].get("role") != "assistant":
        raise BadInput("messages: the last turn is not the assistant's")
    answer = read_answer(messages[-1])
    chat = read_chat(messages[:-1] or None)
    if all(message["role"] != "user" for message in chat.messages):
        raise BadInput("messages: there is no user turn")
    feature = given.feature_of(row.get("feature"))
    extra = {name: value for name, value in row.items() if name not in ("messages", "feature")}
    record = {"interaction_id": derive_id("chat", feature, row), "feature": feature, "at": given.at}
    record |= {"input": {"messages": chat.messages}, "output": answer.output}
    yield parse_interaction(record | {"attributes": keep(extra, chat, answer)}, where)
