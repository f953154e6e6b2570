"""How soon a worse canary is taken back, and how often a harmless one, beside other rules and the information bound.

Horizon 5,000 canary outcomes, a miss counts as the horizon, alpha 5 %. Every rule sees the same thumbs; the line of
each other rule is set on harmless streams of its own, over base rates from .6 to .95, so that it takes back at most
5 % of them. Ratchet's line is 1/alpha, which no stream was looked at for.

python -m benchmarks.bench_rollout [--quick] [--json]
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from benchmarks.ifllm import FOLDER, read_turns
from benchmarks.report import Result, arguments, say
from benchmarks.rollout_rules import RULES, Streams, bets, by_canary, first_alarm, line_for, of_users
from benchmarks.rollout_worlds import WORLDS, traffic
from ratchet.betting import Floats

ALPHA, N = 0.05, 5000
LINE = math.log(1 / ALPHA)
BASES, DROPS = (0.6, 0.7, 0.8, 0.9, 0.95), (0.02, 0.05, 0.1, 0.2)
OUTCOME_WEIGHT, SIDE_SIGNALS = 20.0, 3


def main() -> int:
    """Measure and print."""
    options = arguments(__doc__)
    result = Result("bench_rollout", options.quick)
    rng = np.random.default_rng(17)
    runs, n = (100, 1500) if options.quick else (500, N)
    lines = set_lines(rng, runs, n)
    say(f"lines set: { {name: round(line, 3) for name, line in lines.items()} }")
    figures: dict[str, Any] = {"runs": runs, "horizon": n, "alpha": ALPHA, "lines": lines}
    figures["false_rollbacks_by_base"] = {f"{base}": shares(draw(rng, runs, n, base, 0.0), lines) for base in BASES}
    say("harmless streams done")
    figures["false_rollbacks_by_world"] = {world: in_world(rng, world, runs, n, lines) for world in WORLDS}
    say("worlds done")
    figures["delay"] = {f"base {b}, -{100 * d:g} points": delays(rng, runs, n, b, d, lines) for b, d in cases()}
    say("drops done")
    figures["silent"] = silent(rng, runs, n, lines)
    figures["side_signals"] = side_signals(rng, runs, n)
    result.figures = figures
    set_aims(result, runs)
    result.finish(as_json=options.json)
    return 0


def cases() -> list[tuple[float, float]]:
    """Bases and drops; every drop at 0.8, the larger ones at the ends too."""
    return [*((0.8, drop) for drop in DROPS), (0.6, 0.1), (0.6, 0.2), (0.95, 0.1), (0.95, 0.2)]


def draw(rng: np.random.Generator, runs: int, n: int, base: float, drop: float) -> Streams:
    """Users who are drawn for either channel with probability 1/2, one answer each."""
    n_users = 2 * n + int(12 * math.sqrt(n))  # at least n of either channel, six standard deviations off
    drawn = (rng.random((runs, n_users)) < 0.5).astype(np.float64)
    good = (rng.random((runs, n_users)) < base - drop * drawn).astype(np.float64)
    return of_users(good, drawn, n, base)


def set_lines(rng: np.random.Generator, runs: int, n: int) -> dict[str, float]:
    """Each rule's line; Ratchet once by its theorem, and once set like the others'."""
    found: dict[str, list[Floats]] = {name: [] for name in RULES}
    for base in BASES:
        streams = draw(rng, runs, n, base, 0.0)
        for name, rule in RULES.items():
            found[name].append(rule(streams))
    lines = {name: line_for(statistics, ALPHA) for name, statistics in found.items()}
    return {"ratchet": LINE, "ratchet, line set like the others": lines.pop("ratchet"), **lines}


def alarms(streams: Streams, lines: dict[str, float]) -> dict[str, Floats]:
    """When each rule takes each run back."""
    asked = {name.split(",")[0] if "ratchet" in name else name for name in lines}
    statistics = {name: rule(streams) for name, rule in RULES.items() if name in asked}
    return {name: first_alarm(statistics[name.split(",")[0] if "ratchet" in name else name], line)
            for name, line in lines.items()}  # fmt: skip


def shares(streams: Streams, lines: dict[str, float]) -> dict[str, float]:
    """The share of runs that each rule takes back."""
    return {name: float((at > 0).mean()) for name, at in alarms(streams, lines).items()}


def in_world(rng: np.random.Generator, world: str, runs: int, n: int, lines: dict[str, float]) -> dict[str, float]:
    """The share of harmless runs taken back; Ratchet counts users, the others the answers that they are given."""
    found = traffic(rng, world, runs, n)
    others = {name: first_alarm(RULES[name](found.answers), line) for name, line in lines.items() if name in RULES}
    path = bets(found.good, found.drawn).max(axis=1)
    ours = {name: float((path >= line).mean()) for name, line in lines.items() if "ratchet" in name}
    return {**{name: float((at > 0).mean()) for name, at in others.items()}, **ours}


def delays(rng: np.random.Generator, runs: int, n: int, base: float, drop: float, lines: dict[str, float]) -> Any:
    """The mean number of canary outcomes until the rollback, a miss counted as the horizon, and the share caught."""
    least = bound(base, drop)
    found: dict[str, Any] = {"bound": round(least, 1)}
    for name, at in alarms(draw(rng, runs, n, base, drop), lines).items():
        taken = np.where(at > 0, at, n)
        found[name] = {
            "mean": round(float(taken.mean()), 1),
            "p95": round(float(np.quantile(taken, 0.95)), 1),
            "caught": round(float((at > 0).mean()), 3),
            "of_bound": round(float(taken.mean()) / least, 2),
        }
    return found


def bound(base: float, drop: float) -> float:
    """log(1/alpha) / KL in canary outcomes, one stable outcome beside each, neither rate known (Wald 1945).

    The nearest harmless pair of rates lies in the middle; KL is the sum of both channels' divergences from it.
    """
    middle = base - drop / 2
    return LINE / (divergence(base - drop, middle) + divergence(base, middle))


def divergence(a: float, b: float) -> float:
    """Kullback-Leibler, of two Bernoulli distributions."""
    return a * math.log(a / b) + (1 - a) * math.log((1 - a) / (1 - b))


def silent(rng: np.random.Generator, runs: int, n: int, lines: dict[str, float]) -> dict[str, float]:
    """The share caught where ten points of the users turn unhappy and every unhappy canary user falls silent.

    Half of the others speak. Rules on thumbs see those of who speaks; Ratchet weighs complaint (20) and praise (1).
    """
    drawn = (rng.random((runs, 2 * n)) < 0.5).astype(np.float64)
    happy, speaks = rng.random((runs, 2 * n)) < 0.8 - 0.1 * drawn, rng.random((runs, 2 * n)) < 0.5
    speaks &= happy | (drawn == 0)
    seen = [[(happy & speaks & (drawn == c))[r][(speaks & (drawn == c))[r]] for r in range(runs)] for c in (1, 0)]
    length = min(len(row) for side in seen for row in side)
    canary, control = (np.array([row[:length] for row in side], dtype=np.float64) for side in seen)
    found = shares(Streams(canary, control, drawn, drawn, 0.8), {k: v for k, v in lines.items() if "ratchet" not in k})
    complaint = bets((happy | ~speaks).astype(np.float64), drawn) + math.log(OUTCOME_WEIGHT / (OUTCOME_WEIGHT + 1))
    praise = bets((happy & speaks).astype(np.float64), drawn) - math.log(OUTCOME_WEIGHT + 1)
    found["ratchet"] = float((np.logaddexp(complaint, praise).max(axis=1) >= LINE).mean())
    return found


def side_signals(rng: np.random.Generator, runs: int, n: int) -> dict[str, Any]:
    """Delay at -10 points of thumbs alone, and with three side signals of weight 1 beside it (20).

    A side signal is a number, correlated with the thumb as the length of real answers is with their rating, or not at
    all; on the canary it is unchanged, or half a standard deviation worse.
    """
    measured = ifllm_correlation()
    found: dict[str, Any] = {"ifllm_correlation": measured, "base": 0.8, "drop": 0.1}
    streams = draw(rng, runs, n, 0.8, 0.1)
    good = streams.good
    thumbs = bets(good, streams.drawn)
    found["thumbs alone"] = _mean_delay(thumbs, streams, n)
    total = OUTCOME_WEIGHT + SIDE_SIGNALS
    for name, rho in (("correlation of ifllm", measured), ("no correlation", 0.0)):
        for worse in (0.0, 0.5):
            if rho is None:
                found[f"{name}, {worse} sd worse"] = None
                continue
            joint = thumbs + math.log(OUTCOME_WEIGHT / total)
            for _ in range(SIDE_SIGNALS):
                y = _ranked(rng, good, rho) if worse == 0 else _ranked(rng, good, rho, worse * streams.drawn)
                joint = np.logaddexp(joint, bets(y, streams.drawn) - math.log(total))
            found[f"{name}, {worse} sd worse"] = _mean_delay(joint, streams, n)
    return found


def _ranked(rng: np.random.Generator, good: Floats, rho: float, worse: Floats | float = 0.0) -> Floats:
    """A side signal's rank (high is good), of correlation `rho` with the thumb."""
    from scipy.special import ndtr

    standard = (good - good.mean()) / good.std()
    noise = rng.standard_normal(good.shape)
    found: Floats = ndtr(rho * standard + math.sqrt(1 - rho * rho) * noise - worse)
    return found


def _mean_delay(path: Floats, streams: Streams, n: int) -> float:
    at = first_alarm(by_canary(path, streams.drawn, n), LINE)
    return round(float(np.where(at > 0, at, n).mean()), 1)


def ifllm_correlation() -> float | None:
    """Of an answer's rating (good is 4 or 5 of 5) with its length, over real chats; None without the data."""
    if not (FOLDER / "turns.jsonl").is_file():
        return None
    shown = [row["responses"][0] for row in read_turns() if row["responses"][0]["likert"] is not None]
    good, length = [answer["likert"] >= 4 for answer in shown], [math.log1p(len(answer["text"])) for answer in shown]
    return round(float(np.corrcoef(good, length)[0, 1]), 3)


def set_aims(result: Result, runs: int) -> None:
    """False rollbacks at most alpha (and two standard errors) everywhere; delays at most 1.25 times the bound."""
    figures = result.figures
    tested = {**figures["false_rollbacks_by_base"], **figures["false_rollbacks_by_world"]}
    where, worst = max(((name, found["ratchet"]) for name, found in tested.items()), key=lambda pair: pair[1])
    allowed = ALPHA + 2 * math.sqrt(ALPHA * (1 - ALPHA) / runs)
    result.aim(f"harmless canaries taken back, worst case ({where})", aim=ALPHA, got=worst, met=worst <= allowed)
    for case, found in figures["delay"].items():
        ratio = found["ratchet"]["of_bound"]
        result.aim(f"delay over the bound, thumbs alone, {case}", aim=1.25, got=ratio, met=ratio <= 1.25)


if __name__ == "__main__":
    raise SystemExit(main())
