"""Records of the contract with the outside: interactions, feedback, holdout items; JSONL in, JSONL out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ratchet import jsonl
from ratchet.errors import BadInput, BadRecord
from ratchet.features import Feature
from ratchet.files import canonical_json, sha256_text
from ratchet.jsonl import Unreadable, is_array, load_json, read_elements, read_lines

MAX_LINE_BYTES = jsonl.MAX_LINE_BYTES
TENANT = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
NO_NUL = r"^[^\x00]*$"  # PostgreSQL stores none in a text column


@dataclass(frozen=True)
class Rejected:
    """A record that cannot be used: where it stood, why, and its id if it had one. Never its content."""

    where: str
    reason: str
    record_id: str | None = None


class Record(BaseModel):
    """A record from outside: immutable, unknown fields kept under `attributes`."""

    model_config = ConfigDict(frozen=True, extra="forbid")


R = TypeVar("R", bound=Record)


class Message(Record):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant", "tool", "developer"]
    content: str


class Context(Record):
    """A passage that the application retrieved for the answer."""

    id: str
    text: str


class Input(Record):
    """What the application asked."""

    messages: tuple[Message, ...] = Field(min_length=1)
    variables: dict[str, Any] = Field(default_factory=dict)


class Output(Record):
    """What the release answered."""

    content: str | None
    tool_calls: list[Any] = Field(default_factory=list)


class Usage(Record):
    """Tokens read and written."""

    input_tokens: int = Field(default=0, ge=0)
    output_tokens: int = Field(default=0, ge=0)


class _Attributed(Record):
    attributes: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _keep_unknown(cls, row: Any) -> Any:
        if not isinstance(row, dict):
            return row
        fields = cls.__pydantic_fields__
        unknown = {k: v for k, v in row.items() if k not in fields}
        if not unknown:
            return row
        known = {k: v for k, v in row.items() if k in fields}
        given = known.get("attributes") or {}
        if isinstance(given, dict):
            known["attributes"] = {**given, **unknown}
        return known


class Interaction(_Attributed):
    """One request with its answer (DESIGN section 3)."""

    interaction_id: str = Field(min_length=1, max_length=200, pattern=NO_NUL)
    feature: str = Field(min_length=1, max_length=100, pattern=NO_NUL)
    tenant: str = Field(default="default", pattern=TENANT)
    segment: str | None = None
    session_id: str | None = None
    user_id: str | None = Field(default=None, pattern=NO_NUL)
    at: AwareDatetime
    input: Input
    output: Output
    contexts: tuple[Context, ...] = ()
    release_id: str | None = None
    channel: str | None = None
    propensity: float | None = Field(default=None, gt=0, le=1)
    model: str | None = None
    consent: bool | None = None
    usage: Usage = Field(default_factory=Usage)
    cost_usd: float | None = None
    latency_ms: float | None = None
    finish_reason: str | None = None
    fallback: bool = False

    @field_validator("at")
    @classmethod
    def _in_utc(cls, at: datetime) -> datetime:
        return _to_utc(at)


class Source(Record):
    """Who gave the feedback."""

    type: Literal["user", "agent", "judge", "system"]
    id: str = Field(min_length=1, max_length=200)


class Feedback(_Attributed):
    """One signal about an interaction (DESIGN section 3)."""

    feedback_id: str = Field(min_length=1, max_length=200, pattern=NO_NUL)
    interaction_id: str = Field(min_length=1, max_length=200, pattern=NO_NUL)
    at: AwareDatetime
    kind: Literal[
        "thumb", "rating", "correction", "preference", "comment", "rephrase", "abandon", "escalation", "accept"
    ]
    value: Any
    source: Source
    comment: str | None = Field(default=None, max_length=10_000)

    @field_validator("at")
    @classmethod
    def _in_utc(cls, at: datetime) -> datetime:
        return _to_utc(at)

    @model_validator(mode="after")
    def _value_fits_kind(self) -> Feedback:
        check_value(self.kind, self.value)
        return self


def check_value(kind: str, value: Any) -> None:
    """Raise ValueError, saying what is expected, where a value does not fit its kind."""
    if kind == "thumb" and not isinstance(value, bool):
        raise ValueError("the value of a thumb is true or false")
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind == "rating" and not (is_number and 0 <= value <= 1):
        raise ValueError("the value of a rating is a number from 0 to 1")
    if kind == "correction" and not (isinstance(value, dict) or (isinstance(value, str) and value.strip())):
        raise ValueError("the value of a correction is the right output, as text or JSON")
    if kind == "preference" and not (isinstance(value, dict) and {"chosen", "rejected"} <= set(value)):
        raise ValueError('the value of a preference is {"chosen": ..., "rejected": ...}')
    if kind == "comment" and not isinstance(value, str):
        raise ValueError("the value of a comment is a text")
    if kind in ("rephrase", "abandon", "escalation", "accept") and not (
        isinstance(value, bool) or (is_number and 0 <= value <= 1)
    ):
        raise ValueError(f"the value of {kind} is true, false or a number from 0 to 1")


def _to_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError as error:  # pydantic turns a ValueError only into a rejection
        raise ValueError("the time lies outside the years 1 to 9999") from error


def parse_interaction(row: Any, where: str) -> Interaction | Rejected:
    """An interaction, or why the row is none."""
    return _parse(Interaction, row, where, "interaction_id")


def parse_feedback(row: Any, where: str) -> Feedback | Rejected:
    """A feedback, or why the row is none."""
    return _parse(Feedback, row, where, "feedback_id")


def read_jsonl(path: Path) -> Iterator[tuple[str, dict[str, Any] | Rejected]]:
    """Each non-empty line of a JSONL file, plain or gzip, as (`file:line`, object or why it is none).

    Memory is one line. A line over 1 MiB, not UTF-8, not JSON or not an object is Rejected; the rest goes on. A file
    that is one JSON array gives its elements in the same way, as (`file[element]`, ...).
    """
    as_array = is_array(path)
    for number, line in read_elements(path) if as_array else read_lines(path):
        where = f"{path.name}[{number}]" if as_array else f"{path.name}:{number}"
        if isinstance(line, Unreadable):
            yield where, Rejected(where, line.reason)
        elif line.strip():
            yield where, _parse_line(line, where)


@dataclass(frozen=True)
class HoldoutItem:
    """An item that releases are judged on; `expected` is the right output exactly as it would be served.

    Attributes:
        session: the session or user it comes from: items of one are one piece of evidence.
        tenant: whose traffic it is.
        segment: which part of it.
        at: when it was asked.
    """

    item_id: str
    messages: tuple[Message, ...]
    variables: dict[str, Any]
    contexts: tuple[Context, ...]
    expected: str
    session: str | None = None
    tenant: str | None = None
    segment: str | None = None
    at: datetime | None = None

    def as_row(self) -> dict[str, Any]:
        """The item as a line of a holdout's file; what is not known is left out."""
        origin = {"session": self.session, "tenant": self.tenant, "segment": self.segment}
        return {
            "messages": [message.model_dump() for message in self.messages],
            "variables": self.variables,
            "contexts": [context.model_dump() for context in self.contexts],
            "expected": self.expected,
            **{name: value for name, value in origin.items() if value is not None},
            **({"at": self.at.isoformat()} if self.at else {}),
        }


class Origin(Record):
    """Where a holdout item comes from."""

    session: str | None = Field(default=None, min_length=1, max_length=200)
    tenant: str | None = Field(default=None, min_length=1, max_length=100)
    segment: str | None = Field(default=None, min_length=1, max_length=100)
    at: AwareDatetime | None = None


def read_holdout(path: Path, feature: Feature) -> list[HoldoutItem]:
    """Read {"text" | "messages", "expected", "contexts"?, "variables"?} a line, and where it comes from (`Origin`).

    Raises:
        BadRecord: a malformed line, a missing field, a label that is not in the schema, or the same item twice.
    """
    if not path.is_file():
        raise BadInput(f"{path} is missing; make it with `ratchet holdout add {feature.name} FILE`")
    items: dict[str, HoldoutItem] = {}
    for where, row in read_jsonl(path):
        if isinstance(row, Rejected):
            raise BadRecord(f"{where}: {row.reason}")
        item = _holdout_item(row, where, feature)
        if item.item_id in items:
            raise BadRecord(f"{where}: the same item stands twice in the file; remove one")
        items[item.item_id] = item
    return list(items.values())


def _holdout_item(row: dict[str, Any], where: str, feature: Feature) -> HoldoutItem:
    if "expected" not in row or not ("text" in row or "messages" in row):
        raise BadRecord(f'{where}: needs "text" or "messages", and "expected"')
    try:
        messages = row.get("messages") or [{"role": "user", "content": row["text"]}]
        asked = _storable(Input.model_validate({"messages": messages, "variables": row.get("variables") or {}}))
        contexts = tuple(_storable(Context.model_validate(c)) for c in _list(row, "contexts"))
        expected = _storable(Output(content=feature.wrap_target(row["expected"]))).content or ""
        origin = _storable(Origin.model_validate({name: row.get(name) for name in Origin.model_fields}))
    except (ValidationError, BadInput) as error:
        raise BadRecord(f"{where}: {_first_problem(error)}") from error
    item_id = item_id_of(asked, contexts)
    return HoldoutItem(item_id, asked.messages, asked.variables, contexts, expected, **dict(origin))


def item_id_of(asked: Input, contexts: Sequence[Context]) -> str:
    """The id of an item: the digest of what is asked."""
    identity = canonical_json([asked.model_dump(), [c.model_dump() for c in contexts]])
    return "item_" + sha256_text(identity)[:16]


def _list(row: dict[str, Any], field: str) -> list[Any]:
    value = row.get(field) or []
    if not isinstance(value, list):
        raise BadInput(f"{field}: must be a list")
    return value


def _parse_line(line: bytes, where: str) -> dict[str, Any] | Rejected:
    try:
        row = load_json(line)
    except BadInput as error:
        return Rejected(where, str(error))
    return row if isinstance(row, dict) else Rejected(where, "not a JSON object")


def _parse(kind: type[R], row: Any, where: str, id_field: str) -> R | Rejected:
    record_id = row.get(id_field) if isinstance(row, dict) else None
    try:
        return _storable(kind.model_validate(row))
    except (ValidationError, BadInput) as error:
        return Rejected(where, _first_problem(error), record_id[:200] if isinstance(record_id, str) else None)


def _storable(record: R) -> R:
    """The record itself; what parses but cannot be written (a lone surrogate, JSON nested too deeply) is BadInput."""
    try:
        record.model_dump_json()
    except ValueError as error:
        raise BadInput("holds text that is not Unicode, or JSON nested too deeply, so it cannot be stored") from error
    return record


def _first_problem(error: ValidationError | BadInput) -> str:
    """The first problem without the offending value or a key that is not ours, either of which may be user text."""
    if isinstance(error, BadInput):
        return str(error)
    problem = error.errors(include_input=False, include_url=False)[0]
    place = problem["loc"][:-1] if problem["type"] == "extra_forbidden" else problem["loc"]
    key = ".".join(str(part) for part in place)
    return f"{key}: {problem['msg']}" if key else problem["msg"]
