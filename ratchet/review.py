"""The review queue: what a person must look at, and what becomes of it.

A queue is a file that the stage curate writes, the most valuable item first; a blind sample is random traffic without
any answer. Where decisions are kept is a book: `ratchet.verdicts` for a queue, `ratchet.blind` for a sample.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from ratchet.errors import BadInput
from ratchet.features import Feature
from ratchet.files import canonical_json, sha256_text
from ratchet.records import Context, Message, Record, Rejected, read_jsonl
from ratchet.runs import runs_of
from ratchet.settings import Settings
from ratchet.store import Store

QUEUE, BLIND = "review.jsonl", "blind.jsonl"
ORIGIN = ("session", "tenant", "segment", "at")  # of an item of a blind sample: goes with its label, and is not shown
READ_BLIND = ("item_id", "messages", "contexts", "variables", *ORIGIN)  # all else in a line is dropped unread
LONGEST_DECISION = 100_000  # characters


class Suggestion(Record):
    """An output that somebody says is right: how much weight stands behind it, of how many sources."""

    target: str = Field(min_length=1)
    weight: float = Field(default=0.0, allow_inf_nan=False)
    sources: int = 1


class Item(BaseModel):
    """One thing to decide. Blind, there is neither an answer nor a suggestion."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    item_id: str = Field(min_length=1, max_length=200)
    interaction_id: str = Field(default="", max_length=200)
    reason: str = ""
    messages: tuple[Message, ...] = Field(min_length=1)
    contexts: tuple[Context, ...] = ()
    variables: dict[str, Any] = {}
    output: str | None = None
    suggestions: tuple[Suggestion, ...] = ()
    uncertainty: float | None = Field(default=None, ge=0, le=1)
    session: str | None = None
    tenant: str | None = None
    segment: str | None = None
    at: AwareDatetime | None = None

    @field_validator("messages", "contexts", "variables", mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        return json.loads(value) if isinstance(value, str) else value  # as the stages keep them in tables

    @cached_property
    def key(self) -> str:
        """What a decision on it is kept under: the interaction, or in a blind sample what was asked."""
        if self.interaction_id:
            return self.interaction_id
        asked = [[m.model_dump() for m in self.messages], self.variables, [c.model_dump() for c in self.contexts]]
        return "asked_" + sha256_text(canonical_json(asked))[:32]


class Reading(NamedTuple):
    """What a file holds: items in its order, lines that are none, and how many repeat an item before them."""

    items: tuple[Item, ...]
    rejected: list[Rejected]
    repeated: int


@dataclass(frozen=True)
class Decision:
    """What a reviewer said is right, as it would be served."""

    key: str
    reviewer: str
    target: str
    at: datetime
    decision_id: str


class Book(Protocol):
    """Where decisions are kept."""

    is_blind: bool

    def refresh(self) -> None:
        """Read what others decided since."""

    def closed(self, items: Sequence[Item]) -> frozenset[str]:
        """The keys of the items on which no decision can be kept."""

    def decisions(self, key: str) -> list[Decision]:
        """The last decision of each reviewer, oldest first."""

    def of(self, reviewer: str) -> list[Decision]:
        """A reviewer's last decision on each item, oldest first."""

    def decide(self, item: Item, reviewer: str, target: str, now: datetime) -> bool:
        """Keep a decision; False where it is the reviewer's last word already."""


def find_queue(settings: Settings, store: Store, feature: str, *, is_blind: bool) -> Path:
    """The file of the feature's newest finished run, or the one that `dvc repro` wrote in the clone.

    Raises:
        BadInput: there is none yet.
    """
    name = BLIND if is_blind else QUEUE
    for run in reversed(runs_of(store, feature)):
        path = settings.home / "reports" / run.run_id / name
        if path.is_file():
            return path
    path = settings.repo / "data" / feature / name
    if not path.is_file():
        raise BadInput(
            f"{feature} has no {'blind sample' if is_blind else 'review queue'} yet; "
            f"`ratchet run {feature}` writes one, or name a file with --file"
        )
    return path


def read_items(path: Path, *, is_blind: bool) -> Reading:
    """Read a queue, or a blind sample, of which only what was asked is read.

    Raises:
        BadInput: there is no such file.
    """
    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    items: dict[str, Item] = {}
    ids: set[str] = set()
    rejected: list[Rejected] = []
    repeated = 0
    for where, row in read_jsonl(path):
        item = row if isinstance(row, Rejected) else _item(row, where, is_blind=is_blind)
        if isinstance(item, Rejected):
            rejected.append(item)
        elif item.key in items or item.item_id in ids:
            repeated += 1
        else:
            items[item.key] = item
            ids.add(item.item_id)
    return Reading(tuple(items.values()), rejected, repeated)


def to_target(feature: Feature, value: Any, item: Item | None = None) -> str:
    """The decision as it would be served; a text that differs from one shown by its line ends alone is that one.

    Raises:
        BadInput: empty, too long, not Unicode, or not in the feature's schema.
    """
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if "\0" in text or len(text) > LONGEST_DECISION:
        raise BadInput(f"a decision is a text of at most {LONGEST_DECISION} characters without NUL")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadInput("a decision is Unicode text") from error
    target = feature.wrap_target(value)
    if feature.output_schema is not None:
        return target
    shown = [] if item is None else [item.output or "", *(s.target for s in item.suggestions)]
    return next((other for other in shown if _one_line_end(other) == _one_line_end(target)), target)


def _one_line_end(text: str) -> str:
    return text.replace("\r\n", "\n").strip()


def _item(row: dict[str, Any], where: str, *, is_blind: bool) -> Item | Rejected:
    record_id = row.get("item_id") if isinstance(row.get("item_id"), str) else None
    shown = {field: row[field] for field in READ_BLIND if field in row} if is_blind else row
    try:
        item = Item.model_validate(shown)
        item.model_dump_json()  # a lone surrogate parses and cannot be written
    except (ValidationError, ValueError, RecursionError) as error:
        fields = {str(e["loc"][0]) for e in error.errors() if e["loc"]} if isinstance(error, ValidationError) else set()
        return Rejected(where, f"malformed: {', '.join(sorted(fields)) or 'not Unicode text'}", record_id)
    if not is_blind and not item.interaction_id:
        return Rejected(where, "malformed: interaction_id", record_id)
    return item
