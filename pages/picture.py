"""The pictures of a rollout's evidence, as geometry: the template draws what is computed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pages.watch import Point
from ratchet.evidence import GRID

WIDTH, HEIGHT = 640.0, 220.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 12.0, 14.0, 26.0
UNITS = ("_ms", "_usd", "length")  # a signal that is called so is a number, and not a share
HIGHEST, LOWEST = 1.2, -1.0  # of the course, in shares of the line
REACH = 100 * float(GRID.max())  # of the effect's axis, in points


class Course(NamedTuple):
    """Two lines from left to right, as `x,y x,y`, and where the line that decides and that of no evidence are."""

    alarm: str
    proof: str
    needed_y: float
    none_y: float
    ends: tuple[float, float, float]  # x of both, y of the alarm, y of the proof
    users: tuple[tuple[float, int], ...]  # ticks of the axis


class Bar(NamedTuple):
    """A signal: how far it is to the line that would decide alone (`share`, 0 to 1), and its rates."""

    name: str
    segment: str
    alarm: str
    share: float
    log_wealth: float
    needed: float
    canary: str
    stable: str


class Effect(NamedTuple):
    """An interval on an axis from -`REACH` to `REACH` points; an end that is open lies at the edge."""

    low_x: float
    high_x: float
    is_open: tuple[bool, bool]
    none_x: float
    margin_x: float
    told: str


def course(points: Sequence[Point]) -> Course | None:
    """The picture of a course; None where nobody's outcome is known."""
    most = points[-1].users
    if most == 0:
        return None
    lowest = max(LOWEST, min(0.0, *(min(p.alarm, p.proof) for p in points)) - 0.05)

    def x(users: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * users / most, 1)

    def y(share: float) -> float:
        bounded = min(max(share, lowest), HIGHEST)
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (HIGHEST - bounded) / (HIGHEST - lowest), 1)

    alarm, proof = (" ".join(f"{x(p.users)},{y(p[i])}" for p in points) for i in (1, 2))
    ends = (x(most), y(points[-1].alarm), y(points[-1].proof))
    return Course(alarm, proof, y(1), y(0), ends, tuple((x(n), n) for n in ticks(most)))


def bars(facts: Mapping[str, Any]) -> list[Bar]:
    """Every signal that is tested, those nearest to their line first; of users, or of mirrored requests."""
    found = []
    for signal in facts.get("signals") or ():
        needed = signal.get("needed_alone", facts.get("needed_log_wealth"))
        share = min(max(signal["log_wealth"] / needed, 0.0), 1.0)
        rates = [signal.get("canary", signal.get("candidate")), signal.get("stable", signal.get("champion"))]
        told = (_rate(signal["signal"], rates, 0), _rate(signal["signal"], rates, 1))
        where = (signal["signal"], signal.get("segment", ""), signal.get("alarm", ""))
        found.append(Bar(*where, share, signal["log_wealth"], needed, *told))
    return sorted(found, key=lambda bar: (-bar.share, bar.segment, bar.name))


def effect(facts: Mapping[str, Any], margin: float) -> Effect:
    """The confidence sequence of the effect, in points of users without a complaint."""
    ends = facts["effect"]
    low, high = (None if ends[end] is None else 100 * float(ends[end]) for end in ("low", "high"))

    def x(points: float) -> float:
        return round(WIDTH * (0.5 + min(max(points / REACH, -1.0), 1.0) / 2), 1)

    told = f"{'at least ' + format(low, '+.0f') if low is not None else 'no lower end yet'}, "
    told += f"at most {high:+.0f} points" if high is not None else "no upper end yet"
    is_open = (low is None, high is None)
    low_x, high_x = x(-REACH if low is None else low), x(REACH if high is None else high)
    return Effect(low_x, high_x, is_open, x(0), x(-100 * margin), told)


def ticks(most: int) -> list[int]:
    """Round numbers from 0, at most six."""
    step = next(s * 10**e for e in range(12) for s in (1, 2, 5) if s * 10**e * 5 >= most)
    return list(range(0, most + 1, step))


def _rate(name: str, rates: Sequence[float | None], at: int) -> str:
    """A mean as people read it: of shares in percent, of numbers with three digits."""
    value = rates[at]
    if value is None:
        return "–"
    if not name.endswith(UNITS) and max(rate or 0.0 for rate in rates) <= 1:
        return f"{100 * value:.1f} %"
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
