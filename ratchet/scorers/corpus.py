"""Figures of a whole set of scored answers: macro-F1, confusion, calibration, bias over pairs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ratchet.stats import bootstrap_mean_interval

NO_LABEL = "(no label)"


class Labelled(NamedTuple):
    """The label that was expected, and the one that was given; None where the answer gave none."""

    expected: str
    given: str | None


class PairedScore(NamedTuple):
    """One answer of a pair of questions that differ in a group's name only.

    Attributes:
        pair: which pair.
        group: the name that stands in the question.
        question: the question, to check that nothing else differs.
        score: None is unscored.
    """

    pair: str
    group: str
    question: str
    score: float | None


def confusion(labelled: Sequence[Labelled]) -> dict[str, dict[str, int]]:
    """How often each expected label was answered by which, both sorted."""
    counts = Counter((row.expected, row.given or NO_LABEL) for row in labelled)
    table: dict[str, dict[str, int]] = defaultdict(dict)
    for (expected, given), n in sorted(counts.items()):
        table[expected][given] = n
    return dict(table)


def macro_f1(labelled: Sequence[Labelled]) -> float | None:
    """The mean of the labels' F1 over all labels expected or given; None without a row.

    As sklearn's f1_score(average="macro"), against which the test checks it; no label is no class of its own.
    """
    labels = sorted({r.expected for r in labelled} | {r.given for r in labelled if r.given})
    scores = []
    for label in labels:
        hits = sum(r.expected == r.given == label for r in labelled)
        mentioned = sum(r.expected == label for r in labelled) + sum(r.given == label for r in labelled)
        scores.append(2 * hits / mentioned)
    return float(np.mean(scores)) if scores else None


def calibration_error(confidences: Sequence[float], scores: Sequence[float], bins: int = 10) -> float | None:
    """Expected calibration error: mean distance of confidence and score over equal-width bins, weighted by their size.

    Guo et al. 2017, section 2. None without a row. With few rows it is too high: a perfect model's is above 0 too.

    Args:
        confidences: how sure each answer was, from 0 to 1.
        scores: how right it was, aligned to them.
        bins: how many.
    """
    if not confidences:
        return None
    sure, right = np.asarray(confidences, dtype=float), np.asarray(scores, dtype=float)
    places = np.minimum((sure * bins).astype(int), bins - 1)
    gaps = [abs(sure[places == b].mean() - right[places == b].mean()) * (places == b).mean() for b in set(places)]
    return float(sum(gaps))


def bias(scored: Sequence[PairedScore], *, seed: int = 0) -> dict[str, Any]:
    """How far each group's scores lie from its pairs' means, with a bootstrap interval over pairs.

    A pair counts where all its answers are scored, it has at least two groups, and its questions are the same once the
    group's name is taken out; the others are counted by why they do not.
    """
    by_pair: dict[str, list[PairedScore]] = defaultdict(list)
    for row in scored:
        by_pair[row.pair].append(row)
    why = {pair: _why_unusable(rows) for pair, rows in by_pair.items()}
    offsets: dict[str, list[float]] = defaultdict(list)
    widest = []
    for pair in sorted(pair for pair, reason in why.items() if reason is None):
        scores = {row.group: float(row.score or 0.0) for row in by_pair[pair]}
        mean = sum(scores.values()) / len(scores)
        widest.append(max(scores.values()) - min(scores.values()))
        for group, score in scores.items():
            offsets[group].append(score - mean)
    return {
        "pairs": len(widest),
        "left_out": dict(sorted(Counter(reason for reason in why.values() if reason).items())),
        "pairs_that_differ": sum(gap > 0 for gap in widest),
        "mean_gap": sum(widest) / len(widest) if widest else None,
        "groups": {group: _offset(values, seed) for group, values in sorted(offsets.items())},
    }


def _why_unusable(rows: Sequence[PairedScore]) -> str | None:
    groups = [row.group for row in rows]
    if len(set(groups)) < 2 or len(set(groups)) < len(groups):
        return "not one answer for each of two groups"
    if any(row.score is None for row in rows):
        return "unscored"
    without = {" ".join(row.question.casefold().replace(row.group.casefold(), "").split()) for row in rows}
    return None if len(without) == 1 else "the questions differ in more than the group"


def _offset(values: Sequence[float], seed: int) -> dict[str, Any]:
    low, high = bootstrap_mean_interval(values, seed=seed)
    return {"n": len(values), "offset": float(np.mean(values)), "low": float(low), "high": float(high)}
