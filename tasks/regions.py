"""Regions of the questions in which a candidate may do harm, found by a shallow tree on validation, not on the holdout.

A region is a slice like any other: the gate tests it for harm on the holdout. What finds it are figures of the text
alone, so that it can be said in words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ratchet.questions import question_text
from ratchet.records import Message, Rejected, read_jsonl

SCORES = "validation.jsonl"  # in the candidate's folder: {"figures": {...}, "champion", "candidate"} a line
DEPTH = 2
LEAST_LEAF = 20
SEED = 17
Bounds = tuple[tuple[str, bool, float], ...]  # a figure, whether it is above, and the bound


def figures_of(messages: Sequence[Message], variables: Mapping[str, Any]) -> dict[str, float]:
    """What a tree may split questions by."""
    text = question_text([message.model_dump() for message in messages], variables)
    words = text.split()
    return {
        "words": len(words),
        "digits": sum(c.isdigit() for c in text),
        "question marks": text.count("?"),
        "capitals": sum(c.isupper() for c in text),
        "letters a word": round(sum(map(len, words)) / max(1, len(words)), 3),
    }


def find_regions(path: Path) -> dict[str, Bounds]:
    """The leaves in which the candidate lost on validation, by what they are called; none without scores enough."""
    rows = [row for _, row in read_jsonl(path) if not isinstance(row, Rejected)] if path.is_file() else []
    if len(rows) < 2 * LEAST_LEAF:
        return {}
    from sklearn.tree import DecisionTreeRegressor

    names = sorted(rows[0]["figures"])
    figures = np.array([[row["figures"][name] for name in names] for row in rows])
    lost = np.array([row["candidate"] - row["champion"] for row in rows])
    tree = (
        DecisionTreeRegressor(max_depth=DEPTH, min_samples_leaf=LEAST_LEAF, random_state=SEED).fit(figures, lost).tree_
    )
    found: dict[str, Bounds] = {}

    def walk(node: int, bounds: Bounds) -> None:
        left, right = tree.children_left[node], tree.children_right[node]
        if left < 0:
            if bounds and tree.value[node].item() < 0:
                found[_called(bounds)] = bounds
            return
        name, bound = names[tree.feature[node]], float(tree.threshold[node])
        walk(left, (*bounds, (name, False, bound)))
        walk(right, (*bounds, (name, True, bound)))

    walk(0, ())
    return found


def region_of(figures: Mapping[str, float], regions: Mapping[str, Bounds]) -> str | None:
    """The region that a question lies in; regions do not overlap."""
    for name, bounds in regions.items():
        if all((figures[figure] > bound) == is_above for figure, is_above, bound in bounds):
            return name
    return None


def _called(bounds: Bounds) -> str:
    return " and ".join(f"{figure} {'above' if above else 'up to'} {bound:.4g}" for figure, above, bound in bounds)
