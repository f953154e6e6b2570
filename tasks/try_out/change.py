"""What a change of version did to feedback: the share of bad answers before and after, or side by side.

Versions are what the log marks: `release_id`, the attribute `prompt_version`, `model`. The newest version is held
against the one before it, in the order in which they were first seen. Calendar order is no experiment: whatever else
changed at the same time is in the difference too. Versions that served at the same time, drawn at random, are one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np

from ratchet.stats import Difference, Interval, wilson_interval
from tasks.try_out.counts import Rate
from tasks.try_out.log import Log

MARKS = ("release_id", "prompt", "model")
OVERLAP = 0.5  # share of the two versions' requests inside the time that both served: above it, side by side
MOST_VERSIONS = 8
LEAST_SHARE = 0.02  # a version with less of the traffic is listed, not compared
LEAST_JUDGED = 10  # of each of the two versions; with fewer an interval is nearly as wide as all that is possible
LEAST_USERS = 10  # with fewer, how much they differ is not known

Design = Literal["random", "side by side", "before and after"]


@dataclass(frozen=True)
class Version:
    """What one version served, and what was said of it."""

    name: str
    requests: int
    bad: Rate
    first_at: datetime | None
    last_at: datetime | None


@dataclass(frozen=True)
class Change:
    """One version against another; `difference` is new minus old in the share of bad answers, so below 0 is better."""

    old: Version
    new: Version
    design: Design
    difference: Difference
    by_user: int  # users that the interval takes for independent; 0 where the interval takes answers for independent


@dataclass(frozen=True)
class Marked:
    """One way in which the log marks versions, and what can be told from it; `why_not` where nothing can."""

    mark: str
    versions: tuple[Version, ...]
    change: Change | None
    why_not: str | None


def find_changes(log: Log) -> tuple[Marked, ...]:
    """What each mark of a settled log tells; empty where the log marks no versions at all."""
    return tuple(marked for mark in MARKS if (marked := _marked(log, mark)) is not None)


def _marked(log: Log, mark: str) -> Marked | None:
    versions = _versions(log, mark)
    if not versions:
        return None
    total = sum(version.requests for version in versions)
    large = [v for v in versions if v.requests >= LEAST_SHARE * total]
    shown = tuple(sorted(large, key=lambda v: -v.requests)[:MOST_VERSIONS])
    shown = tuple(v for v in large if v in shown)
    if len(large) < 2:
        return Marked(mark, shown, None, "only one version served a noticeable part of the requests")
    if any(v.first_at is None for v in large[-2:]):
        return Marked(mark, shown, None, "the versions have no times, so nobody can tell which came first")
    old, new = large[-2:]
    if min(old.bad.n, new.bad.n) < LEAST_JUDGED:
        told = f"too few answers were judged, {old.bad.n} of {old.name} and {new.bad.n} of {new.name}"
        return Marked(mark, shown, None, told)
    return Marked(mark, shown, _change(log, mark, old, new), None)


def _versions(log: Log, mark: str) -> list[Version]:
    """The versions in the order in which they were first seen."""
    query = """SELECT name, COUNT(*), COALESCE(SUM(verdict = 0), 0), COUNT(verdict), MIN(t), MAX(t)
        FROM version v LEFT JOIN outcome o ON o.id = v.id WHERE mark = ? GROUP BY name ORDER BY MIN(t), name"""
    return [
        Version(name, requests, Rate(bad, judged), _at(first), _at(last))
        for name, requests, bad, judged, first, last in log.rows(query, (mark,))
    ]


def _change(log: Log, mark: str, old: Version, new: Version) -> Change:
    users = _by_user(log, mark, old.name, new.name)
    found = unpaired_interval(old.bad, new.bad)
    is_by_user = len(users) >= LEAST_USERS
    if is_by_user:
        alike = interval_by_user(users)
        found = Difference(found.estimate, min(found.low, alike.low), max(found.high, alike.high))
    return Change(old, new, _design(log, mark, old, new), found, len(users) if is_by_user else 0)


def unpaired_interval(old: Rate, new: Rate) -> Difference:
    """The difference of two independent proportions, new minus old, with its 95 % interval.

    Method 10 of Newcombe (Statistics in Medicine 17, 1998, 873-890), from the two Wilson intervals. Neither is empty.
    """
    (a, b), x, y = (wilson_interval(old.k, old.n), wilson_interval(new.k, new.n)), old.k / old.n, new.k / new.n
    down = float(np.hypot(y - b.low, a.high - x))
    up = float(np.hypot(b.high - y, x - a.low))
    return Difference(y - x, y - x - down, y - x + up)


def _by_user(log: Log, mark: str, old: str, new: str) -> Any:
    """Judged answers per user, as rows (bad of old, all of old, bad of new, all of new); the nameless are one each."""
    query = """SELECT COALESCE(user, v.id) AS u, name, SUM(verdict = 0), COUNT(*) FROM outcome o
        JOIN version v ON v.id = o.id WHERE mark = ? AND name IN (?, ?) GROUP BY u, name"""
    found: dict[str, list[int]] = {}
    for user, version, bad, judged in log.rows(query, (mark, old, new)):
        place = 0 if version == old else 2
        found.setdefault(user, [0, 0, 0, 0])[place : place + 2] = [bad, judged]
    return np.array(list(found.values()), dtype=np.float64)


def interval_by_user(users: Any) -> Interval:
    """The 95 % interval of the difference where users, not answers, are independent.

    The difference of two ratios of sums over users, linearised (Cochran, Sampling Techniques, 1977, section 6.4), with
    Student's t for the number of users. Time and memory are linear in users.

    Args:
        users: shape (n_users, 4), as `_by_user` gives it; more than one user, and both versions have answers.
    """
    from scipy.stats import t

    bad_old, old, bad_new, new = users.T
    shares = bad_old.sum() / old.sum(), bad_new.sum() / new.sum()
    pull = (bad_new - shares[1] * new) / new.sum() - (bad_old - shares[0] * old) / old.sum()
    n = len(users)
    half = float(t.ppf(0.975, n - 1)) * math.sqrt(n / (n - 1) * float((pull**2).sum()))
    return Interval(shares[1] - shares[0] - half, shares[1] - shares[0] + half)


def _design(log: Log, mark: str, old: Version, new: Version) -> Design:
    """Random where the log gives each request a propensity below 1; side by side where both served at the same time."""
    query = """SELECT COUNT(*), COUNT(CASE WHEN propensity < 1 THEN 1 END), SUM(t BETWEEN ? AND ?) FROM version
        WHERE mark = ? AND name IN (?, ?)"""
    assert old.first_at and old.last_at and new.first_at and new.last_at
    shared = (max(old.first_at, new.first_at).timestamp(), min(old.last_at, new.last_at).timestamp())
    requests, drawn, inside = log.row(query, (*shared, mark, old.name, new.name))
    if (inside or 0) < OVERLAP * requests:
        return "before and after"
    return "random" if drawn == requests else "side by side"


def _at(t: float | None) -> datetime | None:
    return None if t is None else datetime.fromtimestamp(t, UTC)
