"""How often the gate promotes what is not better, and what it finds, beside the rule "the mean is higher".

Simulated 0/1 scores with known truth, through `tasks.gate.decide`: equal pairs, true gains, an analyst who learns from
all that leaves the gate over 20 looks, 20 candidates in a row that are each one point worse than what is live, and how
often each interval holds the truth.

python -m benchmarks.bench_gate [--quick] [--json]
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.estimator_coverage import coverage, experiments
from benchmarks.report import Result, arguments, say
from ratchet.features import GatePolicy
from ratchet.stats import exact_margin_greater, exact_mcnemar_greater
from tasks.compare import Decision
from tasks.gate import Looks, PairedScores, decide, seal
from tasks.guards import guards_of, objective_scores

Right = NDArray[np.bool_]
ALPHA, ACCURACY, LOOKS, PROCESSES = 0.05, 0.7, 20, 2
POLICY = GatePolicy(alpha=ALPHA, min_items=20, anchor_margin=0.02)
MARGIN = 0.05  # of quality, where cost is the objective
CHEAPER = GatePolicy(objective="cost", alpha=ALPHA, min_items=20, anchor_margin=MARGIN, margins={"quality": MARGIN})
SHORTER = 16  # items on which the cheaper candidate saves tokens
SIZES, DISCORDANT, GAINS = (100, 300, 1000), (0.05, 0.1, 0.2, 0.4), (0.02, 0.05, 0.1)
N = 300  # items that analysts and chains meet


def main() -> int:
    """Measure and print."""
    options = arguments(__doc__)
    result = Result("bench_gate", options.quick)
    n_pairs, n_sequences, n_chains = (80, 40, 3) if options.quick else (2000, 1000, 60)
    n_covered = 60 if options.quick else 2000
    sections: dict[str, dict[str, tuple[Any, ...]]] = {
        "equal_pairs_promoted": {
            f"n={n}, {d:.0%} differ": (rates, n, d, 0.0, n_pairs) for n in SIZES for d in DISCORDANT
        },
        "power": {
            f"n={n}, {100 * g:+.0f} points": (rates, n, max(0.2, 2 * g), g, n_pairs // 4) for n in SIZES for g in GAINS
        },
        "analyst_20_looks_promoted": {name: (analysed, name, n_sequences) for name in ANALYSTS},
        "points_below_the_anchor_after_20_candidates_one_point_worse": {
            name: (descend, name, n_chains) for name in CHAINS
        },
        "intervals": {name: (covered, name, n_covered) for name in experiments()},
    }
    result.figures = run_all(sections)
    result.figures["simulations"] = {
        "pairs": n_pairs,
        "power": n_pairs // 4,
        "sequences": n_sequences,
        "chains": n_chains,
        "intervals": n_covered,
    }
    note_aims(result, n_pairs=n_pairs, n_sequences=n_sequences)
    result.finish(as_json=options.json)
    return 0


def run_all(sections: dict[str, dict[str, tuple[Any, ...]]]) -> dict[str, Any]:
    """Every cell of every section in two processes, each with random numbers of its own name."""
    with ProcessPoolExecutor(PROCESSES) as pool:
        waiting = {
            section: {name: pool.submit(_run, f"{section}/{name}", *cell) for name, cell in cells.items()}
            for section, cells in sections.items()
        }
        found = {}
        for section, cells in waiting.items():
            found[section] = {name: cell.result() for name, cell in cells.items()}
            say(f"{section}: done")
    return found


def _run(name: str, function: Callable[..., Any], *cell: Any) -> Any:
    return function(np.random.default_rng([17, zlib.crc32(name.encode())]), *cell)


def covered(rng: np.random.Generator, name: str, times: int) -> dict[str, float]:
    """Coverage and width of an interval; a bootstrap takes half as many simulations, as it takes most of the time."""
    return coverage(name, times // 2 if name.startswith("bootstrap") else times, rng)


def note_aims(result: Result, *, n_pairs: int, n_sequences: int) -> None:
    """Errors at most alpha, within two binomial standard errors."""

    def note(what: str, got: float, times: float) -> None:
        allowed = ALPHA + 2 * math.sqrt(ALPHA * (1 - ALPHA) / max(1.0, times))
        result.aim(what, aim=ALPHA, got=round(got, 4), met=None if result.quick else got <= allowed)

    worst = max(found["gate"] for found in result.figures["equal_pairs_promoted"].values())
    note("equal pairs promoted, worst case", worst, n_pairs)
    fooled = result.figures["analyst_20_looks_promoted"][SEALED]
    note("sequences of 20 looks with a false promotion", fooled, n_sequences)
    for name in (QUALITY, COST):
        chain = result.figures["points_below_the_anchor_after_20_candidates_one_point_worse"][name]
        note(f"{name}: accepted of those below the anchor by the margin or more", chain["accepted"], chain["too_low"])


def rates(rng: np.random.Generator, n: int, discordant: float, gain: float, times: int) -> dict[str, float]:
    """The share of simulated pairs that the gate, at a first look, and the naive rule promote."""
    gate = naive = 0
    for _ in range(times):
        old, new = draw_pair(rng, n, discordant, gain)
        gate += decided(old, new, look=1).verdict == "accept"
        naive += int(new.sum()) > int(old.sum())
    return {"gate": gate / times, "mean is higher": naive / times}


def draw_pair(rng: np.random.Generator, n: int, discordant: float, gain: float) -> tuple[Right, Right]:
    """Two releases on n items: a share of items on which they differ, the new one better by `gain` in truth."""
    old = rng.random(n) < ACCURACY
    lost = min(1.0, (discordant - gain) / 2 / ACCURACY)
    won = min(1.0, (discordant + gain) / 2 / (1 - ACCURACY))
    flips = rng.random(n) < np.where(old, lost, won)
    return old, old ^ flips


def decided(old: Right, new: Right, *, look: int, anchor: Right | None = None) -> Decision:
    """What the gate says of a pair; the champion is the anchor unless one is given."""
    scores = PairedScores(
        champion_id="old",
        anchor_id="old" if anchor is None else "first",
        candidate_id="new",
        champion=_by_item(old),
        anchor=_by_item(old if anchor is None else anchor),
        candidate=_by_item(new),
    )
    return decide(scores, POLICY, Looks(look, advisory=False))


def _by_item(right: Right) -> dict[str, float]:
    return {str(i): float(x) for i, x in enumerate(right)}


class Seen(NamedTuple):
    """What an analyst sees of a look: whether the candidate was promoted, and whether its score is shown."""

    is_promoted: bool
    is_shown: bool


def _gate_look(old: Right, new: Right, look: int) -> Seen:
    decision = decided(old, new, look=look)
    leaves = decision if decision.verdict == "accept" else seal(decision)
    return Seen(decision.verdict == "accept", "paired_means" in leaves.facts)


def _rule(level: Callable[[int], float], *, is_shown: bool) -> Callable[[Right, Right, int], Seen]:
    def look(old: Right, new: Right, number: int) -> Seen:
        p = exact_mcnemar_greater(int((new & ~old).sum()), int((old & ~new).sum()))
        return Seen(p <= level(number), is_shown)

    return look


SEALED = "gate, all that leaves it seen"
ANALYSTS: dict[str, Callable[[Right, Right, int], Seen]] = {
    SEALED: _gate_look,
    "gate, scores seen as well": _rule(lambda look: ALPHA / 2**look, is_shown=True),
    "Bonferroni over 20 looks, scores seen": _rule(lambda look: ALPHA / LOOKS, is_shown=True),
    "5 % at each look, only the verdict seen": _rule(lambda look: ALPHA, is_shown=False),
    "5 % at each look, scores seen": _rule(lambda look: ALPHA, is_shown=True),
    "mean is higher, scores seen": lambda old, new, look: Seen(int(new.sum()) > int(old.sum()), True),
}


def analysed(rng: np.random.Generator, name: str, times: int) -> float:
    """The share of sequences of looks at one holdout in which a candidate that is equal in truth is promoted.

    The analyst changes a fifth of the answers at each look, never for better or worse in truth. Where scores are seen,
    changes that scored higher are kept, as everybody does who tunes to a test set.
    """
    promoted = 0
    for _ in range(times):
        champion = rng.random(N) < ACCURACY
        best = champion.copy()
        for number in range(1, LOOKS + 1):
            tried = np.where(rng.random(N) < 0.2, rng.random(N) < ACCURACY, best)
            seen = ANALYSTS[name](champion, tried, number)
            if seen.is_promoted:
                promoted += 1
                break
            if not seen.is_shown or tried.sum() > best.sum():
                best = tried
    return promoted / times


def _gate_chain(old: Right, new: Right, anchor: Right) -> bool:
    return decided(old, new, look=1, anchor=anchor).verdict == "accept"


def _cost_chain(old: Right, new: Right, anchor: Right) -> bool:
    """The gate with cost as its objective: the candidate is cheaper, so what stops it are quality's guards alone."""
    rows = [
        {"item_id": str(i), "champion": o, "anchor": a, "candidate": n}
        for i, (o, a, n) in enumerate(
            zip(old.astype(float).tolist(), anchor.astype(float).tolist(), new.astype(float).tolist(), strict=True)
        )
    ]
    tokens = [
        {"item_id": str(i), "champion": 100.0, "anchor": 100.0, "candidate": 100.0 - (i < SHORTER) * 20}
        for i in range(len(rows))
    ]
    table = {"quality": rows, "tokens": tokens}
    scores = objective_scores(table, CHEAPER)
    paired = PairedScores("old", "first", "new", scores["champion"], scores["anchor"], scores["candidate"])
    return decide(paired, CHEAPER, Looks(1, advisory=False), guards_of(table, CHEAPER)).verdict == "accept"


def _no_worse_chain(old: Right, new: Right, anchor: Right) -> bool:
    gains, losses = int((new & ~old).sum()), int((old & ~new).sum())
    return exact_margin_greater(gains, losses, len(old), MARGIN) <= ALPHA


QUALITY, COST = "gate, objective quality", "gate, objective cost"
CHAINS: dict[str, tuple[Callable[[Right, Right, Right], bool], float]] = {
    QUALITY: (_gate_chain, POLICY.anchor_margin),
    COST: (_cost_chain, MARGIN),
    "not worse by 5 points, no anchor": (_no_worse_chain, MARGIN),
    "mean is higher": (lambda old, new, anchor: int(new.sum()) > int(old.sum()), POLICY.anchor_margin),
}


def descend(rng: np.random.Generator, name: str, times: int) -> dict[str, Any]:
    """How many points below the first release the live one is after 20 candidates, each one point below the live one.

    A fresh holdout each time, a first look at it; neighbours differ on a tenth of the items. `too_low`: candidates that
    were below the anchor by the margin or more, `accepted` the share of them that were accepted.
    """
    rule, margin = CHAINS[name]
    below, too_low, accepted = [], 0, 0
    for _ in range(times):
        lost = 0  # points
        for _ in range(LOOKS):
            anchor, champion, candidate = _three(rng, lost)
            is_accepted, is_too_low = rule(champion, candidate, anchor), lost + 1 >= 100 * margin
            too_low += is_too_low
            accepted += is_accepted and is_too_low
            lost += is_accepted
        below.append(lost)
    told = {"mean": round(float(np.mean(below)), 2), "p95": float(np.percentile(below, 95)), "most": int(max(below))}
    return told | {"margin": 100 * margin, "too_low": too_low, "accepted": round(accepted / max(1, too_low), 4)}


def _three(rng: np.random.Generator, lost: int) -> tuple[Right, Right, Right]:
    anchor = rng.random(N) < ACCURACY
    champion = _moved(rng, anchor, ACCURACY, ACCURACY - lost / 100)
    return anchor, champion, _moved(rng, champion, ACCURACY - lost / 100, ACCURACY - (lost + 1) / 100)


def _moved(rng: np.random.Generator, right: Right, before: float, after: float) -> Right:
    """Another release: differs from one of accuracy `before` on about a tenth of the items and has accuracy `after`."""
    differ = max(0.1, abs(before - after))
    lost, won = (differ + before - after) / 2 / before, (differ - before + after) / 2 / (1 - before)
    moved: Right = right ^ (rng.random(len(right)) < np.where(right, min(1.0, lost), min(1.0, won)))
    return moved


if __name__ == "__main__":
    raise SystemExit(main())
