"""What people's labels say of a judge: agreement, bias to a release, to length and to position, and what is left of it.

All figures weigh each labelled item by 1 / inclusion, so that they speak of all items and not of those drawn.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ratchet.judge import ROLES, LabelledPair, read_rows
from ratchet.ppi import FEWEST_LABELS, estimate_difference, estimate_mean, ppi_not_better_p, why_refused
from ratchet.stats import Difference, Floats, Interval, wilson_interval

GOOD = 0.5  # from this score on an answer counts as good, where a yes or no is needed
BINS = 5
RESAMPLES = 1000


class Verdict(BaseModel):
    """Which of two answers a judge preferred, by the place in which it read them."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    item_id: str = Field(min_length=1, max_length=200)
    first: Literal["champion", "candidate"]
    verdict: Literal["first", "second", "tie"]


class Bias(NamedTuple):
    """An estimate with its 95 % interval; a bias is found where the interval leaves 0 out."""

    estimate: float
    low: float
    high: float

    @property
    def is_found(self) -> bool:
        """Whether it is told from chance."""
        return self.low > 0 or self.high < 0


class Bin(NamedTuple):
    """Answers with alike scores: how many, the judge's mean and people's."""

    low: float
    high: float
    answers: int
    judge: float
    human: float


@dataclass(frozen=True)
class Calibration:
    """A judge as people's labels show it. Differences are candidate minus champion."""

    items: int
    labelled: int  # items with both answers labelled
    agreement: Difference  # share of answers that both call good, or both bad
    kappa: Difference | None  # None where either calls all answers the same
    release_bias: Bias  # above 0: it favours the candidate, by so much more than people
    length_bias: Bias | None  # above 0: longer answers score higher than people's labels explain
    position_bias: Bias | None  # above 0: it prefers what it reads first; -1 to 1
    same_in_both_orders: float | None  # share of items with one winner in both orders
    judge_alone: float
    difference: Difference
    judge_weight: float
    p_not_better: float
    bins: tuple[Bin, ...]
    refused: str | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        parts = {key: _plain(value) for key, value in asdict(self).items()}
        return parts | {"bins": [bin_._asdict() for bin_ in self.bins], "fewest_labels": FEWEST_LABELS}


def calibrate(pairs: Sequence[LabelledPair], verdicts: Sequence[Verdict] = (), *, seed: int = 17) -> Calibration:
    """Measure a judge by people's labels.

    Args:
        pairs: all items, labelled or not; at least two with both answers labelled.
        verdicts: pairwise verdicts with the answers in both orders, for the position.
        seed: of the resampling of the length bias.

    Raises:
        BadInput: fewer than two labelled items.
    """
    scores = [pair.as_pair() for pair in pairs]
    estimate = estimate_difference(scores)
    labelled = [pair for pair in pairs if None not in pair.human]
    answers = _Answers.of(labelled)
    agreement = answers.agreement()
    position, same = _position(verdicts)
    return Calibration(
        items=len(pairs),
        labelled=len(labelled),
        agreement=agreement,
        kappa=answers.kappa(agreement),
        release_bias=_release_bias(labelled),
        length_bias=answers.length_bias(seed),
        position_bias=position,
        same_in_both_orders=same,
        judge_alone=float(np.mean([pair.judge_difference for pair in scores])),
        difference=estimate.interval(),
        judge_weight=estimate.judge_weight,
        p_not_better=ppi_not_better_p(scores),
        bins=answers.bins(),
        refused=why_refused(scores),
    )


def read_verdicts(path: Path) -> list[Verdict]:
    """Read pairwise verdicts.

    Raises:
        BadInput: no such file.
        BadRecord: a malformed row, by line.
    """
    return [verdict for _, verdict in read_rows(Verdict, path)]


@dataclass(frozen=True)
class _Answers:
    """The labelled answers, an item's two beside each other; each array is (2 * n_items,)."""

    judge: Floats
    human: Floats
    length: Floats  # log of characters
    weights: Floats

    @classmethod
    def of(cls, pairs: Sequence[LabelledPair]) -> _Answers:
        weights = np.repeat([1 / pair.inclusion for pair in pairs], 2)
        return cls(
            judge=np.array([answer.judge for pair in pairs for answer in pair.answers]),
            human=np.array([score for pair in pairs for score in pair.human], dtype=np.float64),
            length=np.array([math.log1p(len(answer.output)) for pair in pairs for answer in pair.answers]),
            weights=weights / weights.sum(),
        )

    def agreement(self) -> Difference:
        """Wilson's interval with as many answers as the weights, and pairs taken as one, are worth."""
        share = float(self.weights @ ((self.judge >= GOOD) == (self.human >= GOOD)))
        worth = max(1, round(1 / float(self.weights @ self.weights) / 2))
        return Difference(share, *_wilson(share, worth))

    def kappa(self, agreement: Difference) -> Difference | None:
        """Cohen's kappa with the interval of the agreement, chance being fixed (Educ. Psychol. Meas. 20, 1960)."""
        judge, human = (float(self.weights @ (scores >= GOOD)) for scores in (self.judge, self.human))
        chance = judge * human + (1 - judge) * (1 - human)
        if min(judge, human) <= 0 or max(judge, human) >= 1:
            return None
        return Difference(*((share - chance) / (1 - chance) for share in agreement))

    def length_bias(self, seed: int) -> Bias | None:
        """The correlation of score and log length beyond what people's labels explain; None where nothing varies.

        Both are taken as what is left after a line on people's scores: an honest judge scores long answers higher where
        people do too. The interval resamples items.
        """
        estimate = self._partial(np.arange(len(self.judge)))
        if math.isnan(estimate):
            return None
        rng, n = np.random.default_rng(seed), len(self.judge) // 2
        drawn = [self._partial(_both(rng.integers(0, n, n))) for _ in range(RESAMPLES)]
        low, high = np.nanquantile(drawn, [0.025, 0.975])
        return Bias(estimate, float(low), float(high))

    def _partial(self, at: Any) -> float:
        weights = self.weights[at] / self.weights[at].sum()
        score, length, human = (x[at] - weights @ x[at] for x in (self.judge, self.length, self.human))
        explained = float(weights @ human**2)
        if explained > 1e-12:
            score = score - human * float(weights @ (human * score)) / explained
            length = length - human * float(weights @ (human * length)) / explained
        spread = float(weights @ score**2) * float(weights @ length**2)
        return float(weights @ (score * length)) / math.sqrt(spread) if spread > 1e-12 else math.nan

    def bins(self) -> tuple[Bin, ...]:
        """Answers by the judge's score; bins without any are left out."""
        place, found = np.minimum((self.judge * BINS).astype(int), BINS - 1), []
        for k in range(BINS):
            weights = self.weights * (place == k)
            if weights.sum() > 0:
                means = [float(weights @ scores / weights.sum()) for scores in (self.judge, self.human)]
                found.append(Bin(k / BINS, (k + 1) / BINS, int((place == k).sum()), *means))
        return tuple(found)


def _release_bias(pairs: Sequence[LabelledPair]) -> Bias:
    """How far the judge's difference lies above people's, item by item."""
    scores = [pair.as_pair() for pair in pairs]
    beyond = [p.judge_difference - p.human_difference for p in scores if p.human_difference is not None]
    found = estimate_mean(
        [0.0] * len(beyond), beyond, [p.inclusion for p in scores], ends=(-2.0, 2.0), judge_weight=0.0
    )
    return Bias(*found.interval())


def _position(verdicts: Sequence[Verdict]) -> tuple[Bias | None, float | None]:
    """The preference for the first place, and the share of items with one winner in both orders.

    Only items judged in both orders count, so that a better release in one place is no bias. None with fewer than two.
    """
    places: dict[str, dict[str, list[float]]] = defaultdict(lambda: {role: [] for role in ROLES})
    for verdict in verdicts:
        places[verdict.item_id][verdict.first].append({"first": 1.0, "second": -1.0, "tie": 0.0}[verdict.verdict])
    both = [(float(np.mean(a)), float(np.mean(b))) for a, b in (found.values() for found in places.values()) if a and b]
    if len(both) < 2:
        return None, None
    net = [(a + b) / 2 for a, b in both]
    found = estimate_mean([0.0] * len(net), net, ends=(-1.0, 1.0), judge_weight=0.0)
    return Bias(*found.interval()), sum(a == -b for a, b in both) / len(both)


def _both(items: Any) -> Any:
    return np.repeat(items * 2, 2) + np.tile([0, 1], len(items))


def _wilson(share: float, n: int) -> Interval:
    low, high = wilson_interval(round(share * n), n)
    return Interval(min(low, share), max(high, share))


def _plain(value: Any) -> Any:
    return value._asdict() if isinstance(value, (Difference, Bias)) else value
