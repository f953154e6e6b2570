"""What is there: how much, since when, which signals, what they say together, and how that went over time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ratchet.signals import WEIGHT, Kind
from ratchet.stats import Interval, wilson_interval
from tasks.try_out.log import Log

DERIVED: tuple[Kind, ...] = ("rephrase", "escalation", "accept", "abandon")
BUCKETS_S = {"hour": 3600, "six hours": 21600, "day": 86400, "week": 7 * 86400, "four weeks": 28 * 86400}
MOST_BUCKETS = 42


@dataclass(frozen=True)
class Rate:
    """k of n with its 95 % interval (Wilson)."""

    k: int
    n: int

    @property
    def share(self) -> float | None:
        """k/n; None without any."""
        return self.k / self.n if self.n else None

    @property
    def interval(self) -> Interval:
        """The 95 % interval; 0 to 1 without any."""
        return wilson_interval(self.k, self.n)


@dataclass(frozen=True)
class Size:
    """How much there is. `began_at` and `ended_at` are None where no record has a time."""

    interactions: int
    sessions: int
    in_sessions: int
    users: int
    with_user: int
    features: tuple[str, ...]
    undated: int
    began_at: datetime | None
    ended_at: datetime | None

    @property
    def days(self) -> float | None:
        """The span in days; None where it is less than an hour, which tells no traffic per day."""
        return self.span if self.span is not None and self.span >= 1 / 24 else None

    @property
    def span(self) -> float | None:
        """From the first to the last record, in days; None without times."""
        if self.began_at is None or self.ended_at is None:
            return None
        return (self.ended_at - self.began_at).total_seconds() / 86400


@dataclass(frozen=True)
class Said:
    """Feedback of one kind and source: how much, on how many logged interactions, how many verdicts good and bad."""

    kind: str
    source: str
    count: int
    interactions: int
    good: int
    bad: int


@dataclass(frozen=True)
class Derived:
    """A signal that was derived, and whether it goes with what people said, where they said something."""

    kind: Kind
    count: int
    weight: float
    bad_with: Rate
    bad_without: Rate


@dataclass(frozen=True)
class Bucket:
    """A stretch of time."""

    began_at: datetime
    interactions: int
    bad: Rate
    derived: dict[str, int]


@dataclass(frozen=True)
class Counts:
    """The exact counts over everything that was read."""

    size: Size
    said: tuple[Said, ...]
    orphans: int
    judged: Rate
    found_good: int
    complaining: Rate
    corrected: int
    compared: int
    with_any: int
    derived: tuple[Derived, ...]
    bucket: str | None
    bucket_s: float
    over_time: tuple[Bucket, ...]


def count(log: Log) -> Counts:
    """Count a settled log.

    `judged` is the share of judged answers that somebody found bad; `complaining` that of named users of whose answers
    one was bad: who said nothing is taken to be content, as a rollout does.
    """
    size = _size(log)
    bad, judged = log.row("SELECT COALESCE(SUM(verdict = 0), 0), COUNT(*) FROM outcome")
    told = (
        "SELECT COUNT(DISTINCT f.interaction) FROM feedback f JOIN interaction i ON i.id = f.interaction WHERE kind = ?"
    )
    usable = """SELECT COUNT(*) FROM (SELECT id FROM outcome UNION SELECT interaction FROM signal UNION
        SELECT f.interaction FROM feedback f JOIN interaction i ON i.id = f.interaction WHERE kind != 'comment')"""
    unhappy = """SELECT COUNT(*) FROM (SELECT DISTINCT tenant, user FROM interaction i JOIN outcome o ON o.id = i.id
        WHERE verdict = 0 AND user NOT NULL)"""
    name, width_s = bucket_of(size)
    return Counts(
        size=size,
        said=tuple(_said(log)),
        orphans=log.one("SELECT COUNT(*) FROM feedback WHERE interaction NOT IN (SELECT id FROM interaction)"),
        judged=Rate(bad, judged),
        found_good=log.one("SELECT COUNT(*) FROM outcome WHERE verdict = 2"),
        complaining=Rate(log.one(unhappy), size.users),
        corrected=log.one(told, ("correction",)),
        compared=log.one(told, ("preference",)),
        with_any=log.one(usable),
        derived=tuple(_derived(log, kind) for kind in DERIVED),
        bucket=name,
        bucket_s=width_s,
        over_time=tuple(_over_time(log, size, name, width_s)) if name else (),
    )


def _size(log: Log) -> Size:
    interactions, in_sessions, with_user, dated, first, last = log.row(
        "SELECT COUNT(*), COUNT(session), COUNT(user), COUNT(t), MIN(t), MAX(t) FROM interaction"
    )
    return Size(
        interactions=interactions,
        sessions=log.one(
            "SELECT COUNT(*) FROM (SELECT DISTINCT tenant, session FROM interaction WHERE session NOT NULL)"
        ),
        in_sessions=in_sessions,
        users=log.one("SELECT COUNT(*) FROM (SELECT DISTINCT tenant, user FROM interaction WHERE user NOT NULL)"),
        with_user=with_user,
        features=tuple(name for (name,) in log.rows("SELECT DISTINCT feature FROM interaction ORDER BY 1 LIMIT 50")),
        undated=interactions - dated,
        began_at=_at(first),
        ended_at=_at(last),
    )


def _said(log: Log) -> list[Said]:
    query = """SELECT kind, source, COUNT(*), COUNT(DISTINCT CASE WHEN i.id IS NOT NULL THEN f.interaction END),
        COALESCE(SUM(verdict = 2 AND i.id IS NOT NULL), 0), COALESCE(SUM(verdict = 0 AND i.id IS NOT NULL), 0)
        FROM feedback f LEFT JOIN interaction i ON i.id = f.interaction GROUP BY kind, source
        ORDER BY 3 DESC, 1, 2"""
    return [Said(*row) for row in log.rows(query)]


def _derived(log: Log, kind: Kind) -> Derived:
    """Answers after which nothing could follow are no comparison: only answers inside sessions count."""
    query = """SELECT s.interaction IS NOT NULL, COALESCE(SUM(verdict = 0), 0), COUNT(*)
        FROM outcome o JOIN interaction i ON i.id = o.id AND i.session IS NOT NULL
        LEFT JOIN (SELECT DISTINCT interaction FROM signal WHERE kind = ?) s ON s.interaction = o.id GROUP BY 1"""
    rates = {bool(fired): Rate(bad, judged) for fired, bad, judged in log.rows(query, (kind,))}
    total = log.one("SELECT COUNT(*) FROM signal WHERE kind = ?", (kind,))
    return Derived(kind, total, WEIGHT[kind], rates.get(True, Rate(0, 0)), rates.get(False, Rate(0, 0)))


def bucket_of(size: Size) -> tuple[str | None, float]:
    """The stretches that the span is divided into, by name and in seconds; None where there is no span to divide."""
    if size.days is None:
        return None, 0.0
    span_s = size.days * 86400
    for name, seconds in BUCKETS_S.items():
        if span_s / seconds <= MOST_BUCKETS:
            return name, float(seconds)
    return f"{span_s / MOST_BUCKETS / 86400:.0f} days", span_s / MOST_BUCKETS


def _over_time(log: Log, size: Size, name: str, width_s: float) -> Iterator[Bucket]:
    assert size.began_at is not None
    start = size.began_at.timestamp()
    start -= start % BUCKETS_S.get(name, 86400)
    query = """SELECT CAST((t - ?) / ? AS INT), COUNT(*), COUNT(o.id), COALESCE(SUM(o.verdict = 0), 0)
        FROM interaction i LEFT JOIN outcome o ON o.id = i.id WHERE t IS NOT NULL GROUP BY 1 ORDER BY 1"""
    marked = """SELECT CAST((i.t - ?) / ? AS INT), s.kind, COUNT(*) FROM signal s JOIN interaction i
        ON i.id = s.interaction GROUP BY 1, 2"""
    derived: dict[int, dict[str, int]] = {}
    for place, kind, found in log.rows(marked, (start, width_s)):
        derived.setdefault(place, {})[kind] = found
    for place, asked, judged, bad in log.rows(query, (start, width_s)):
        at = datetime.fromtimestamp(start + place * width_s, UTC)
        yield Bucket(at, asked, Rate(bad, judged), derived.get(place, {}))


def _at(t: Any) -> datetime | None:
    return None if t is None else datetime.fromtimestamp(t, UTC)
