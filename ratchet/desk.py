"""A review queue under way: what is decided, skipped and left, and what each reviewer is shown next."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from ratchet.errors import BadInput
from ratchet.features import Feature
from ratchet.files import canonical_json, sha256_text
from ratchet.review import Book, Decision, Item, to_target
from ratchet.store import Store

SKIP = "review_skip"


class Progress(NamedTuple):
    """Items of a queue by state; they add up to its length. Closed: nothing can be decided about them here."""

    done: int
    skipped: int
    left: int
    closed: int


class Desk:
    """A queue, the book of its decisions, and each reviewer's way through it. Several threads may use it."""

    def __init__(self, feature: Feature, items: Sequence[Item], book: Book, store: Store) -> None:
        """Open a queue where its reviewers left it."""
        self.feature, self.items, self.book = feature, items, book
        self._store = store
        self._lock = threading.Lock()
        self._place = {item.item_id: n for n, item in enumerate(items)}
        self._skips = {(d.body["key"], d.body["reviewer"]) for d in store.documents(SKIP, feature.name)}
        self._acts: dict[str, list[str]] = {}
        self.decided: Counter[str] = Counter()
        book.refresh()
        self._closed = book.closed(items)

    def item(self, item_id: str) -> Item | None:
        """An item of the queue."""
        place = self._place.get(item_id)
        return None if place is None else self.items[place]

    def place(self, item: Item) -> int:
        """Where it stands, from 1."""
        return self._place[item.item_id] + 1

    def neighbour(self, item: Item, step: int) -> Item | None:
        """The item so many places further, whatever its state."""
        place = self._place[item.item_id] + step
        return self.items[place] if 0 <= place < len(self.items) else None

    def is_closed(self, item: Item) -> bool:
        """Whether nothing can be decided about it here: the store does not know its interaction."""
        return item.key in self._closed

    def is_skipped(self, item: Item, reviewer: str) -> bool:
        """Whether the reviewer passed over it and it is still undecided."""
        return (item.key, reviewer) in self._skips and not self.decisions(item, reviewer)

    def decisions(self, item: Item, reviewer: str) -> list[Decision]:
        """What was decided: by everybody in a queue, by the reviewer alone in a blind sample."""
        found = self.book.decisions(item.key)
        return [d for d in found if d.reviewer == reviewer] if self.book.is_blind else found

    def decide(self, item: Item, reviewer: str, value: Any, now: datetime) -> bool:
        """Keep what the reviewer says is right; False where that is their last word already.

        Raises:
            BadInput: no output that the feature could serve, or an item that is closed.
        """
        target = to_target(self.feature, value, item)
        if self.is_closed(item):
            raise BadInput("the store does not know this item's interaction; nothing can be kept about it here")
        with self._lock:
            self.book.refresh()
            acts = self._acts_of(reviewer)
            is_new = self.book.decide(item, reviewer, target, now)
            acts.append(item.item_id)
            self.decided[reviewer] += is_new
        return is_new

    def skip(self, item: Item, reviewer: str) -> None:
        """Remember that the reviewer passed over the item: it comes back last."""
        identity = sha256_text(canonical_json([self.feature.name, item.key, reviewer]))
        with self._lock:
            self.book.refresh()
            body = {"key": item.key, "reviewer": reviewer}
            self._store.create_document(SKIP, f"skip_{identity[:32]}", self.feature.name, body)
            self._skips.add((item.key, reviewer))
            self._acts_of(reviewer).append(item.item_id)

    def undo(self, reviewer: str) -> Item | None:
        """The item that the reviewer acted on last, and the one before the next time. What was said still stands."""
        with self._lock:
            acts = self._acts_of(reviewer)
            return self.item(acts.pop()) if acts else None

    def first(self, reviewer: str) -> Item | None:
        """The first item that the reviewer has not met; None where there is none."""
        with self._lock:
            self.book.refresh()
        return next((item for item in self.items if self._is_left(item, reviewer)), None)

    def first_skipped(self, reviewer: str, *, after: Item | None = None) -> Item | None:
        """The first skipped item, behind the place of another if one is given."""
        start = 0 if after is None else self.place(after)
        return next((item for item in self.items[start:] if self.is_skipped(item, reviewer)), None)

    def next_after(self, item: Item, reviewer: str, *, was_skipped: bool) -> Item | None:
        """What to show after an act: the next item not met, from the start again at the end; then skipped ones.

        Args:
            was_skipped: the item was a skipped one shown again; then the next of those comes, and at their end None.
        """
        place = self.place(item)
        ahead = (*self.items[place:], *self.items[:place])
        found = next((other for other in ahead if self._is_left(other, reviewer)), None)
        return self.first_skipped(reviewer, after=item) if found is None and was_skipped else found

    def progress(self, reviewer: str) -> Progress:
        """How far the reviewer, or in a queue everybody, has come."""
        states: Counter[str] = Counter()
        for item in self.items:
            is_skipped = (item.key, reviewer) in self._skips
            is_done = bool(self.decisions(item, reviewer))
            states[
                "done" if is_done else "closed" if self.is_closed(item) else "skipped" if is_skipped else "left"
            ] += 1
        return Progress(states["done"], states["skipped"], states["left"], states["closed"])

    def _is_left(self, item: Item, reviewer: str) -> bool:
        is_passed = self.is_closed(item) or (item.key, reviewer) in self._skips
        return not is_passed and not self.decisions(item, reviewer)

    def _acts_of(self, reviewer: str) -> list[str]:
        if reviewer not in self._acts:
            known = {item.key: item.item_id for item in self.items}
            self._acts[reviewer] = [known[d.key] for d in self.book.of(reviewer) if d.key in known]
        return self._acts[reviewer]
