"""How often the gate promotes what is not better, and what it finds, beside the rule "the mean is higher".

Simulated 0/1 scores with known truth, through `tasks.gate.decide`: equal pairs, true gains, an analyst who learns from
what leaves the gate over 20 looks, and 20 candidates in a row that are each one point worse.

python -m benchmarks.bench_gate [--quick] [--json]
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Result, arguments, say
from ratchet.features import GatePolicy
from ratchet.stats import exact_margin_greater, exact_mcnemar_greater
from tasks.gate import Looks, PairedScores, decide

Right = NDArray[np.bool_]
ALPHA, ACCURACY, LOOKS = 0.05, 0.7, 20
POLICY = GatePolicy(alpha=ALPHA, min_items=20, anchor_margin=0.02)
SIZES, DISCORDANT, GAINS = (100, 300, 1000), (0.05, 0.1, 0.2, 0.4), (0.02, 0.05, 0.1)


def main() -> int:
    """Measure and print."""
    options = arguments(__doc__)
    result = Result("bench_gate", options.quick)
    rng = np.random.default_rng(17)
    n_pairs, n_sequences, n_chains = (80, 100, 4) if options.quick else (2000, 1000, 40)
    equal = {f"n={n}, {d:.0%} differ": rates(rng, n, d, 0.0, n_pairs) for n in SIZES for d in DISCORDANT}
    say("equal pairs done")
    power = {
        f"n={n}, {100 * g:+.0f} points": rates(rng, n, max(0.2, 2 * g), g, n_pairs // 4) for n in SIZES for g in GAINS
    }
    say("power done")
    analyst = {name: analysed(rng, rule, is_shown, n_sequences) for name, (rule, is_shown) in ANALYSTS.items()}
    say("analyst done")
    chains = {name: descend(rng, rule, n_chains) for name, rule in CHAINS.items()}
    result.figures = {
        "equal_pairs_promoted": equal,
        "power": power,
        "analyst_20_looks_promoted": analyst,
        "points_below_the_anchor_after_20_candidates_one_point_worse": chains,
        "simulations": {"pairs": n_pairs, "sequences": n_sequences, "chains": n_chains},
    }
    worst = max(found["gate"] for found in equal.values())
    allowed = ALPHA + 2 * math.sqrt(ALPHA * (1 - ALPHA) / n_pairs)
    result.aim("equal pairs promoted, worst case", aim=ALPHA, got=worst, met=worst <= allowed)
    fooled = analyst["gate, only its verdict seen"]
    allowed = ALPHA + 2 * math.sqrt(ALPHA * (1 - ALPHA) / n_sequences)
    result.aim("sequences of 20 looks with a false promotion", aim=ALPHA, got=fooled, met=fooled <= allowed)
    result.finish(as_json=options.json)
    return 0


def rates(rng: np.random.Generator, n: int, discordant: float, gain: float, times: int) -> dict[str, float]:
    """The share of simulated pairs that the gate, at a first look, and the naive rule promote."""
    gate = naive = 0
    for _ in range(times):
        old, new = draw_pair(rng, n, discordant, gain)
        gate += is_accepted(old, new, look=1)
        naive += int(new.sum()) > int(old.sum())
    return {"gate": gate / times, "mean is higher": naive / times}


def draw_pair(rng: np.random.Generator, n: int, discordant: float, gain: float) -> tuple[Right, Right]:
    """Two releases on n items: a share of items on which they differ, the new one better by `gain` in truth."""
    old = rng.random(n) < ACCURACY
    lost = min(1.0, (discordant - gain) / 2 / ACCURACY)
    won = min(1.0, (discordant + gain) / 2 / (1 - ACCURACY))
    flips = rng.random(n) < np.where(old, lost, won)
    return old, old ^ flips


def is_accepted(old: Right, new: Right, *, look: int, anchor: Right | None = None) -> bool:
    """What the gate says of a pair; the champion is the anchor unless one is given."""
    scores = PairedScores(
        champion_id="old",
        anchor_id="old" if anchor is None else "first",
        candidate_id="new",
        champion=_by_item(old),
        anchor=_by_item(old if anchor is None else anchor),
        candidate=_by_item(new),
    )
    return decide(scores, POLICY, Looks(look, advisory=False)).verdict == "accept"


def _by_item(right: Right) -> dict[str, float]:
    return {str(i): float(x) for i, x in enumerate(right)}


Rule = Callable[[Right, Right, int], bool]
ANALYSTS: dict[str, tuple[Rule, bool]] = {
    "gate, only its verdict seen": (lambda old, new, look: _mcnemar(old, new) <= ALPHA / 2**look, False),
    "gate, scores seen as well": (lambda old, new, look: _mcnemar(old, new) <= ALPHA / 2**look, True),
    "Bonferroni over 20 looks, scores seen": (lambda old, new, look: _mcnemar(old, new) <= ALPHA / LOOKS, True),
    "5 % at each look, only the verdict seen": (lambda old, new, look: _mcnemar(old, new) <= ALPHA, False),
    "mean is higher, scores seen": (lambda old, new, look: int(new.sum()) > int(old.sum()), True),
}


def analysed(rng: np.random.Generator, rule: Rule, is_shown: bool, times: int) -> float:
    """The share of sequences of looks at one holdout in which a candidate that is equal in truth is promoted.

    The analyst changes a fifth of the answers at each look, never for better or worse in truth. Where scores are seen,
    changes that scored higher are kept, as everybody does who tunes to a test set.
    """
    promoted = 0
    for _ in range(times):
        champion = rng.random(300) < ACCURACY
        best = champion.copy()
        for look in range(1, LOOKS + 1):
            tried = np.where(rng.random(300) < 0.2, rng.random(300) < ACCURACY, best)
            if rule(champion, tried, look):
                promoted += 1
                break
            if not is_shown or tried.sum() > best.sum():
                best = tried
    return promoted / times


def _mcnemar(old: Right, new: Right) -> float:
    return exact_mcnemar_greater(int((new & ~old).sum()), int((old & ~new).sum()))


def _gate_rule(old: Right, new: Right, anchor: Right) -> bool:
    return is_accepted(old, new, look=1, anchor=anchor)


def _no_worse_rule(old: Right, new: Right, anchor: Right) -> bool:
    gains, losses = int((new & ~old).sum()), int((old & ~new).sum())
    return exact_margin_greater(gains, losses, len(old), 0.03) <= ALPHA


CHAINS: dict[str, Callable[[Right, Right, Right], bool]] = {
    "gate": _gate_rule,
    "mean is higher": lambda old, new, anchor: int(new.sum()) > int(old.sum()),
    "not worse by 3 points, no anchor": _no_worse_rule,
}


def descend(rng: np.random.Generator, rule: Callable[[Right, Right, Right], bool], times: int) -> dict[str, Any]:
    """How many points below the first release the live one is after 20 candidates, each one point below the live one.

    A fresh holdout of 300 items each time; neighbours differ on a tenth of the items.
    """
    below = []
    for _ in range(times):
        lost = 0  # points
        for _ in range(LOOKS):
            anchor, champion, candidate = _three(rng, lost)
            lost += rule(champion, candidate, anchor)
        below.append(lost)
    return {"mean": float(np.mean(below)), "p95": float(np.percentile(below, 95)), "most": int(max(below))}


def _three(rng: np.random.Generator, lost: int) -> tuple[Right, Right, Right]:
    anchor = rng.random(300) < ACCURACY
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
