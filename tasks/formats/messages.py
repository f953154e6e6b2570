"""Chat messages of any dialect (OpenAI, Anthropic, Gemini, LangChain, GenAI parts) as text, nothing lost.

`Message.content` is text. Text parts are joined by a line break; a message that holds more than its text (images,
tool calls, names, weights) stands whole, as it was sent, in `as_sent` by its position, which readers keep under
`attributes`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ratchet.errors import BadInput

ROLES = {"human": "user", "ai": "assistant", "model": "assistant", "function": "tool"}
KNOWN = ("system", "user", "assistant", "tool", "developer")
CALLS = ("tool_use", "tool_call", "function_call", "functionCall")


class Chat(NamedTuple):
    """Messages as text, and by position those that held more."""

    messages: list[dict[str, str]]
    as_sent: dict[str, Any]


class Answer(NamedTuple):
    """The assistant's turn as an `output`, and the message itself where it held more than text and tool calls."""

    output: dict[str, Any]
    as_sent: Any


def read_chat(value: Any, where: str = "messages") -> Chat:
    """Messages as text.

    Raises:
        BadInput: not a list of messages with a role that is known.
    """
    if not isinstance(value, list) or not value:
        raise BadInput(f"{where}: not a list of messages")
    chat = Chat([], {})
    for position, message in enumerate(value):
        if not isinstance(message, dict):
            raise BadInput(f"{where}: not a list of messages")
        content = content_of(message)
        text = join_text(content)
        chat.messages.append({"role": read_role(message, where), "content": text})
        if len(message) > 2 or not _is_only(text, content):
            chat.as_sent[str(position)] = message
    return chat


def read_role(message: dict[str, Any], where: str = "messages") -> str:
    """The role under our name; LangChain calls it `type`.

    Raises:
        BadInput: it is missing or not known.
    """
    role = message.get("role") or message.get("type")
    role = ROLES.get(role, role) if isinstance(role, str) else None
    if role not in KNOWN:
        raise BadInput(f"{where}: a message has no role that is known ({', '.join(KNOWN)})")
    return role


def content_of(message: dict[str, Any]) -> Any:
    """What a message says; GenAI and Gemini call it `parts`."""
    return message["content"] if "content" in message else message.get("parts")


def join_text(content: Any) -> str:
    """The text of a content: itself, or its text parts joined by a line break; empty where it holds none."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    return "\n".join(text for text in map(_text_of, parts) if text is not None)


def read_answer(message: Any, where: str = "output") -> Answer:
    """An assistant's message, or plain text, as an output.

    Raises:
        BadInput: it says nothing and calls no tool.
    """
    if isinstance(message, str):
        message = {"content": message}
    if not isinstance(message, dict):
        raise BadInput(f"{where}: not an assistant's message")
    content = content_of(message)
    text, calls = join_text(content), _calls_of(message, content)
    if not text and not calls:
        raise BadInput(f"{where}: the assistant's turn is empty")
    plain = set(message) <= {"role", "content", "tool_calls", "refusal"} and message.get("refusal") is None
    is_whole = plain and (content is None or _is_only(text, content))
    return Answer({"content": text or None, "tool_calls": calls}, None if is_whole else message)


def keep(attributes: dict[str, Any], chat: Chat, answer: Answer | None = None) -> dict[str, Any]:
    """The attributes with the messages, and the output, that held more than text."""
    kept = dict(attributes)
    if chat.as_sent:
        kept["as_sent"] = chat.as_sent
    if answer is not None and answer.as_sent is not None:
        kept["output_as_sent"] = answer.as_sent
    return kept


def _is_only(text: str, content: Any) -> bool:
    """Whether a content says no more than its text."""
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], dict):
        return set(content[0]) == {"type", "text"} and bool(content[0]["text"] == text)
    return bool(content == text)


def _text_of(part: Any) -> str | None:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict) or part.get("type", "text") not in ("text", "input_text", "output_text"):
        return None
    found = (part.get(name) for name in ("text", "content", "value"))
    return next((text for text in found if isinstance(text, str)), None)


def _calls_of(message: dict[str, Any], content: Any) -> list[Any]:
    extra = message.get("additional_kwargs")  # LangChain
    calls = message.get("tool_calls") or (extra.get("tool_calls") if isinstance(extra, dict) else None) or []
    found = list(calls) if isinstance(calls, list) else [calls]
    if isinstance(message.get("function_call"), dict):
        found.append({"type": "function", "function": message["function_call"]})
    parts = content if isinstance(content, list) else []
    return found + [p for p in parts if isinstance(p, dict) and (p.get("type") in CALLS or "functionCall" in p)]
