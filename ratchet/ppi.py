"""Prediction-powered estimates: a judge's scores of all items, put right by people's labels of some.

A judge alone is wrong by an unknown amount, however many items it scores; labels alone are few. The estimate is the
judge's mean over all items plus the mean of what people say beyond it (Angelopoulos et al., Science 382, 2023,
669-674), with the judge's weight fitted to the labels (PPI++: Angelopoulos, Duchi & Zrnic, arXiv:2311.01453, section 3)
on all but the item it is used for. A judge that knows nothing gets weight 0, and the mean of the labels is left.

Intervals and tests are for few labels that rarely differ, where normal ones fail: Student's t with further labels
thought to stand at either end, as Bonett & Price do for paired shares (J. Educ. Behav. Stat. 37, 2012, 479-488). What
they cover is measured by benchmarks/bench_judge.py; tests/ratchet/test_ppi.py works cases by hand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ratchet.errors import BadInput
from ratchet.stats import Difference, Floats

FEWEST_LABELS = 30  # labelled items; from so many on 95 % intervals held in short runs of benchmarks/bench_judge.py
FURTHER = 1  # labels thought to stand at either end, for an interval of 95 %
FURTHER_IN_TESTS = 4  # the same for one-sided tests, whose errors are as small as 5 % / 64
SHARES, DIFFERENCES = (0.0, 1.0), (-1.0, 1.0)  # what scores, and differences of scores, lie between


class JudgedPair(NamedTuple):
    """One item that both releases answered: what the judge says of each answer, and people where they were asked.

    `inclusion` is the probability with which the item was drawn for people to label, whatever came of it. People's
    scores count only where both answers have one; all scores are from 0 to 1, higher is better.
    """

    judge_champion: float
    judge_candidate: float
    human_champion: float | None = None
    human_candidate: float | None = None
    inclusion: float = 1.0

    @property
    def judge_difference(self) -> float:
        """Candidate minus champion, as the judge scores them."""
        return self.judge_candidate - self.judge_champion

    @property
    def human_difference(self) -> float | None:
        """The same as people score them; None where an answer has no label."""
        if self.human_champion is None or self.human_candidate is None:
            return None
        return self.human_candidate - self.human_champion


@dataclass(frozen=True)
class Estimate:
    """A prediction-powered mean, and what its intervals and tests are made of."""

    value: float
    judge_weight: float  # 0: the labels alone; 1: the judge, put right by its mean error
    labels: int
    items: int
    beyond: Floats  # what people say beyond the weighted judge, (labels,)
    weights: Floats  # aligned, they sum to 1
    ends: Floats  # what `beyond` would be at either end, (2,)
    variance_of_items: float  # what the sampling of items adds to that of labels; below 0 where it takes away

    def interval(self, level: float = 0.95) -> Difference:
        """The value with its confidence interval."""
        from scipy.special import stdtrit

        centre, error = self._with_further(FURTHER)
        half = float(stdtrit(self._freedom, (1 + level) / 2)) * error
        return Difference(self.value, min(self.value, centre - half), max(self.value, centre + half))

    def not_above_p(self, bound: float) -> float:
        """One-sided p-value of `the mean is not above the bound`."""
        from scipy.special import stdtr

        centre, error = self._with_further(FURTHER_IN_TESTS)
        return float(stdtr(self._freedom, (bound - centre) / error))

    @property
    def standard_error(self) -> float:
        """Of the value."""
        return self._with_further(0)[1]

    @property
    def _freedom(self) -> float:
        return max(1.0, 1 / float(self.weights @ self.weights) - 1)

    def _with_further(self, count: int) -> tuple[float, float]:
        """The mean and its standard error with so many labels more at either end, as heavy as the heaviest."""
        values = np.append(self.beyond, np.repeat(self.ends, count))
        weights = np.append(self.weights, np.full(2 * count, self.weights.max()))
        weights = weights / weights.sum()
        mean, square = float(weights @ values), float(weights @ weights)
        variance = float(weights**2 @ (values - mean) ** 2) / (1 - square)  # linearised; m / (m - 1), m Kish's number
        centre = self.value - float(self.weights @ self.beyond) + mean
        return centre, math.sqrt(max(variance + self.variance_of_items, variance / 1000))


def ppi_not_better_p(pairs: Sequence[JudgedPair], *, margin: float = 0.0) -> float:
    """One-sided p-value of `candidate minus champion, as people would score them, is at most -margin`.

    1 where fewer than FEWEST_LABELS items are labelled: a judge that cannot be put right shows nothing. To ask the
    reverse, swap the releases (`swapped`) and negate the margin.
    """
    if count_labelled(pairs) < FEWEST_LABELS:
        return 1.0
    return estimate_difference(pairs).not_above_p(-margin)


def why_refused(pairs: Sequence[JudgedPair]) -> str | None:
    """Why the gate refuses this judge, in a sentence; None where it is heard."""
    labelled = count_labelled(pairs)
    if labelled >= FEWEST_LABELS:
        return None
    need = f"needs {FEWEST_LABELS} items of which people scored both answers: {FEWEST_LABELS - labelled} are missing"
    return f"The judge is not heard: its error is known from {labelled} labelled items, and a 95 % interval {need}."


def count_labelled(pairs: Sequence[JudgedPair]) -> int:
    """How many items people scored both answers of."""
    return sum(pair.human_difference is not None for pair in pairs)


def swapped(pairs: Sequence[JudgedPair]) -> list[JudgedPair]:
    """The same pairs with the releases in each other's place."""
    return [JudgedPair(p[1], p[0], p[3], p[2], p.inclusion) for p in pairs]


def estimate_difference(pairs: Sequence[JudgedPair]) -> Estimate:
    """The mean difference, candidate minus champion, as people would score both on all items.

    Raises:
        BadInput: as `estimate_mean`.
    """
    judged, human = [pair.judge_difference for pair in pairs], [pair.human_difference for pair in pairs]
    return estimate_mean(judged, human, [pair.inclusion for pair in pairs], ends=DIFFERENCES)


def estimate_mean(
    judged: Sequence[float] | Floats,
    labels: Sequence[float | None] | Floats,
    inclusion: Sequence[float] | Floats | None = None,
    *,
    ends: tuple[float, float] = SHARES,
    judge_weight: float | None = None,
) -> Estimate:
    """The mean that people's labels would have over all items, were all labelled.

    Items are a sample of those that matter, and the labelled a sample of the items: both errors count. Unequal
    inclusion is weighed as Hajek does (Contributions to statistics, 1971): by 1 / inclusion over the sum of those.

    Args:
        judged: the judge's score of every item.
        labels: aligned; None or NaN where nobody labelled the item.
        inclusion: aligned, the probability of having been drawn for labelling; None where all had the same.
        ends: between what labels and judge's scores lie.
        judge_weight: fixed beforehand, in place of the fitted one.

    Raises:
        BadInput: fewer than two labels, a value outside the ends or not a number, an inclusion outside (0, 1].
    """
    every = np.asarray(judged, dtype=np.float64)
    people = np.asarray(labels, dtype=np.float64)  # None becomes NaN
    at = np.flatnonzero(~np.isnan(people))
    said, drawn = people[at], np.ones(len(at)) if inclusion is None else np.asarray(inclusion, dtype=np.float64)[at]
    _check(every, said, drawn, len(labels), ends)
    weights, scores = (1 / drawn) / (1 / drawn).sum(), every[at]
    fitted = _left_out_slopes(scores, said, weights) if judge_weight is None else np.full(len(at), judge_weight)
    slope = float(weights @ fitted)
    beyond = said - fitted * scores
    mean = float(weights @ beyond)
    together = float(weights @ ((scores - weights @ scores) * (beyond - mean)))
    return Estimate(
        value=slope * float(every.mean()) + mean,
        judge_weight=slope,
        labels=len(at),
        items=len(every),
        beyond=beyond,
        weights=weights,
        ends=np.asarray(ends) - slope * sum(ends) / 2,  # people say either end where the judge says the middle
        variance_of_items=(slope**2 * float(every.var()) + 2 * slope * together) / len(every),
    )


def _left_out_slopes(scores: Floats, said: Floats, weights: Floats) -> Floats:
    """For each item the slope of labels on the judge's scores fitted on all others, kept within 0 to 1; (n_labels,)."""
    terms = np.stack([weights, weights * scores, weights * said, weights * scores**2, weights * scores * said])
    total, x, y, xx, xy = terms.sum(axis=1, keepdims=True) - terms
    variance = xx - x * x / total
    slopes = (xy - x * y / total) / np.where(variance > 1e-12, variance, np.inf)
    kept: Floats = np.clip(slopes, 0.0, 1.0)
    return kept


def _check(every: Floats, said: Floats, drawn: Floats, labels: int, ends: tuple[float, float]) -> None:
    if labels != len(every):
        raise BadInput(f"{len(every)} scores of a judge and {labels} labels: they must be aligned")
    if len(said) < 2:
        raise BadInput(f"{len(said)} labels: an estimate needs two at least; draw items with `ratchet judge draw`")
    if not all(np.all((values >= ends[0]) & (values <= ends[1])) for values in (every, said)):
        raise BadInput(f"scores and labels must be numbers from {ends[0]:g} to {ends[1]:g}")
    if not np.all((drawn > 0) & (drawn <= 1)):
        raise BadInput("inclusion: a probability above 0 and up to 1")
