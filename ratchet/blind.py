"""Labels of a blind sample: random traffic labelled without seeing any answer, which is what holdouts are made of."""

from __future__ import annotations

import contextlib
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from ratchet.errors import StaleRecord
from ratchet.features import Feature
from ratchet.files import canonical_json, sha256_text, write_whole
from ratchet.review import ORIGIN, Decision, Item
from ratchet.store import Store

KIND = "blind_label"


class Agreement(NamedTuple):
    """How far two reviewers agree on the items that both labelled; kappa is None where it is not defined."""

    reviewers: tuple[str, str]
    items: int
    share: float
    kappa: float | None


class Labelled(NamedTuple):
    """Items with one right output, and how many have none because reviewers disagree."""

    rows: list[dict[str, Any]]
    disputed: int


class LabelBook:
    """The labels of all reviewers of a feature's blind samples, in the store."""

    is_blind = True

    def __init__(self, store: Store, feature: Feature) -> None:
        """Start with nothing read; `refresh` reads what is there."""
        self._store, self._feature = store, feature
        self._labels: dict[str, dict[str, dict[str, Any]]] = {}

    def refresh(self) -> None:
        """A reviewer needs nobody else's labels, so those that were read once are enough until the end."""
        if not self._labels:
            self.read()

    def read(self) -> None:
        """Read all labels of the feature."""
        labels: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
        for found in self._store.documents(KIND, self._feature.name):
            labels[found.body["key"]][found.body["reviewer"]] = found.body
        self._labels = dict(labels)

    def closed(self, items: Sequence[Item]) -> frozenset[str]:
        """None: every item may be labelled."""
        return frozenset()

    def decisions(self, key: str) -> list[Decision]:
        """Each reviewer's label, oldest first."""
        return sorted(map(_decision, list(self._labels.get(key, {}).values())), key=lambda d: d.at)

    def of(self, reviewer: str) -> list[Decision]:
        """A reviewer's labels, oldest first."""
        found = [_decision(said[reviewer]) for said in list(self._labels.values()) if reviewer in said]
        return sorted(found, key=lambda d: d.at)

    def decide(self, item: Item, reviewer: str, target: str, now: datetime) -> bool:
        """Keep a label in place of the reviewer's former one; False where it is the same."""
        before = self._labels.get(item.key, {}).get(reviewer)
        if before is not None and before["expected"] == target:
            return False
        said = {"key": item.key, "item_id": item.item_id, "reviewer": reviewer, "expected": target}
        body = {**said, "at": now.isoformat()}
        self._keep(f"label_{sha256_text(canonical_json([self._feature.name, item.key, reviewer]))[:32]}", body)
        self._labels.setdefault(item.key, {})[reviewer] = body
        return True

    def labelled(self, items: Sequence[Item]) -> Labelled:
        """Each labelled item of a sample with the label that most reviewers gave, or the last text written.

        Of labels that as many reviewers gave none is right: such an item stays out and is counted.
        """
        rows, disputed = [], 0
        for item in items:
            said = self.decisions(item.key)
            ranked = Counter(d.target for d in said).most_common(2)
            is_tied = len(ranked) == 2 and ranked[0][1] == ranked[1][1]
            if is_tied and self._feature.enum_field() is not None:
                disputed += 1
            elif said:
                asked = item.model_dump(mode="json", include={"messages", "contexts", "variables", *ORIGIN})
                expected = said[-1].target if is_tied else ranked[0][0]
                rows.append({**{field: value for field, value in asked.items() if value}, "expected": expected})
        return Labelled(rows, disputed)

    def write(self, path: Path, items: Sequence[Item]) -> Labelled:
        """Write the labelled items of a sample as `ratchet holdout add` reads them; without any there is no file."""
        found = self.labelled(items)
        if found.rows:
            lines = (json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in found.rows)
            write_whole(path, "".join(lines))
        return found

    def agreements(self, items: Sequence[Item]) -> list[Agreement]:
        """Each pair of reviewers that labelled an item in common; none for free text, where no two texts are equal."""
        if self._feature.enum_field() is None:
            return []
        pairs: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
        for item in items:
            said = sorted(self.decisions(item.key), key=lambda d: d.reviewer)
            for one, other in combinations(said, 2):
                pairs[one.reviewer, other.reviewer].append((one.target, other.target))
        return [
            Agreement(names, len(both), sum(a == b for a, b in both) / len(both), cohens_kappa(both))
            for names, both in sorted(pairs.items())
        ]

    def _keep(self, document_id: str, body: dict[str, Any]) -> None:
        while True:
            found = self._store.create_document(KIND, document_id, self._feature.name, body)
            if found.body == body:
                return
            with contextlib.suppress(StaleRecord):
                self._store.change_document(KIND, found, body)
                return


def cohens_kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Agreement beyond chance of two raters on the same items (Cohen, Educ. Psychol. Meas. 20, 1960).

    1 is full agreement, 0 what chance gives; None without items, or where both gave one and the same label to all.
    """
    n = len(pairs)
    if n == 0:
        return None
    firsts, seconds = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    by_chance = sum(firsts[label] * seconds[label] for label in firsts) / n**2
    observed = sum(a == b for a, b in pairs) / n
    return None if by_chance == 1 else (observed - by_chance) / (1 - by_chance)


def _decision(body: dict[str, Any]) -> Decision:
    return Decision(
        body["key"], body["reviewer"], body["expected"], datetime.fromisoformat(body["at"]), body["item_id"]
    )
