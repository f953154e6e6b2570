"""Prompts: front matter and a logic-free template, rendered by the one function that gateway and evaluate call."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from ratchet.errors import SettingsInvalid
from ratchet.records import Context, Message

PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")


class Demonstration(BaseModel):
    """A solved example shown to the model: what a user asked, what the right output was."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: str
    output: str


class Prompt(BaseModel):
    """The system text (a template; may be empty) and its demonstrations."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    demonstrations: tuple[Demonstration, ...] = ()


def load_prompt(path: Path) -> Prompt:
    """Read prompts/<segment>.md: front matter between `---` lines (optional), then the template.

    Raises:
        SettingsInvalid: the file is missing or not UTF-8, or its front matter has no end or is not YAML.
    """
    try:
        content = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SettingsInvalid(f"{path} is missing: a feature needs a prompt") from error
    except UnicodeDecodeError as error:
        raise SettingsInvalid(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from error
    return Prompt(text=split_front_matter(content, str(path))[1].strip())


def split_front_matter(content: str, where: str) -> tuple[str, str]:
    """Front matter (empty where there is none) and template of a prompt file; `where` is named in errors.

    Raises:
        SettingsInvalid: the front matter has no end or is not YAML.
    """
    if not content.startswith("---\n"):
        return "", content
    head, end, body = content[4:].partition("\n---\n")
    if not end:
        raise SettingsInvalid(f"{where}: the front matter has no second --- line, so there would be no prompt")
    try:
        yaml.safe_load(head)
    except yaml.YAMLError as error:
        raise SettingsInvalid(f"{where}: the front matter is not YAML: {error}") from error
    return head, body


def render(
    prompt: Prompt, messages: Sequence[Message], *, variables: Mapping[str, Any], contexts: Sequence[Context]
) -> list[dict[str, str]]:
    """The messages that the model gets: system text, demonstrations, then the application's own messages.

    Substitution is one pass over the template: what a value contains is never looked at again. A name that is not
    given becomes an empty text. `{{ contexts }}` is the numbered list of passages.
    """
    values = {**{k: _as_text(v) for k, v in variables.items()}, "contexts": _numbered(contexts)}
    system = PLACEHOLDER.sub(lambda match: values.get(match.group(1), ""), prompt.text).strip()
    rendered = [{"role": "system", "content": system}] if system else []
    for shown in prompt.demonstrations:
        rendered.append({"role": "user", "content": shown.input})
        rendered.append({"role": "assistant", "content": shown.output})
    return rendered + [{"role": m.role, "content": m.content} for m in messages]


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _numbered(contexts: Sequence[Context]) -> str:
    return "\n".join(f"[{number}] {context.text}" for number, context in enumerate(contexts, start=1))
