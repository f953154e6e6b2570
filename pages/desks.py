"""The desks of all features: each opened when somebody asks for it, and anew once a run has written a newer queue."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import NamedTuple

from ratchet.blind import LabelBook
from ratchet.desk import Desk
from ratchet.errors import NothingNew
from ratchet.features import load_feature
from ratchet.review import find_queue, read_items
from ratchet.settings import Settings
from ratchet.store import Store
from ratchet.verdicts import FeedbackBook


class _Opened(NamedTuple):
    path: Path
    changed_ns: int
    desk: Desk


class Desks:
    """Finds the desk of a feature. Several threads may use it."""

    def __init__(self, settings: Settings, store: Store) -> None:
        """Open none yet."""
        self._settings, self._store = settings, store
        self._lock = threading.Lock()
        self._opened: dict[tuple[str, bool], _Opened] = {}

    def find(self, feature: str, is_blind: bool) -> Desk:
        """The desk of a feature's newest queue, or of its blind sample.

        Raises:
            BadInput: no such feature, or no queue yet.
            NothingNew: the queue is empty.
        """
        known = load_feature(self._settings.repo, feature)
        path = find_queue(self._settings, self._store, feature, is_blind=is_blind)
        changed_ns = path.stat().st_mtime_ns
        with self._lock:
            opened = self._opened.get((feature, is_blind))
            if opened is None or (opened.path, opened.changed_ns) != (path, changed_ns):
                items = read_items(path, is_blind=is_blind).items
                if not items:
                    raise NothingNew(f"nothing to review: the queue of {feature} holds no items")
                book = LabelBook(self._store, known) if is_blind else FeedbackBook(self._store, known)
                opened = _Opened(path, changed_ns, Desk(known, items, book, self._store))
                self._opened[feature, is_blind] = opened
        return opened.desk
