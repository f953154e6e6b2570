"""The review page: one item at a time, decided by a key; what is shown next comes with the answer to a decision.

`/review/<feature>` is the queue of a feature, `/blind/<feature>` its blind sample.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import Response

from pages.app import Page, Refusal, Visit
from pages.render import page
from ratchet.blind import Agreement
from ratchet.desk import Desk
from ratchet.keys import Role
from ratchet.review import LONGEST_DECISION, Item

REVIEWERS: frozenset[Role] = frozenset(("reviewer",))
KEYS = "123456789bdefghilmnopqrtvwxyz"  # of labels; a c s u j k are commands
LONG_TEXT = 1500  # characters; a longer passage is folded

Now = Callable[[], datetime]
Body = TypeVar("Body", bound=BaseModel)


class End(NamedTuple):
    """What a reviewer is told when nothing is left."""

    command: str
    agreements: Sequence[Agreement]
    disputed: int


class Choice(NamedTuple):
    """An output that can be accepted: what is read, what is sent, who stands behind it."""

    text: str
    value: str
    key: str
    weight: float | None
    share: float  # of the heaviest, for its bar
    sources: int
    is_answer: bool


class _About(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    item: str = Field(max_length=200)


class _Decision(_About):
    value: str = Field(max_length=LONGEST_DECISION)


def review_pages(
    find_desk: Callable[[str, bool], Desk], end: Callable[[Desk], End], now: Now = lambda: datetime.now(UTC)
) -> list[Page]:
    """The addresses of the review page.

    Args:
        find_desk: the desk of a feature, and whether of its blind sample; raises where there is none.
        end: called when a reviewer comes to the end of a desk.
        now: the clock.
    """
    return [page for is_blind in (False, True) for page in _pages(is_blind, find_desk, end, now)]


def address_of(feature: str, *, is_blind: bool) -> str:
    """Where the review page of a feature is."""
    return f"/{'blind' if is_blind else 'review'}/{feature}"


def _pages(is_blind: bool, find_desk: Callable[[str, bool], Desk], end: Callable[[Desk], End], now: Now) -> list[Page]:
    def show(visit: Visit) -> Response:
        desk, reviewer = find_desk(visit.names["feature"], is_blind), visit.session.person
        if "item" in visit.query:
            return _shown(desk, end, visit, _find(desk, visit.query["item"]))
        item = desk.first_skipped(reviewer) if "skipped" in visit.query else desk.first(reviewer)
        return _shown(desk, end, visit, item)

    def decide(visit: Visit) -> Response:
        desk, wanted = find_desk(visit.names["feature"], is_blind), _read(_Decision, visit)
        item, reviewer = _find(desk, wanted.item), visit.session.person
        was_skipped = desk.is_skipped(item, reviewer)
        desk.decide(item, reviewer, wanted.value, now())
        return _shown(desk, end, visit, desk.next_after(item, reviewer, was_skipped=was_skipped))

    def skip(visit: Visit) -> Response:
        desk, reviewer = find_desk(visit.names["feature"], is_blind), visit.session.person
        item = _find(desk, _read(_About, visit).item)
        was_skipped = desk.is_skipped(item, reviewer)
        desk.skip(item, reviewer)
        return _shown(desk, end, visit, desk.next_after(item, reviewer, was_skipped=was_skipped))

    def undo(visit: Visit) -> Response:
        desk = find_desk(visit.names["feature"], is_blind)
        item = desk.undo(visit.session.person)
        if item is None:
            raise Refusal(409, "There is nothing before this that you decided or skipped.")
        return _shown(desk, end, visit, item, is_again=True)

    home = address_of("{feature}", is_blind=is_blind)
    return [
        Page(home, "GET", show, REVIEWERS),
        Page(f"{home}/decide", "POST", decide, REVIEWERS),
        Page(f"{home}/skip", "POST", skip, REVIEWERS),
        Page(f"{home}/undo", "POST", undo, REVIEWERS),
    ]


def choices_of(desk: Desk, item: Item) -> list[Choice]:
    """What is suggested, the heaviest first; the answer itself where nothing is. The first one is what Enter takes."""
    heaviest = max((s.weight for s in item.suggestions), default=0.0)
    keys = dict(zip(labels_of(desk), KEYS, strict=False))
    found: list[tuple[str, float | None, float, int]] = [
        (s.target, s.weight, s.weight / heaviest if heaviest > 0 else 0.0, s.sources)
        for s in sorted(item.suggestions, key=lambda s: -s.weight)
    ]
    if not found and item.output and (desk.feature.output_schema is None or desk.feature.label_of(item.output)):
        found = [(item.output, None, 0.0, 0)]
    texts = [desk.feature.label_of(target) or target for target, *_ in found]
    is_answer = [_is_same(desk, target, item.output) for target, *_ in found]
    return [
        Choice(text, target, keys.get(text, ""), weight, share, sources, same)
        for text, same, (target, weight, share, sources) in zip(texts, is_answer, found, strict=True)
    ]


def labels_of(desk: Desk) -> list[str]:
    """The labels of the feature's schema, in its order: a label keeps its key on every item."""
    enum = desk.feature.enum_field()
    return enum[1] if enum else []


def _is_same(desk: Desk, target: str, output: str | None) -> bool:
    """Whether a suggestion says what the answer said: the same label, or the same text."""
    if output is None:
        return False
    label = desk.feature.label_of(target)
    return target.strip() == output.strip() or (label is not None and label == desk.feature.label_of(output))


def _shown(
    desk: Desk, end: Callable[[Desk], End], visit: Visit, item: Item | None, *, is_again: bool = False
) -> Response:
    """An item, or that nothing is left; the whole page, or the part of it that changes."""
    reviewer = visit.session.person
    facts: dict[str, Any] = {"desk": desk, "visit": visit, "progress": desk.progress(reviewer), "item": item}
    facts |= {"total": len(desk.items), "is_blind": desk.book.is_blind, "is_again": is_again, "long_text": LONG_TEXT}
    facts |= {"has_labels": bool(labels_of(desk)), "home": address_of(desk.feature.name, is_blind=desk.book.is_blind)}
    facts |= _about(desk, item, reviewer) if item is not None else {"end": end(desk)}
    return page("work.html.j2" if visit.is_part else "review.html.j2", **facts)


def _about(desk: Desk, item: Item, reviewer: str) -> dict[str, Any]:
    before, after = desk.neighbour(item, -1), desk.neighbour(item, 1)
    labels = labels_of(desk)
    mine = [d for d in desk.decisions(item, reviewer) if d.reviewer == reviewer]
    choices = choices_of(desk, item)
    return {
        "place": desk.place(item),
        "before": before.item_id if before else None,
        "after": after.item_id if after else None,
        "is_closed": desk.is_closed(item),
        "is_skipped": desk.is_skipped(item, reviewer),
        "decisions": desk.decisions(item, reviewer),
        "choices": choices,
        "labels": list(zip(labels, KEYS + " " * len(labels), strict=False)),
        "answer_label": desk.feature.label_of(item.output or ""),
        "draft": mine[-1].target if mine else choices[0].value if choices else "",
    }


def _find(desk: Desk, item_id: str) -> Item:
    item = desk.item(item_id)
    if item is None:
        raise Refusal(404, "The queue has no such item; it may have been written anew. Load the page again.")
    return item


def _read(kind: type[Body], visit: Visit) -> Body:
    try:
        return kind.model_validate(visit.body)
    except ValidationError as error:
        raise Refusal(422, "The page sent something that is no decision.") from error
