"""Conversations in the dialects that GenAI instrumentations write: attributes of a span to messages and an answer.

Dialects, in the order in which they are looked for: the current OpenTelemetry conventions (`gen_ai.input.messages`, as
JSON text or as a structure), their older form (`gen_ai.prompt` and `gen_ai.completion` as JSON text), the numbered
attributes of OpenLLMetry (`gen_ai.prompt.0.content`) and OpenInference (`llm.input_messages.0.message.content`), and
OpenInference's plain `input.value` of a span whose kind is LLM.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from ratchet.errors import BadInput
from ratchet.jsonl import load_json
from ratchet.records import Message, Output

ROLES = {role: role for role in ("system", "user", "assistant", "tool", "developer")}
ROLES |= {"human": "user", "ai": "assistant", "model": "assistant", "function": "tool"}
NUMBERED = (
    ("gen_ai.prompt", "gen_ai.completion", ""),
    ("llm.input_messages", "llm.output_messages", "message."),
)


class Part(BaseModel):
    """A part of a message: a type, and what its type asks for. The conventions allow any type and any fields."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    type: str


class ChatMessage(BaseModel):
    """A message of `gen_ai.input.messages`."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    role: str
    parts: list[Part]
    name: str | None = None


class OutputMessage(ChatMessage):
    """A message of `gen_ai.output.messages`."""

    finish_reason: str


class ToolDefinition(BaseModel):
    """A tool of `gen_ai.tool.definitions`."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    type: str
    name: str


INPUT_MESSAGES = TypeAdapter(list[ChatMessage])
OUTPUT_MESSAGES = TypeAdapter(list[OutputMessage])
SYSTEM_INSTRUCTIONS = TypeAdapter(list[Part])
TOOL_DEFINITIONS = TypeAdapter(list[ToolDefinition])


class Conversation(NamedTuple):
    """What was asked and answered. `is_reduced`: a part that is no text was left out; `n_choices`: answers offered."""

    messages: tuple[Message, ...]
    output: Output
    finish_reason: str | None
    is_reduced: bool
    n_choices: int


def read_conversation(attributes: dict[str, Any]) -> Conversation | None:
    """The conversation of a span's attributes; None where they hold none.

    Raises:
        BadInput: they hold one that cannot be used; the message says why and quotes nothing.
    """
    asked, answered = _dialect(attributes)
    if not asked and not answered:
        return None
    if not asked:
        raise BadInput("no input messages")
    if not answered:
        raise BadInput("no output messages")
    messages = [message for one in asked for message in _to_messages(one)]
    content = _text(answered[0])
    tool_calls = [_tool_call(part) for part in answered[0].parts if part.type == "tool_call"]
    if not (content.strip() or tool_calls):
        raise BadInput("the answer holds neither text nor tool calls")
    return Conversation(
        messages=tuple(messages),
        output=Output(content=content or None, tool_calls=tool_calls),
        finish_reason=answered[0].finish_reason or None,
        is_reduced=any(part.type not in ("text", "tool_call_response") for one in asked for part in one.parts),
        n_choices=len(answered),
    )


def read_tools(attributes: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The tools that the model was offered; None where there are none, or they are not as the conventions say."""
    try:
        found = _validated(TOOL_DEFINITIONS, attributes, "gen_ai.tool.definitions")
    except BadInput:  # some instrumentations leave the type out; the answer is of use all the same
        return None
    return [tool.model_dump() for tool in found] or None


def parse_json(text: str, what: str) -> Any:
    """JSON inside a text.

    Raises:
        BadInput: not JSON, or nested too deeply; the message begins with `what`.
    """
    try:
        return load_json(text)
    except BadInput as error:
        raise BadInput(f"{what}: {error}") from None


def _dialect(attributes: dict[str, Any]) -> tuple[Sequence[ChatMessage], Sequence[OutputMessage]]:
    if "gen_ai.input.messages" in attributes or "gen_ai.output.messages" in attributes:
        return _current(attributes)
    if "gen_ai.prompt" in attributes or "gen_ai.completion" in attributes:
        return _older(attributes.get("gen_ai.prompt"), "user"), _older(attributes.get("gen_ai.completion"), "assistant")
    for prompt, completion, infix in NUMBERED:
        asked, answered = _numbered(attributes, prompt, infix), _numbered(attributes, completion, infix)
        if asked or answered:
            return _older(asked, "user"), _older(answered, "assistant")
    if attributes.get("openinference.span.kind") == "LLM":
        return _older(attributes.get("input.value"), "user"), _older(attributes.get("output.value"), "assistant")
    return [], []


def _current(attributes: dict[str, Any]) -> tuple[Sequence[ChatMessage], Sequence[OutputMessage]]:
    asked = _messages(INPUT_MESSAGES, attributes, "gen_ai.input.messages", "user")
    instructions = _validated(SYSTEM_INSTRUCTIONS, attributes, "gen_ai.system_instructions")
    if instructions:
        asked = [ChatMessage(role="system", parts=instructions), *asked]
    return asked, _messages(OUTPUT_MESSAGES, attributes, "gen_ai.output.messages", "assistant")


def _messages(shape: TypeAdapter[list[Any]], attributes: dict[str, Any], key: str, role: str) -> list[Any]:
    """Messages of the conventions, or OpenAI's, which some instrumentations write under the same name."""
    value = attributes.get(key)
    found = parse_json(value, key) if isinstance(value, str) else value
    if (
        isinstance(found, list)
        and found
        and all(isinstance(m, dict) and "content" in m and "parts" not in m for m in found)
    ):
        return _older(found, role)
    return _validated(shape, {key: found}, key)


def _validated(shape: TypeAdapter[list[Any]], attributes: dict[str, Any], key: str) -> list[Any]:
    value = attributes.get(key)
    if value is None:
        return []
    try:
        return shape.validate_python(parse_json(value, key) if isinstance(value, str) else value)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        field = next((part for part in reversed(problem["loc"]) if isinstance(part, str)), "messages")
        raise BadInput(f"{key}: {field}: {problem['msg']}") from error


def _numbered(attributes: dict[str, Any], prefix: str, infix: str) -> list[dict[str, Any]]:
    """`prefix.0.role`, `prefix.0.content` and so on as a list of objects, by number."""
    name = re.compile(re.escape(prefix) + r"\.(\d{1,4})\." + re.escape(infix) + r"(role|content|finish_reason)")
    found: dict[int, dict[str, Any]] = {}
    for key, value in attributes.items():
        if match := name.fullmatch(key):
            found.setdefault(int(match[1]), {})[match[2]] = value
    return [found[number] for number in sorted(found)]


def _older(value: Any, role: str) -> list[OutputMessage]:
    """Messages as {"role", "content"}: a list, its JSON, or a text that is one message of `role`."""
    if isinstance(value, str):
        value = _list_in(value) or [{"content": value}]
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise BadInput("the messages are neither a text nor a list of objects")
    return [_older_message(one, role) for one in value]


def _list_in(text: str) -> list[Any] | None:
    """A list of messages where the text is JSON of one; None where it is anything else."""
    if not text.lstrip().startswith("["):
        return None
    try:
        value = parse_json(text, "the text")
    except BadInput:
        return None
    return value if isinstance(value, list) and value and all(isinstance(v, dict) for v in value) else None


def _older_message(one: dict[str, Any], role: str) -> OutputMessage:
    said = one["message"] if isinstance(one.get("message"), dict) else one  # OpenAI's choices wrap it
    content = said.get("content")
    raw = content if isinstance(content, list) else [{"type": "text", "text": content}] if content is not None else []
    parts = [_part(str(p.get("type") or "text"), content=p.get("text", p.get("content"))) for p in _dicts(raw)]
    parts += [_older_call(call) for call in _dicts(said.get("tool_calls") or [])]
    reason = one.get("finish_reason")
    given = said.get("role")
    return OutputMessage(
        role=given if isinstance(given, str) else role,
        parts=parts,
        finish_reason=reason if isinstance(reason, str) else "",
    )


def _older_call(call: dict[str, Any]) -> Part:
    named = call["function"] if isinstance(call.get("function"), dict) else call
    return _part("tool_call", id=call.get("id"), name=named.get("name"), arguments=named.get("arguments"))


def _part(kind: str, **fields: Any) -> Part:
    return Part.model_validate({"type": kind, **fields})


def _dicts(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise BadInput("parts of a message are not a list of objects")
    return value


def _to_messages(one: ChatMessage) -> Iterator[Message]:
    """The message's text, after a message for each result of a tool that it carries."""
    role = ROLES.get(one.role)
    if role is None:
        raise BadInput("a message has a role that is none of system, user, assistant, tool")
    results = [part for part in one.parts if part.type == "tool_call_response"]
    for part in results:
        response = _field(part, "response")
        yield Message(role="tool", content=response if isinstance(response, str) else json.dumps(response))
    text = _text(one)
    if text or not results:
        yield Message(role=role, content=text)  # type: ignore[arg-type]  # one of ROLES


def _text(one: ChatMessage) -> str:
    texts = [_field(part, "content") for part in one.parts if part.type == "text"]
    if not all(isinstance(text, str) for text in texts):
        raise BadInput("a text part without text")
    return "".join(texts)


def _tool_call(part: Part) -> dict[str, Any]:
    """A call as OpenAI's API and our records have it: arguments as JSON text."""
    arguments = _field(part, "arguments")
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
    return {
        "id": _field(part, "id"),
        "type": "function",
        "function": {"name": _field(part, "name"), "arguments": text},
    }


def _field(part: Part, name: str) -> Any:
    return (part.model_extra or {}).get(name)
