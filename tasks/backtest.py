"""The rule of a rollout over recorded traffic: what it would have decided, and when. Rows in order of time, streamed.

{"at": "2026-01-02T10:00:00Z", "user_id": "u1", "channel": "canary", "segment": "de", "propensity": 0.2,
 "signals": {"thumb": true, "error": false, "latency_ms": 812}}        (segment and propensity may be missing)
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from ratchet.errors import BadInput, SettingsInvalid
from ratchet.evidence import POOLED, Alarm, Evidence, UserOutcome
from ratchet.outcomes import Signals, UserAnswers, feedback_signals
from ratchet.params import explain
from ratchet.records import Rejected, check_value, read_jsonl
from ratchet.rollout_policy import SIGNALS, RolloutPolicy
from ratchet.rollouts import evidence_facts

FEEDBACK = ("thumb", "rating", "correction", "accept", "rephrase", "escalation", "abandon")
NUMBERS = ("latency_ms", "length", "cost_usd")
LISTED = 20
MOST_LATE = 0.05


class Row(BaseModel):
    """One recorded answer; `propensity` is the probability of the channel that it came from."""

    model_config = ConfigDict(frozen=True)

    at: AwareDatetime
    user_id: str = Field(min_length=1)
    channel: Literal["stable", "canary"]
    segment: str | None = None
    propensity: float | None = Field(default=None, gt=0, le=1)
    signals: dict[str, Any] = {}


@dataclass
class Rows:
    """What became of the rows and the users."""

    read: int = 0
    used: int = 0
    late: int = 0
    after_window: int = 0
    not_drawn: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    first_rejected: list[str] = field(default_factory=list)
    bad_signals: Counter[str] = field(default_factory=Counter)
    untested: Counter[str] = field(default_factory=Counter)
    on_both_channels: set[str] = field(default_factory=set)
    ended_early: int = 0


class Backtest(NamedTuple):
    """The verdict, the moment, and on what."""

    verdict: Literal["promote", "rollback", "undecided"]
    at: datetime | None
    alarm: Alarm | None
    evidence: Evidence
    rows: Rows

    def facts(self) -> dict[str, Any]:
        """As the command prints it; `outcomes` are the canary users whose outcome was decided by then."""
        rows = self.rows
        counts = {name: getattr(rows, name) for name in ("read", "used", "late", "after_window", "not_drawn")}
        return {
            "verdict": self.verdict,
            "at": self.at.isoformat() if self.at else None,
            "outcomes": self.evidence.users["canary"],
            "signal": self.alarm.signal if self.alarm else "complaint" if self.verdict == "promote" else None,
            "segment": self.alarm.segment or None if self.alarm else None,
            "held_by": self.evidence.alarms["hold"].signal if "hold" in self.evidence.alarms else None,
            "evidence": evidence_facts(self.evidence),
            "rows": counts | {"rejected": sum(rows.rejected.values())},
            "rejected": dict(rows.rejected),
            "first_rejected": rows.first_rejected,
            "bad_signals": dict(rows.bad_signals),
            "untested_signals": dict(rows.untested),
            "users_on_both_channels": len(rows.on_both_channels),
            "users_with_a_shorter_window": rows.ended_early,
        }


class _User(NamedTuple):
    answers: UserAnswers
    rows: list[tuple[list[tuple[str, Any]], Signals]]


def read_policy(path: Path) -> RolloutPolicy:
    """The `rollout` part of a feature.yaml, or of any YAML file that has one.

    Raises:
        SettingsInvalid: a key is unknown or its value not allowed.
    """
    try:
        document = yaml.safe_load(path.read_bytes())
        return RolloutPolicy.model_validate((document or {}).get("rollout") or {})
    except (OSError, yaml.YAMLError, AttributeError) as error:
        raise SettingsInvalid(f"{path} cannot be read as YAML with a `rollout` part") from error
    except ValidationError as error:
        raise SettingsInvalid(explain(path, error)) from error


def backtest(path: Path, policy: RolloutPolicy, on_progress: Callable[[int], None] = lambda _: None) -> Backtest:
    """Read rows until the rule decides, or to the end.

    Memory: the users whose window is open, and the ids of all. A row that cannot be used is counted with its reason.

    Raises:
        BadInput: no such file, no usable row, or rows that are not in order of time.
    """
    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    rows, evidence = Rows(), Evidence(policy)
    last: datetime | None = None
    for outcome in _outcomes(path, policy, rows, on_progress):
        evidence.add(outcome)
        last = outcome.at
        if (alarm := evidence.alarms.get("rollback")) is not None:
            return Backtest("rollback", last, alarm, evidence, rows)
        enough = evidence.users["canary"] >= policy.min_users * len(policy.steps)
        if enough and "hold" not in evidence.alarms and evidence.is_proven:
            return Backtest("promote", last, None, evidence, rows)
    if not rows.used:
        why = f"; the first: {rows.first_rejected[0]}" if rows.first_rejected else ""
        raise BadInput(f"{path} holds no row that could be used{why}")
    if rows.late > MOST_LATE * rows.read:
        raise BadInput(f"{path}: {rows.late} of {rows.read} rows come too late; sort the file by `at` first")
    return Backtest("undecided", last, None, evidence, rows)


def _outcomes(
    path: Path, policy: RolloutPolicy, rows: Rows, on_progress: Callable[[int], None]
) -> Iterator[UserOutcome]:
    """The users in the order in which their windows close."""
    window = timedelta(seconds=policy.outcome_window_s)
    users: dict[str, _User | None] = {}  # None: decided
    closing: list[tuple[datetime, str]] = []
    clock: datetime | None = None
    heard = {"is_heard": False, "is_praised": False}
    for row in _rows(path, policy, rows, on_progress):
        clock = row.at if clock is None else max(clock, row.at)
        while closing and closing[0][0] < clock:
            at, user_id = heapq.heappop(closing)
            yield _decided(users, user_id, at, heard)
        if row.user_id not in users:
            if row.at + window < clock:
                rows.late += 1
                continue
            users[row.user_id] = _User(_begin(row), [])
            heapq.heappush(closing, (row.at + window, row.user_id))
        user = users[row.user_id]
        if user is None or row.at > user.answers.met_at + window or row.at < user.answers.met_at:
            rows.after_window += 1
            continue
        if row.channel != user.answers.channel:
            rows.on_both_channels.add(row.user_id)
        said, signals = _split(row, policy, rows)
        heard["is_heard"] |= bool(said) or "complaint" in signals
        heard["is_praised"] |= feedback_signals(said, is_heard=True, is_praised=True)["praise"] is True
        user.rows.append((said, signals))
        rows.used += 1
    rows.ended_early = len(closing)
    for at, user_id in sorted(closing):
        yield _decided(users, user_id, min(at, clock or at), heard)


def _rows(path: Path, policy: RolloutPolicy, rows: Rows, on_progress: Callable[[int], None]) -> Iterator[Row]:
    """The usable rows; those that are not are counted."""
    for where, found in read_jsonl(path):
        rows.read += 1
        if rows.read % 1000 == 0:
            on_progress(rows.read)
        row = found if isinstance(found, Rejected) else _parse(found, where)
        if isinstance(row, Rejected):
            rows.rejected[row.reason] += 1
            if len(rows.first_rejected) < LISTED:
                rows.first_rejected.append(f"{where}: {row.reason}")
        elif row.propensity == 1:
            rows.not_drawn += 1
        else:
            yield row
    on_progress(rows.read)


def _parse(found: dict[str, Any], where: str) -> Row | Rejected:
    try:
        return Row.model_validate(found)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        return Rejected(where, f"{'.'.join(str(part) for part in problem['loc'][:1])}: {problem['msg']}")


def _begin(row: Row) -> UserAnswers:
    drawn = row.propensity
    chance = drawn if drawn is None or row.channel == "canary" else 1 - drawn
    return UserAnswers(row.user_id, row.channel, row.at, chance, row.segment or POOLED)


def _split(row: Row, policy: RolloutPolicy, rows: Rows) -> tuple[list[tuple[str, Any]], Signals]:
    """A row's feedback and its other signals; null is missing, and what cannot be read is counted."""
    said: list[tuple[str, Any]] = []
    signals: Signals = {}
    for name, given in row.signals.items():
        value = bool(given) if given in (0, 1) and name not in (*NUMBERS, "rating") and _is_share(name) else given
        if value is None:
            continue
        if name in FEEDBACK:
            try:
                check_value(name, value)
                said.append((name, value))
            except ValueError:
                rows.bad_signals[name] += 1
        elif name not in policy.signals:
            rows.untested[name] += 1
        elif isinstance(value, bool):
            signals[name] = value
        elif isinstance(value, (int, float)) and math.isfinite(value):
            signals[name] = float(value)
        else:
            rows.bad_signals[name] += 1
    return said, signals


def _is_share(name: str) -> bool:
    return name in FEEDBACK or name in SIGNALS


def _decided(users: dict[str, _User | None], user_id: str, at: datetime, heard: dict[str, bool]) -> UserOutcome:
    user = users[user_id]
    assert user is not None
    for said, signals in user.rows:
        user.answers.add(feedback_signals(said, **heard) | signals)
    users[user_id] = None
    return user.answers.outcome(at)
