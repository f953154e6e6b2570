"""Where everything stands in the picture over time: requests, bad answers, derived signals, changes of version."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from tasks.try_out.change import Marked
from tasks.try_out.counts import DERIVED, Bucket, Counts
from tasks.try_out.findings import percent

WIDTH = 720  # in the picture's own units
VOLUME, RATE, STRIP, GAP = 64, 92, 30, 40  # heights of its parts, and the room for a title above each
RATE_Y = VOLUME + GAP
LEAST_JUDGED = 5  # with fewer in a stretch chance would set the axis
NICE = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0)
TITLES = {
    "rephrase": "asked again or objected",
    "escalation": "asked for a person",
    "accept": "thanked or accepted",
    "abandon": "gave up",
}
Place = Callable[[datetime], float]


class Bar(NamedTuple):
    """A bar of the picture over time; `title` is what the pointer shows."""

    x: float
    y: float
    width: float
    height: float
    title: str


class Mark(NamedTuple):
    """A share with its interval in the picture over time."""

    x: float
    low: float
    share: float
    high: float
    title: str


class Strip(NamedTuple):
    """The bars of one derived signal."""

    title: str
    y: float
    most: str
    bars: tuple[Bar, ...]


class Picture(NamedTuple):
    """Everything over time, in picture units; `changes` are (x, name) of versions that were first seen then."""

    height: float
    volume: tuple[Bar, ...]
    most: int
    rates: tuple[Mark, ...]
    top: float
    strips: tuple[Strip, ...]
    changes: tuple[tuple[float, str], ...]
    ticks: tuple[tuple[float, str], ...]


def ceiling(shares: Sequence[float]) -> float:
    """The end of an axis on which all shares find room."""
    most = max(shares, default=1.0)
    return next((nice for nice in NICE if most <= nice), 1.0)


def draw(counts: Counts, changes: Sequence[Marked]) -> Picture:
    """The picture of counts with at least one stretch of time."""
    buckets = counts.over_time
    first, last = buckets[0].began_at, buckets[-1].began_at
    span_s = (last - first).total_seconds() + counts.bucket_s
    bar = max(1.0, WIDTH * counts.bucket_s / span_s - 1.5)

    def x(at: datetime) -> float:
        return round(WIDTH * (at - first).total_seconds() / span_s, 1)

    most = max(b.interactions for b in buckets)
    volume = tuple(
        Bar(
            x(b.began_at),
            VOLUME * (1 - b.interactions / most),
            bar,
            VOLUME * b.interactions / most,
            _told(b, "requests"),
        )
        for b in buckets
    )
    judged = [b for b in buckets if b.bad.n]
    top = ceiling([b.bad.share or 0.0 for b in judged if b.bad.n >= LEAST_JUDGED])
    strips = tuple(_strips(buckets, x, bar, RATE_Y + RATE + GAP if judged else RATE_Y))
    floor = strips[-1].y + STRIP if strips else RATE_Y + RATE if judged else VOLUME
    seen = tuple(
        (x(m.change.new.first_at), m.change.new.name)
        for m in changes
        if m.change is not None and m.change.design == "before and after" and m.change.new.first_at is not None
    )
    ticks = ((0.0, f"{first:%d %b %Y}"), (float(WIDTH), f"{last:%d %b %Y}"))
    return Picture(floor + 26, volume, most, tuple(_rate(b, x, bar, top) for b in judged), top, strips, seen, ticks)


def _rate(bucket: Bucket, x: Place, bar: float, top: float) -> Mark:
    share, bounds = bucket.bad.share or 0.0, bucket.bad.interval
    low, middle, high = (RATE_Y + RATE * (1 - min(1.0, y / top)) for y in (bounds.low, share, bounds.high))
    title = f"{_told(bucket, 'requests')}, {bucket.bad.k} of {bucket.bad.n} judged answers bad"
    return Mark(x(bucket.began_at) + bar / 2, low, middle, high, title)


def _strips(buckets: Sequence[Bucket], x: Place, bar: float, y: float) -> Iterator[Strip]:
    for kind in DERIVED:
        shares = [b.derived.get(kind, 0) / b.interactions for b in buckets]
        if not (most := max(shares)):
            continue
        bars = tuple(
            Bar(
                x(b.began_at),
                y + STRIP * (1 - share / most),
                bar,
                STRIP * share / most,
                f"{_told(b, 'requests')}, {b.derived[kind]} {TITLES[kind]}",
            )
            for b, share in zip(buckets, shares, strict=True)
            if share
        )
        yield Strip(TITLES[kind], y, percent(most), bars)
        y += STRIP + GAP


def _told(bucket: Bucket, what: str) -> str:
    return f"{bucket.began_at:%Y-%m-%d %H:%M}: {bucket.interactions:,} {what}"
