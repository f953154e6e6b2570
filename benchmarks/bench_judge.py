"""What do intervals of a judge's scores cover, put right by few labels, beside a judge alone and labels alone?

python -m benchmarks.bench_judge [--quick] [--json]

Simulated: two releases answer 1,000 items that are drawn anew each time, a judge scores all answers, people label both
answers of n items. The truth is the difference of the population. Worlds differ in how often the releases differ, in
the judge's sensitivity and specificity, in whether it is lenient to the candidate, and whether it scores 0/1 or grades.
Each is measured with items drawn evenly and as `ratchet judge draw` draws them. The one-sided error of the gate's test
is measured where the candidate is worse by exactly the margin. cje-eval is not installed here; its figures are null.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtri, stdtrit

from benchmarks.report import Result, arguments, say
from ratchet.judge import draw_items
from ratchet.ppi import DIFFERENCES, FEWEST_LABELS, estimate_mean
from ratchet.stats import Floats

LABELS = (10, 20, 30, 50, 100, 300)
ITEMS = 1000
SIMULATIONS, QUICK_SIMULATIONS = 2000, 60
LEVEL = 0.95
MARGINS = (0.0, 0.02, 0.05)
ERRORS = (0.05, 0.05 / 4, 0.05 / 16)
DRAWS = ("evenly", "as ratchet judge draw")
CASES: tuple[tuple[float, float, float], ...] = (
    (0.75, 0.05, 0.05),
    (0.45, 0.2, 0.1),
    (0.93, 0.03, 0.0),
    (0.6, 0.02, 0.1),
)
JUDGES = ((0.95, 0.9, False), (0.8, 0.7, False), (0.8, 0.7, True), (0.6, 0.5, False))
LENIENCE = (0.0, 0.2)


class World(NamedTuple):
    """Shares of items that both get right, only the candidate, only the champion; and the judge."""

    both: float
    gain: float
    loss: float
    sensitivity: float
    specificity: float
    is_graded: bool
    lenience: float  # added to the chance that an answer of the candidate's is called good

    @property
    def name(self) -> str:
        """In words."""
        kind = "graded" if self.is_graded else "0/1"
        to = f", lenient to the candidate by {self.lenience}" if self.lenience else ""
        return (
            f"gain {self.gain}, loss {self.loss}; {kind} judge, sensitivity {self.sensitivity}, "
            f"specificity {self.specificity}{to}"
        )


class Sample(NamedTuple):
    """What is known: the judge's difference of every item, people's of those drawn, and how likely they were."""

    judged: Floats
    labels: Floats  # NaN where nobody labelled
    inclusion: Floats
    said: Floats  # the labels alone, aligned with `scores` and `weights`
    scores: Floats
    weights: Floats


Ends = tuple[float, float]


def main() -> int:
    """Measure and print."""
    options = arguments(__doc__)
    result = Result("bench_judge", options.quick)
    measure(result, QUICK_SIMULATIONS if options.quick else SIMULATIONS)
    result.finish(as_json=options.json)
    return 0


def measure(result: Result, simulations: int) -> None:
    """Coverage and width by method, labels and draw; the errors of the gate's test; the fewest labels that hold."""
    worlds = [World(*case, *judge, lenience) for case, judge, lenience in itertools.product(CASES, JUDGES, LENIENCE)]
    null = [
        World(0.7, g, g + m, *judge, le)
        for m, g, judge, le in itertools.product(MARGINS, (0.0, 0.05), JUDGES, LENIENCE)
        if g + m
    ]
    say(f"{len(worlds)} worlds, {len(null)} at the edge of a margin, {simulations} simulations each")
    with ProcessPoolExecutor() as pool:
        covered = list(pool.map(coverage, worlds, itertools.repeat(simulations), range(len(worlds))))
        wrong = list(pool.map(false_accepts, null, itertools.repeat(simulations), range(len(null))))
    tolerance = 3 * math.sqrt(LEVEL * (1 - LEVEL) / simulations)
    result.figures["simulations"] = {"worlds": len(worlds), "each": simulations, "items": ITEMS}
    result.figures["tolerance of a single world's coverage (3 standard errors)"] = round(tolerance, 4)
    for drawn in DRAWS:
        result.figures[f"coverage, drawn {drawn}"] = {
            f"{n} labels": {m: _summary(worlds, [c[drawn, n, m] for c in covered]) for m in METHODS}
            | {"cje-eval": None}
            for n in LABELS
        }
    result.figures["one-sided error over what is allowed, worst world"] = {
        f"{n} labels": {f"{error:.4f}": round(max(w[n][error] for w in wrong) / error, 2) for error in ERRORS}
        for n in LABELS
    }
    _aims(result, covered, wrong, tolerance, simulations)


def _aims(result: Result, covered: Sequence[Any], wrong: Sequence[Any], tolerance: float, simulations: int) -> None:
    worst = {n: min(c[drawn, n, OURS][0] for c in covered for drawn in DRAWS) for n in LABELS}
    held = [n for n in LABELS if all(worst[more] >= LEVEL - tolerance for more in LABELS if more >= n)]
    fewest = min(held, default=None)
    result.figures["fewest labels from which on 95 % holds in every world"] = fewest
    for n in (30, 50, 100, 300):
        got = worst[n]
        result.aim(
            f"coverage at {n} labels, worst world",
            aim=f">= {LEVEL - tolerance:.3f}",
            got=got,
            met=got >= LEVEL - tolerance,
        )
    met = fewest is not None and fewest <= FEWEST_LABELS
    result.aim(
        "the gate refuses judges below the number where 95 % holds", aim=f"<= {FEWEST_LABELS}", got=fewest, met=met
    )
    for error in ERRORS:
        got = max(w[n][error] for w in wrong for n in LABELS if n >= FEWEST_LABELS)
        most = error + 3 * math.sqrt(error * (1 - error) / simulations)
        result.aim(
            f"the gate's test errs with {error:.4f} at most, worst world",
            aim=f"<= {most:.4f}",
            got=got,
            met=got <= most,
        )


def coverage(world: World, simulations: int, seed: int) -> dict[tuple[str, int, str], tuple[float, float]]:
    """Coverage and mean width of a 95 % interval by draw, labels and method."""
    rng = np.random.default_rng([17, seed])
    truth = world.gain - world.loss
    found: dict[tuple[str, int, str], list[tuple[bool, float]]] = {}
    for _ in range(simulations):
        judge, human = simulate(world, rng)
        for drawn, n in itertools.product(DRAWS, LABELS):
            sample = take(judge, human, n, drawn, rng)
            for method, interval in METHODS.items():
                low, high = interval(sample)
                found.setdefault((drawn, n, method), []).append((low <= truth <= high, high - low))
    return {
        key: (float(np.mean([c for c, _ in got])), float(np.mean([w for _, w in got]))) for key, got in found.items()
    }


def false_accepts(world: World, simulations: int, seed: int) -> dict[int, dict[float, float]]:
    """How often the test says `not worse by the margin`, where it is worse by just that, by labels and error."""
    rng = np.random.default_rng([18, seed])
    p_values: dict[int, list[float]] = {n: [] for n in LABELS}
    for _ in range(simulations):
        judge, human = simulate(world, rng)
        for n in LABELS:
            sample = take(judge, human, n, DRAWS[len(p_values[n]) % 2], rng)
            estimate = estimate_mean(sample.judged, sample.labels, sample.inclusion, ends=DIFFERENCES)
            p_values[n].append(estimate.not_above_p(world.gain - world.loss))
    return {n: {error: float(np.mean(np.array(p) <= error)) for error in ERRORS} for n, p in p_values.items()}


def simulate(world: World, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Judge's scores and the truth, each (2, ITEMS): champion and candidate."""
    u = rng.random(ITEMS)
    both = u < world.both
    new = both | (u < world.both + world.gain)
    old = both | ((u >= world.both + world.gain) & (u < world.both + world.gain + world.loss))
    human = np.stack([old, new]).astype(np.float64)
    good = np.where(human == 1, world.sensitivity, 1 - world.specificity)
    good[1] = np.minimum(good[1] + world.lenience, 1.0)
    if world.is_graded:
        return np.round(rng.beta(6 * good, 6 * (1 - good) + 1e-9), 1), human
    return (rng.random(good.shape) < good).astype(np.float64), human


def take(judge: Floats, human: Floats, n: int, drawn: str, rng: np.random.Generator) -> Sample:
    """Draw n items for people to label."""
    if drawn == "evenly":
        at, inclusion = rng.choice(ITEMS, size=n, replace=False), np.full(n, n / ITEMS)
    else:
        at, inclusion = draw_items(judge[0], judge[1], n, rng)
    judged, differences = judge[1] - judge[0], human[1] - human[0]
    labels, probabilities = np.full(ITEMS, np.nan), np.ones(ITEMS)
    labels[at], probabilities[at] = differences[at], inclusion
    weights = (1 / inclusion) / (1 / inclusion).sum()
    return Sample(judged, labels, probabilities, differences[at], judged[at], weights)


def prediction_powered(sample: Sample) -> Ends:
    """Ours."""
    found = estimate_mean(sample.judged, sample.labels, sample.inclusion, ends=DIFFERENCES).interval(LEVEL)
    return found.low, found.high


def labels_in_ppi(sample: Sample) -> Ends:
    """Ours with the judge left out: what the judge adds is the difference in width."""
    found = estimate_mean(sample.judged, sample.labels, sample.inclusion, ends=DIFFERENCES, judge_weight=0.0)
    return found.interval(LEVEL).low, found.interval(LEVEL).high


def normal_ppi(sample: Sample) -> Ends:
    """PPI++ as published: the weight fitted to the same labels, a normal interval."""
    w, scores, said = sample.weights, sample.scores, sample.said
    centred = scores - w @ scores
    variance = float(w @ centred**2)
    slope = min(1.0, max(0.0, float(w @ (centred * said)) / variance)) if variance > 0 else 0.0
    beyond = said - slope * scores
    mean = float(w @ beyond)
    error = math.sqrt(float(w**2 @ (beyond - mean) ** 2) + slope**2 * float(sample.judged.var()) / len(sample.judged))
    return _around(slope * float(sample.judged.mean()) + mean, float(ndtri((1 + LEVEL) / 2)) * error)


def labels_alone(sample: Sample) -> Ends:
    """The weighted mean of the labels with Student's interval."""
    mean, n = float(sample.weights @ sample.said), len(sample.said)
    error = math.sqrt(float(sample.weights**2 @ (sample.said - mean) ** 2) * n / (n - 1))
    return _around(mean, float(stdtrit(n - 1, (1 + LEVEL) / 2)) * error)


def judge_alone(sample: Sample) -> Ends:
    """The judge's mean difference with Student's interval, as if it were the truth."""
    n = len(sample.judged)
    half = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * float(sample.judged.std(ddof=1)) / math.sqrt(n)
    return _around(float(sample.judged.mean()), half)


def _around(centre: float, half: float) -> Ends:
    return centre - half, centre + half


OURS = "ratchet.ppi"
METHODS: dict[str, Callable[[Sample], Ends]] = {
    OURS: prediction_powered,
    "ratchet.ppi without the judge": labels_in_ppi,
    "PPI++, normal interval": normal_ppi,
    "labels alone, Student": labels_alone,
    "judge alone": judge_alone,
}


def _summary(worlds: Sequence[World], found: Sequence[tuple[float, float]]) -> dict[str, Any]:
    least = min(range(len(found)), key=lambda i: found[i][0])
    return {
        "mean": round(float(np.mean([c for c, _ in found])), 4),
        "worst": round(found[least][0], 4),
        "worst_world": worlds[least].name,
        "width": round(float(np.mean([w for _, w in found])), 4),
    }


if __name__ == "__main__":
    sys.exit(main())
