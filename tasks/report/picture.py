"""The pictures of the report, as geometry: the template draws what is computed here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ratchet.stats import Difference
from tasks.report.facts import SliceRow

WIDTH = 400.0  # of a picture, in its own units
ROW = 30.0
BEYOND = 2.5  # the axis goes so many times as far as the objective needs; longer intervals end in an arrow


class Bar(NamedTuple):
    """One line of the table of scores; `x` holds low, score and high in picture units."""

    name: str
    split: str
    n: int
    score: float
    low: float
    high: float
    x: tuple[float, float, float]


class Line(NamedTuple):
    """An interval of the forest in percent, and where it lies; `margin_x` is where the tolerated loss ends.

    `at` says what colours it: better, worse or open.
    """

    name: str
    group: str
    n: int
    estimate: float
    low: float
    high: float
    at: str
    y: float
    x: tuple[float, float, float]
    margin_x: float | None
    is_cut: tuple[bool, bool]


class Forest(NamedTuple):
    """Intervals of candidate minus champion below each other, on one axis from -`reach` to `reach` percent."""

    lines: list[Line]
    ticks: list[tuple[float, str]]
    reach: float
    height: float


class Interval(NamedTuple):
    """What the forest shows, in shares; `margin` is the loss that is tolerated, None where none is named."""

    name: str
    group: str
    n: int
    estimate: float
    low: float
    high: float
    margin: float | None = None


class Kept(NamedTuple):
    """One ended rollout: how it ended, what its release promised (corrected), what was measured, on how many users."""

    release_id: str
    version: str | None
    ended: str
    promised: Difference | None
    realised: Difference | None
    users: tuple[int, int]


class Step(NamedTuple):
    """One release of the history: what was promised and what the rollout measured, in picture units."""

    name: str
    y: float
    promised: tuple[float, float, float] | None
    realised: tuple[float, float, float] | None


class Steps(NamedTuple):
    """The picture of the history, on one axis from -`reach` to `reach` points."""

    steps: list[Step]
    ticks: list[tuple[float, str]]
    height: float


def interval_bars(evaluated: Mapping[str, Any], gate: Mapping[str, Any]) -> list[Bar]:
    """One bar per arm (validation) and release (holdout); what has no score, or a sealed one, has none."""
    found = [(f"arm {name}", "validation", arm) for name, arm in sorted(evaluated["arms"].items())]
    found += [(role, "holdout", gate[role]) for role in ("anchor", "champion", "candidate")]
    return [_bar(name, split, scored) for name, split, scored in found if scored.get("score") is not None]


def intervals(gate: Mapping[str, Any], slices: Sequence[SliceRow]) -> list[Interval]:
    """The differences to picture: objective, corrected gain, anchor, guards, slices; of a sealed look none."""
    if not gate.get("difference"):
        return []
    found = [("as measured", gate["difference"]), ("corrected for selection", gate.get("corrected_difference"))]
    lines = [
        Interval(f"{gate.get('objective', 'quality')}, {name}", "decides", gate["n"], *_ends(d))
        for name, d in found
        if d
    ]
    if (anchor := gate.get("anchor_difference")) and gate["anchor"]["release_id"] != gate["champion"]["release_id"]:
        lines.append(Interval("against the anchor", "decides", gate["n"], *_ends(anchor), gate["anchor_margin"]))
    for name, numbers in {**(gate.get("guards") or {}), **(gate.get("safety") or {})}.items():
        if "estimate" in numbers:
            lines.append(Interval(name, "may not get worse", numbers["n"], *_ends(numbers), numbers["margin"]))
    for row in slices:
        if row.low is not None and row.high is not None:
            lines.append(Interval(row.name, "by slice: hints", row.n, row.change, row.low, row.high))
    return lines


def forest(found: Sequence[Interval]) -> Forest | None:
    """Lay intervals out; None without any."""
    if not found:
        return None
    main = max(abs(end) for i in found if i.group == "decides" for end in (i.low, i.high, i.estimate) if end > -1)
    every = max(abs(end) for i in found for end in (i.low, i.high))
    reach = _nice(100 * min(max(every, 0.01), max(BEYOND * main, 0.05)))
    lines, y, group = [], 0.0, ""
    for i in found:
        y += ROW + (14.0 if i.group != group else 0.0)  # a group has a heading
        group = i.group
        lines.append(_line(i, y, reach))
    return Forest(lines, _ticks(reach), reach, y + 24)


def steps(history: Sequence[Kept]) -> Steps | None:
    """The history as a picture; None where no release has both numbers."""
    told = [kept for kept in history if kept.promised is not None or kept.realised is not None]
    if not told:
        return None
    ends = [abs(end) for kept in told for d in (kept.promised, kept.realised) if d for end in d if end > -1]
    reach = _nice(100 * max(ends, default=0.05))
    placed = [
        Step(
            kept.version or kept.release_id[:12],
            ROW * (i + 1),
            _place(kept.promised, reach),
            _place(kept.realised, reach),
        )
        for i, kept in enumerate(told)
    ]
    return Steps(placed, _ticks(reach), ROW * len(told) + 24)


def _line(found: Interval, y: float, reach: float) -> Line:
    at = "better" if found.low > 0 else "worse" if found.high < -(found.margin or 0.0) else "open"
    low, estimate, high = (100 * value for value in (found.low, found.estimate, found.high))
    margin_x = None if found.margin is None else _x(-100 * found.margin, reach)
    place = (_x(low, reach), _x(estimate, reach), _x(high, reach))
    return Line(
        found.name, found.group, found.n, estimate, low, high, at, y, place, margin_x, (low < -reach, high > reach)
    )


def _place(found: Difference | None, reach: float) -> tuple[float, float, float] | None:
    return (
        None
        if found is None
        else (_x(100 * found.low, reach), _x(100 * found.estimate, reach), _x(100 * found.high, reach))
    )


def _x(percent: float, reach: float) -> float:
    return round((max(-reach, min(reach, percent)) / reach + 1) * WIDTH / 2, 1)


def _ticks(reach: float) -> list[tuple[float, str]]:
    return [(_x(at, reach), f"{at:+g}" if at else "0") for at in (-reach, -reach / 2, 0.0, reach / 2, reach)]


def _nice(reach: float) -> float:
    """The next of 1, 2, 4, 6, 8, 10 times a power of ten, so that half of it is a short number too."""
    power = 10.0 ** math.floor(math.log10(max(reach, 1e-9)))
    return float(next(step * power for step in (1, 2, 4, 6, 8, 10) if step * power >= reach - 1e-9))


def _ends(found: Mapping[str, float]) -> tuple[float, float, float]:
    return found["estimate"], found["low"], found["high"]


def _bar(name: str, split: str, scored: Mapping[str, Any]) -> Bar:
    score = float(scored["score"])
    low, high = (float(scored[end]) if scored.get(end) is not None else score for end in ("low", "high"))
    low_x, score_x, high_x = (round(value * WIDTH, 1) for value in (low, score, high))
    return Bar(name, split, int(scored["n"]), score, low, high, (low_x, score_x, high_x))
