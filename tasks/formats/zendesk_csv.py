"""A CSV export of helpdesk tickets, one ticket a row: the customer's message, the agent's reply, the satisfaction.

Columns are found by their name, in any order, letter case or spelling with `_`:
  Id (Ticket id) · Created at · Description (Comment, Message; else Subject) · Reply (Answer, Agent reply, Last public
  comment) · Requester id (Requester, Requester email) · Assignee id (Assignee) · Satisfaction score (good, bad; others
  are no feedback) · Satisfaction comment · Draft (Suggested reply: what an assistant proposed) · Solved at (Updated at)
The reply is what the customer got. With a Draft, the draft is the output, and a reply that differs is a correction by
the agent; without one, the reply is the output. Text is data: a formula stays a text. Other columns are kept under
attributes. Zendesk's own full CSV export holds no text of comments: Description and Reply are columns to add to it.
Read from Zendesk's help pages on exports and klausbadelt/zendesk-ticket-export.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ratchet.errors import BadInput
from ratchet.jsonl import MAX_LINE_BYTES, Unreadable, read_lines
from ratchet.records import Rejected, parse_interaction
from tasks.formats.rows import Given, Record, to_time
from tasks.formats.scores import Said, read_score, tell

NAMES = {
    "id": ("id", "ticket id", "ticket"),
    "at": ("created at", "ticket created at", "ticket date"),
    "asked": ("description", "comment", "message", "first comment", "subject"),
    "replied": ("reply", "answer", "agent reply", "last public comment", "agent comment"),
    "user": ("requester id", "requester email", "requester"),
    "agent": ("assignee id", "assignee email", "assignee"),
    "score": ("satisfaction score", "satisfaction", "satisfaction rating"),
    "note": ("satisfaction comment",),
    "draft": ("draft", "suggested reply"),
    "done": ("solved at", "updated at"),
}
USED = frozenset(name for names in NAMES.values() for name in names)


def is_like(row: dict[str, Any]) -> bool:
    """Whether a row has the columns of a ticket: its id, its time, and a text."""
    return all(_get(row, name) is not None for name in ("id", "at", "asked"))


def rows_of(path: Path) -> Iterator[tuple[str, dict[str, Any] | Rejected]]:
    """The rows of a CSV file by the names in its first row; a row may span lines, `where` is its last line."""
    csv.field_size_limit(MAX_LINE_BYTES)
    texts = _Texts(path)
    reader = csv.reader(texts, strict=True)
    header: list[str] | None = None
    while True:
        cells: list[str] = []
        problem: str | None = None
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            problem = f"malformed CSV: {error}"
        yield from texts.take_unread()
        if problem is None and header is None:
            header = [" ".join(cell.lower().replace("_", " ").split()) for cell in cells] or None
        elif problem is not None or (cells and len(cells) != len(header or [])):
            yield texts.where, Rejected(texts.where, problem or "malformed CSV: not as many cells as the first row")
        elif cells:
            yield texts.where, dict(zip(header or [], cells, strict=True))
    yield from texts.take_unread()


def records_of(row: dict[str, Any], where: str, given: Given) -> Iterator[Record]:
    """The ticket as an interaction, with its satisfaction and the agent's correction as feedback."""
    asked, replied, draft = _get(row, "asked"), _get(row, "replied"), _get(row, "draft")
    if asked is None or (replied is None and draft is None):
        raise BadInput("the ticket has no message of the customer, or no reply")
    at, ticket_id = to_time(_get(row, "at"), "created at"), _get(row, "id")
    if ticket_id is None:
        raise BadInput("id: no ticket id")
    ticket = f"ticket_{ticket_id}"
    record: dict[str, Any] = {"interaction_id": ticket, "feature": given.feature_of(None), "at": at}
    record |= {"input": {"messages": [{"role": "user", "content": asked}]}, "output": {"content": draft or replied}}
    record["user_id"] = _get(row, "user")
    extra = {name: cell for name, cell in row.items() if name not in USED and cell}
    yield parse_interaction(record | {"attributes": extra}, where)
    about: dict[str, Any] = {"about": ticket, "at": to_time(_get(row, "done") or _get(row, "at"), "solved at")}
    if draft is not None and replied is not None and replied != draft:
        source = ("agent", _get(row, "agent") or "zendesk")
        yield tell(Said("correction", replied), feedback_id=f"{ticket}:reply", source=source, where=where, **about)
    score = (_get(row, "score") or "").lower().split(" ")[0]
    if score in ("good", "bad"):
        source, note = ("user", _get(row, "user") or ticket), _get(row, "note")
        said = read_score("satisfaction", score)
        yield tell(said, feedback_id=f"{ticket}:satisfaction", source=source, where=where, comment=note, **about)


def _get(row: dict[str, Any], what: str) -> str | None:
    found = (row.get(name) for name in NAMES[what])
    return next((cell for cell in found if isinstance(cell, str) and cell.strip()), None)


class _Texts:
    """The lines of a file as text; what is no text is noted and left out, so that the rest goes on."""

    def __init__(self, path: Path) -> None:
        self.lines = read_lines(path)
        self.name = path.name
        self.where = f"{path.name}:1"
        self.unread: list[Rejected] = []

    def __iter__(self) -> _Texts:
        return self

    def __next__(self) -> str:
        for number, line in self.lines:
            self.where = f"{self.name}:{number}"
            if isinstance(line, Unreadable):
                self.unread.append(Rejected(self.where, line.reason))
                continue
            try:
                return line.decode("utf-8")
            except UnicodeDecodeError:
                self.unread.append(Rejected(self.where, "not UTF-8"))
        raise StopIteration

    def take_unread(self) -> list[tuple[str, Rejected]]:
        """What was left out since the last call."""
        taken, self.unread = self.unread, []
        return [(refused.where, refused) for refused in taken]
