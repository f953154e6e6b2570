"""Questions and answers as traces hold them: chat requests and completions, Responses API items, or plain text.

Traces of different frameworks put anything into `input` and `output`; what is looked for here is what the frameworks of
the public traces write (OpenAI chat and Responses, LangChain, Vercel AI SDK, pydantic-ai, LlamaIndex, Claude SDK).
"""

from __future__ import annotations

from typing import Any

from ratchet.errors import BadInput
from ratchet.jsonl import load_json
from tasks.formats.messages import Answer, Chat, content_of, join_text, read_answer, read_chat, read_role

QUESTIONS = ("question", "query", "prompt", "text", "user_input", "message", "input", "content")
ANSWERS = ("answer", "response", "output", "text", "completion", "result", "message")


def unpack(value: Any) -> Any:
    """A value that is JSON in a text, or in a text in a text, as that JSON; anything else as it is."""
    for _ in range(2):
        if isinstance(value, str) and value.lstrip()[:1] in ("{", "[", '"'):
            try:
                value = load_json(value)
            except BadInput:
                break
    return value


def read_question(value: Any) -> Chat | None:
    """What was asked; None where the value holds no question.

    Messages, a request that holds them (with `system` or `instructions`), Responses items, or a text.
    """
    value = unpack(value)
    try:
        if isinstance(value, str):
            return _read_items([value])
        if isinstance(value, list):
            return _read_items(value)
        if isinstance(value, dict):
            return _read_request(value)
    except BadInput:
        return None
    return None


def read_reply(value: Any) -> Answer | None:
    """What was answered; None where the value holds no answer. Of several messages it is the last assistant's."""
    value = unpack(value)
    try:
        if isinstance(value, str):
            return read_answer(value) if value.strip() else None
        if isinstance(value, list):
            return _read_last(value)
        if isinstance(value, dict):
            return _read_completion(value)
    except BadInput:
        return None
    return None


def usage_of(usage: Any) -> dict[str, int]:
    """Tokens under our names; empty where there are none."""
    if not isinstance(usage, dict):
        return {}
    names = {"input_tokens": ("input_tokens", "prompt_tokens", "input"), "output_tokens": ()}
    names["output_tokens"] = ("output_tokens", "completion_tokens", "output")
    found = {}
    for ours, theirs in names.items():
        counts = [usage[name] for name in theirs if isinstance(usage.get(name), int) and usage[name] >= 0]
        if counts:
            found[ours] = int(counts[0])
    return found


def _read_request(request: dict[str, Any]) -> Chat | None:
    system = join_text(request.get("system") or request.get("instructions") or "")
    if isinstance(request.get("messages"), list):
        asked: Chat | None = _read_items(request["messages"])
    elif isinstance(request.get("role"), str):
        asked = read_chat([request])
    else:
        named = [request[name] for name in (*QUESTIONS, "args") if isinstance(request.get(name), (str, list))]
        asked = _read_items([named[0]] if isinstance(named[0], str) else named[0]) if named else None
    if asked is None or not system:
        return asked
    moved = {str(int(position) + 1): message for position, message in asked.as_sent.items()}
    return Chat([{"role": "system", "content": system}, *asked.messages], moved)


def _read_items(items: list[Any]) -> Chat | None:
    """Messages, or items of the Responses API, whose function calls have a type in place of a role."""
    if items and all(isinstance(item, str) for item in items):
        text = "\n".join(items)
        return Chat([{"role": "user", "content": text}], {}) if text.strip() else None
    return read_chat([_as_message(item) for item in items]) if items else None


def _as_message(item: Any) -> Any:
    if isinstance(item, dict) and "role" not in item and item.get("type") == "function_call":
        return item | {"role": "assistant", "content": ""}
    if isinstance(item, dict) and "role" not in item and item.get("type") == "function_call_output":
        return item | {"role": "tool", "content": item.get("output", "")}
    return item


def _read_completion(value: dict[str, Any]) -> Answer | None:
    choices = value.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return read_answer(choices[0].get("message", choices[0].get("text")))
    if isinstance(value.get("message"), dict):
        return read_answer(value["message"])
    for name in ("messages", "output"):
        if isinstance(value.get(name), list):
            return _read_last(value[name])
    if "content" in value or "parts" in value or "tool_calls" in value:
        return read_answer(value)
    named = [value[name] for name in ANSWERS if isinstance(value.get(name), str)]
    return read_answer(named[0]) if named else None


def _read_last(items: list[Any]) -> Answer | None:
    """The answer in a list: the last assistant's message, the Responses items together, or bare tool calls."""
    objects = [item for item in items if isinstance(item, dict)]
    calls = [item for item in objects if item.get("type") == "function_call" or "toolCallId" in item]
    said = [item for item in objects if _is_assistants(item)]
    if said:
        answer = read_answer(said[-1])
        whole = objects if calls else answer.as_sent
        return Answer(answer.output | {"tool_calls": answer.output["tool_calls"] + calls}, whole)
    if calls:
        return Answer({"content": None, "tool_calls": calls}, None)
    text = join_text(items)
    return read_answer(text) if text else None


def _is_assistants(item: dict[str, Any]) -> bool:
    try:
        return read_role(item) == "assistant" and content_of(item) is not None
    except BadInput:
        return False
