"""Whether the loop as a whole tells the truth: 200 closed loops of 20 cycles in which the truth is known.

Complaints rather than praise, drift, wrong labels, poison and answers that are merely taken over, all at once; what is
live and what is claimed of it against the truth, with all defences and with each taken out. Curate, gate and rollout
are the product's own code; a linear head on embeddings stands in for the language model.

python -m benchmarks.bench_lab [--quick] [--json]     needs ../shared/data/banking77; says so where it is missing
"""

from __future__ import annotations

import math
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.lab_loop import POLICY, Curated, Defences, Loop, Told
from benchmarks.lab_world import CYCLES, Texts, make_world, read_texts
from benchmarks.report import Result, arguments, say
from ratchet.params import Params, load_params
from ratchet.settings import Settings

SOURCE = Path(__file__).resolve().parents[2] / "shared" / "data" / "banking77"
LOOPS, QUICK_LOOPS, PROCESSES = 200, 6, 2
ALL = "all defences"
VARIANTS = {
    ALL: Defences(),
    "no poisoning defence": Defences(poisoning=False),
    "no rehearsal": Defences(rehearsal=False),
    "complaints as holdout": Defences(blind_holdout=False),
    "mean is higher, looks not counted": Defences(looks=False),
    "no rollout": Defences(rollout=False),
    "complaints as holdout, no rollout": Defences(blind_holdout=False, rollout=False),
    "none of them": Defences(**dict.fromkeys(asdict(Defences()), False)),
}
SCORES: dict[str, Callable[[Told], float]] = {
    "final_true_quality": lambda told: told.true[-1],
    "mean_true_quality": lambda told: statistics.fmean(told.true),
    "sum_of_claimed_against_true": lambda told: math.fsum(
        abs(claim - true) for claim, true in zip(told.claimed, told.true, strict=True) if claim is not None
    ),
    "sum_of_claimed_above_true": lambda told: math.fsum(
        max(0.0, claim - true) for claim, true in zip(told.claimed, told.true, strict=True) if claim is not None
    ),
    "cycles_with_a_claim": lambda told: sum(claim is not None for claim in told.claimed),
    "promotions": lambda told: told.counts["promoted"],
    "false_promotions": lambda told: told.counts["false_promotions"],
    "worst_drop_below_anchor": lambda told: max(
        0.0, *(first - true for first, true in zip(told.anchor, told.true, strict=True))
    ),
    "taken_back_by_rollout": lambda told: told.counts["taken_back"],
    "better_ones_taken_back": lambda told: told.counts["better_taken_back"],
}


def play(texts: Texts, params: Params, seed: int) -> dict[str, Told]:
    """One world, met by a loop of each variant; pure."""
    world, memory = make_world(texts, seed), dict[Any, Curated]()
    return {name: Loop(world, defences, params, memory).run(CYCLES) for name, defences in VARIANTS.items()}


def measure(params: Params, loops: int) -> list[dict[str, Told]]:
    """All worlds, by seed."""
    texts = read_texts(SOURCE, params.curate, Settings.from_env().cache)
    found: dict[int, dict[str, Told]] = {}
    with ProcessPoolExecutor(PROCESSES, initializer=_one_thread) as pool:
        seeds = {pool.submit(play, texts, params, seed): seed for seed in range(loops)}
        for done in as_completed(seeds):
            found[seeds[done]] = done.result()
            if len(found) % 10 == 0 or len(found) == loops:
                say(f"{len(found)} of {loops} loops")
    return [found[seed] for seed in range(loops)]


def summarise(worlds: Sequence[dict[str, Told]]) -> dict[str, Any]:
    """Each variant's scores over the loops, what they differ by from all defences, and both curves by cycle."""
    figures: dict[str, Any] = {}
    for name in VARIANTS:
        tolds = [world[name] for world in worlds]
        scores = {key: [float(score(told)) for told in tolds] for key, score in SCORES.items()}
        whole = {key: [float(score(world[ALL])) for world in worlds] for key, score in SCORES.items()}
        figures[name] = {
            "scores": {key: mean_and_half(values) for key, values in scores.items()},
            "against_all_defences": None
            if name == ALL
            else {
                key: mean_and_half([a - b for a, b in zip(values, whole[key], strict=True)])
                for key, values in scores.items()
            },
            "claimed_against_true_in_a_cycle_with_a_claim": round(
                sum(scores["sum_of_claimed_against_true"]) / max(1.0, sum(scores["cycles_with_a_claim"])), 4
            ),
            "true_by_cycle": _line(mean([told.true[c] for told in tolds]) for c in range(CYCLES)),
            "claimed_by_cycle": _line(mean([told.claimed[c] for told in tolds]) for c in range(CYCLES)),
            "true_where_claimed_by_cycle": _line(
                mean([told.true[c] for told in tolds if told.claimed[c] is not None]) for c in range(CYCLES)
            ),
            "counts": dict(sorted(sum((told.counts for told in tolds), Counter[str]()).items())),
        }
    return figures


def mean(values: Sequence[float | None]) -> float | None:
    """The mean of what is known."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def mean_and_half(values: Sequence[float]) -> str:
    """The mean and the half width of its 95 % t-interval, as "mean ±half"."""
    from scipy.stats import t

    half = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.fmean(values):.3f} ±{half:.3f}"


def note_aims(result: Result, worlds: Sequence[dict[str, Told]]) -> None:
    """What the whole loop promises, held against the truth."""

    def scored(name: str, key: str) -> float:
        return statistics.fmean(SCORES[key](world[name]) for world in worlds)

    def note(what: str, *, aim: float, got: float, met: bool) -> None:
        result.aim(what, aim=round(aim, 4), got=round(got, 4), met=None if result.quick else met)

    counts = sum((world[ALL].counts for world in worlds), Counter[str]())
    looked_at, wrong = max(1, counts["holdouts"]), counts["false_accepts"] / max(1, counts["holdouts"])
    allowed = POLICY.alpha + 2 * math.sqrt(POLICY.alpha * (1 - POLICY.alpha) / looked_at)
    note(
        "holdouts on which a candidate that is no better was accepted",
        aim=POLICY.alpha,
        got=wrong,
        met=wrong <= allowed,
    )
    gain = scored(ALL, "final_true_quality") - statistics.fmean(world[ALL].anchor[-1] for world in worlds)
    note("final true quality above the first release's", aim=0.0, got=gain, met=gain > 0)
    drop = scored(ALL, "worst_drop_below_anchor")
    note(
        "worst drop below the anchor at most its margin",
        aim=POLICY.anchor_margin,
        got=drop,
        met=drop <= POLICY.anchor_margin,
    )
    whole = scored(ALL, "false_promotions")
    for name in VARIANTS:
        if name != ALL:
            other = scored(name, "false_promotions")
            note(f"false promotions a loop, no more than with {name}", aim=other, got=whole, met=whole <= other)


def _line(values: Any) -> str:
    """Twenty numbers on one line of the page."""
    return " ".join("-" if value is None else f"{value:.3f}" for value in values)


def _one_thread() -> None:
    """Two processes on two cores: no threads of their own, and no checks of input that is our own."""
    import sklearn
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    sklearn.set_config(assume_finite=True, skip_parameter_validation=True)


def main() -> int:
    """Measure and print."""
    options = arguments(__doc__)
    if not (SOURCE / "train.jsonl").is_file():
        sys.stderr.write(f"{SOURCE} is missing: put banking77's train.jsonl and test.jsonl there\n")
        return 0
    result = Result("bench_lab", options.quick)
    worlds = measure(load_params(), QUICK_LOOPS if options.quick else LOOPS)
    result.figures = {"loops": len(worlds), "cycles": CYCLES, **summarise(worlds)}
    note_aims(result, worlds)
    result.finish(as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
