"""The evidence of a shadow stage: the candidate against the champion on the same requests, user by user.

Both releases answer every request, so nothing is drawn, and each user is held against themselves: of each signal the
user's y is the mean, over their requests, of 1 where the candidate did better, 0 where it did worse and 1/2 where there
was no difference (of signals that hold or not, in proportion). Under no harm its mean is 1/2 at least, whoever the user
is and whatever came before, so wealth that bets on less is a fair game (Waudby-Smith & Ramdas, JRSS-B 86(1), 2024), and
reaches 1/alpha with probability alpha at most, however often one looks. Numbers are compared by sign beyond what is
tolerated: no tail is too heavy. A user is judged once, as in ratchet/evidence.py.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np

from ratchet.betting import Expectation, Floats, Wealths
from ratchet.mirrored import Mirrored
from ratchet.rollout_policy import RolloutPolicy, SignalPolicy

SHADOWED = ("error", "refusal", "malformed", "unsafe", "latency_ms", "length", "cost_usd")  # what needs no user's word
WINDOW = timedelta(minutes=10)  # over which the requests of a user are taken together
NO_DIFFERENCE = 0.5


class _Test(NamedTuple):
    """That the candidate is worse in a signal: in its direction `is_rising` (of a number, that it grew)."""

    signal: str
    is_rising: bool
    capital: float


class ShadowEvidence(NamedTuple):
    """What mirrored requests say so far.

    Attributes:
        alarms: by what they ask for (`rollback`, `hold`), the signal that raised the alarm.
        log_wealths: by signal, now.
        means: by signal, the means of (champion, candidate) over the answers that count.
        answers: of users who are judged.
        users: who are judged.
        waiting: answers of users who are not yet.
        same: the share of answers that say the same to the letter; None where none could be compared.
    """

    alarms: dict[str, str]
    log_wealths: dict[str, float]
    means: dict[str, tuple[float, float]]
    answers: int
    users: int
    waiting: int
    same: float | None


def weigh_shadow(policy: RolloutPolicy, pairs: Sequence[Mirrored], *, now: datetime) -> ShadowEvidence:
    """The evidence at a time; users come in the order in which they are judged, a window after their first request."""
    window = min(WINDOW, timedelta(seconds=policy.outcome_window_s))
    by_user: dict[str, list[Mirrored]] = defaultdict(list)
    for pair in sorted(pairs, key=lambda p: (p.at, p.mirror_id)):
        found = by_user[pair.user_id]
        if not found or pair.at <= found[0].at + window:
            found.append(pair)
    judged = [found for found in by_user.values() if found[0].at + window < now]
    counted = [pair for found in judged for pair in found]
    tests = _tests_of(policy)
    alarms, wealths = _play(policy, tests, judged)
    same = [pair.is_same for pair in counted if pair.is_same is not None]
    return ShadowEvidence(
        alarms=alarms,
        log_wealths=wealths,
        means=_means(policy, counted),
        answers=len(counted),
        users=len(judged),
        waiting=sum(len(found) for found in by_user.values()) - len(counted),
        same=sum(same) / len(same) if same else None,
    )


def shadow_facts(policy: RolloutPolicy, evidence: ShadowEvidence, pairs: Iterable[Mirrored]) -> dict[str, Any]:
    """The evidence as the record keeps it, with what all mirrored requests cost so far."""
    pairs = list(pairs)
    return {
        "answers": evidence.answers,
        "users": evidence.users,
        "waiting": evidence.waiting,
        "same": evidence.same,
        "needed_log_wealth": round(needed(policy), 4),
        "alarms": evidence.alarms,
        "signals": [
            {
                "signal": name,
                "log_wealth": round(wealth, 4),
                **dict(zip(("champion", "candidate"), evidence.means.get(name, (None, None)), strict=True)),
            }
            for name, wealth in evidence.log_wealths.items()
            if name in evidence.means
        ],
        "input_tokens": sum(p.usage.input_tokens for p in pairs),
        "output_tokens": sum(p.usage.output_tokens for p in pairs),
        "cost_usd": round(sum(p.cost_usd or 0.0 for p in pairs), 6),
    }


def needed(policy: RolloutPolicy) -> float:
    """The log wealth of an alarm of this stage."""
    return math.log(1 / policy.shadow_alpha)


def _play(
    policy: RolloutPolicy, tests: Sequence[_Test], judged: Iterable[Sequence[Mirrored]]
) -> tuple[dict[str, str], dict[str, float]]:
    wealths, spread = Wealths(), Expectation(len(tests))
    wealths.add([-1.0] * len(tests), [_shift(policy.signals[t.signal], t) for t in tests])
    log_capital = np.log([t.capital for t in tests])
    asks = [policy.signals[t.signal].alarm for t in tests]
    alarms: dict[str, str] = {}
    for of_user in judged:
        y = np.array([_mean(_score(policy.signals[t.signal], t, pair) for pair in of_user) for t in tests])
        # Against itself: the candidate with certainty, and what is expected of it is no difference.
        wealths.play(y, is_canary=1.0, p=0.0, mean=np.full(len(tests), NO_DIFFERENCE), variance=spread.variance)
        spread.learn(y)
        logs = log_capital + wealths.logs
        for action in set(asks) - set(alarms):
            mine = [row for row, asked in enumerate(asks) if asked == action]
            if np.logaddexp.reduce(logs[mine]) >= needed(policy):
                alarms[action] = tests[max(mine, key=lambda row: logs[row])].signal
    return alarms, _by_signal(tests, log_capital + wealths.logs)


def _by_signal(tests: Sequence[_Test], logs: Floats) -> dict[str, float]:
    found: dict[str, float] = {}
    for test, log in zip(tests, logs, strict=True):
        found[test.signal] = float(np.logaddexp(found.get(test.signal, -math.inf), log))
    return found


def _tests_of(policy: RolloutPolicy) -> list[_Test]:
    asked = {n: s for n in SHADOWED if (s := policy.signals.get(n)) is not None and s.weight > 0}
    total = sum(s.weight for s in asked.values())
    directions = {"higher": (True,), "lower": (False,), "either": (True, False)}
    return [
        _Test(name, is_rising, signal.weight / total / len(directions[signal.worse]))
        for name, signal in asked.items()
        for is_rising in directions[signal.worse]
    ]


def _shift(signal: SignalPolicy, test: _Test) -> float:
    """How far below no difference y may lie without harm; of a number the tolerance is in the comparison."""
    return 0.0 if test.signal in ("latency_ms", "length", "cost_usd") else -signal.tolerance / 2


def _score(signal: SignalPolicy, test: _Test, pair: Mirrored) -> float | None:
    """1 where the candidate did better, 0 where worse, 1/2 where the same; None where either tells nothing."""
    old, new = pair.champion.get(test.signal), pair.candidate.get(test.signal)
    if old is None or new is None:
        return None
    if not test.is_rising:
        old, new = new, old
    if isinstance(old, bool):
        return (1 + old - new) / 2
    allowed = old * (1 + signal.tolerance)
    return NO_DIFFERENCE if new == allowed else float(new < allowed)


def _mean(scores: Iterable[float | None]) -> float:
    there = [score for score in scores if score is not None]
    return sum(there) / len(there) if there else math.nan


def _means(policy: RolloutPolicy, pairs: Sequence[Mirrored]) -> dict[str, tuple[float, float]]:
    found: dict[str, tuple[float, float]] = {}
    for name in SHADOWED:
        both = [(p.champion[name], p.candidate[name]) for p in pairs if name in p.champion and name in p.candidate]
        if both and name in policy.signals:
            found[name] = (sum(old for old, _ in both) / len(both), sum(new for _, new in both) / len(both))
    return found
