"""The slices of a holdout beside its labels: whose traffic an item is, how long, in which language, how late it came.

They are fixed by what was asked alone, before anybody answers. In each the gate tests for harm; what it finds it names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ratchet.questions import question_text
from ratchet.records import HoldoutItem
from tasks.facts import language_of
from tasks.regions import Bounds, figures_of, region_of

Kinds = dict[str, str]  # the kind of a slice, and which of that kind an item is in
THIRDS = ("short", "middling", "long")
HALVES = ("earlier", "later")


def slices_of(items: Sequence[HoldoutItem], regions: Mapping[str, Bounds] | None = None) -> list[Kinds]:
    """The slices of each item, in order; a kind of which all items are alike is none.

    `regions` are found on other data (`tasks.regions`).
    """
    texts = [question_text([m.model_dump() for m in item.messages], item.variables) for item in items]
    lengths = _parts([float(len(text)) for text in texts], THIRDS)
    times = _parts([item.at.timestamp() if item.at else None for item in items], HALVES)
    found = [
        {"tenant": item.tenant, "segment": item.segment, "language": language_of(text), "length": length, "time": time}
        | {"region found on validation": region_of(figures_of(item.messages, item.variables), regions or {})}
        for item, text, length, time in zip(items, texts, lengths, times, strict=True)
    ]
    varied = {kind for kind in found[0] if len(Counter(row[kind] for row in found)) > 1} if found else set()
    return [{kind: value for kind, value in row.items() if value and kind in varied} for row in found]


def by_kind(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows of scores once for each kind of slice, with that kind as their slice."""
    kinds = sorted({kind for row in rows for kind in row.get("slices", {})})
    return {kind: [{**row, "slice": row.get("slices", {}).get(kind)} for row in rows] for kind in kinds}


def _parts(values: Sequence[float | None], names: tuple[str, ...]) -> list[str | None]:
    """Which of equally large parts each value is in; None where it is not known."""
    known = [value for value in values if value is not None]
    if not known:
        return [None] * len(values)
    edges = np.quantile(known, np.arange(1, len(names)) / len(names))
    return [None if value is None else names[int(np.searchsorted(edges, value))] for value in values]
