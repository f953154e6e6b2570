"""What a scorer is given, one answer with all that belongs to it, and what it says: a score with a reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict, Field, ValidationError, field_validator

from ratchet.records import Context, Message, Record, Rejected


@dataclass(frozen=True)
class Score:
    """How good one answer is, from 0 to 1 (higher is better), and why.

    Attributes:
        score: None is unscored: nothing can be said, which is not 0.
        reason: fixed words and numbers, never text of the answer, so that it may stand in a log.
        is_failure: the scorer broke, and the reason says nothing of the answer.
    """

    score: float | None
    reason: str
    is_failure: bool = False


ItemScorer = Callable[..., Score]


class Item(Record):
    """One answer to score.

    Attributes:
        messages: what was asked; may be empty where the scorer does not need it.
        output: the answer; JSON of any other form is kept as its text.
        contexts: the passages that the answer may rest on; the first is [1] in a citation.
        expected: the right output, as text; JSON of any other form is kept as its text.
        variables: what the application sent, and what a scorer asks for by name (`tests`, `other`).
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    messages: tuple[Message, ...] = ()
    output: str
    contexts: tuple[Context, ...] = ()
    expected: str | None = None
    variables: dict[str, Any] = Field(default_factory=dict)

    @field_validator("output", mode="before")
    @classmethod
    def _output_as_text(cls, value: Any) -> Any:
        is_message = isinstance(value, dict) and "content" in value
        return _as_text((value["content"] or "") if is_message else value)

    @field_validator("expected", mode="before")
    @classmethod
    def _expected_as_text(cls, value: Any) -> Any:
        return _as_text(value)

    @field_validator("contexts", mode="before")
    @classmethod
    def _number_bare_texts(cls, value: Any) -> Any:
        if not isinstance(value, list):
            return value if value is not None else ()
        return [{"id": str(i), "text": c} if isinstance(c, str) else c for i, c in enumerate(value, start=1)]

    @field_validator("variables", "messages", mode="before")
    @classmethod
    def _null_is_nothing(cls, value: Any, info: Any) -> Any:
        return value if value is not None else ({} if info.field_name == "variables" else ())


def parse_item(row: dict[str, Any], where: str) -> Item | Rejected:
    """An item, or why the row is none; the reason names the field and never its value."""
    try:
        item = Item.model_validate(row)
        item.model_dump_json()  # refuses what cannot be written, as a lone surrogate
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        return Rejected(where, f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}")
    except ValueError:
        return Rejected(where, "holds text that is not Unicode")
    return item


def as_score(value: Any, reason: str) -> Score:
    """What a scorer of a team's own said: a number from 0 to 1, true or false, None, or a Score; else unscored."""
    if isinstance(value, Score):
        value, reason = value.score, value.reason
    if value is None:
        return Score(None, reason)
    if not isinstance(value, (bool, int, float)) or not 0 <= value <= 1:
        return Score(None, "the scorer gave no number from 0 to 1", is_failure=True)
    return Score(float(value), reason)


def _as_text(value: Any) -> Any:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
