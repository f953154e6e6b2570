"""OpenAI's preference JSONL: {"input": {"messages"}, "preferred_output", "non_preferred_output"} a line.

The non-preferred output is what was answered, the preferred one is feedback of the kind preference. Together and
Fireworks read the same shape. Rows never have a time or an id: the time is --at (1970-01-01 if it is not given), the
id a digest of the row. Read from OpenAI's guide to direct preference optimization.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ratchet.errors import BadInput
from ratchet.records import parse_interaction
from tasks.formats.messages import keep
from tasks.formats.replies import read_question, read_reply
from tasks.formats.rows import Given, Record, derive_id, field
from tasks.formats.scores import Said, tell


def is_like(row: dict[str, Any]) -> bool:
    """Whether a row may be a preference."""
    return "preferred_output" in row or "non_preferred_output" in row


def records_of(row: dict[str, Any], where: str, given: Given) -> Iterator[Record]:
    """The answered question as an interaction, and the preference as feedback on it."""
    asked = field(row, "input", dict, default={})
    chat = read_question({"messages": field(asked, "messages", list, default=[])})
    chosen, refused = (read_reply(field(row, f"{name}_output", list)) for name in ("preferred", "non_preferred"))
    if chat is None:
        raise BadInput("input.messages: not a list of messages")
    if chosen is None or refused is None:
        raise BadInput("preferred_output and non_preferred_output: each needs an assistant's message")
    if not chosen.output["content"] or not refused.output["content"]:
        raise BadInput("preferred_output and non_preferred_output: tool calls without text are no preference yet")
    feature = given.feature_of(row.get("feature"))
    interaction_id = derive_id("dpo", feature, row)
    extra = {name: asked[name] for name in ("tools", "parallel_tool_calls") if asked.get(name)}
    record = {"interaction_id": interaction_id, "feature": feature, "at": given.at, "output": refused.output}
    record |= {"input": {"messages": chat.messages}, "attributes": keep(extra, chat, refused)}
    yield parse_interaction(record, where)
    pair = {"chosen": chosen.output["content"], "rejected": refused.output["content"]}
    name = derive_id("fb", interaction_id)
    source = ("system", "openai-dpo")
    yield tell(
        Said("preference", pair), feedback_id=name, about=interaction_id, at=given.at, source=source, where=where
    )
