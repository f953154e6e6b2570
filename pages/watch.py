"""The evidence of a rollout as the next tick would see it, and the course that it took, user by user."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ratchet.evidence import Evidence, UserOutcome
from ratchet.rollout_policy import OUTCOME
from ratchet.rollouts import Rollout, decide_tick

POINTS = 160  # of a course
FRESH_S = 4.0
REST = 10  # so many times as long as a look took it is good for: looking costs a tenth of a core at most

Outcomes = Callable[[Rollout, datetime], Sequence[UserOutcome]]


class Point(NamedTuple):
    """After so many users of both releases: the log wealth of the alarm and of the proof, as shares of their line."""

    users: int
    alarm: float
    proof: float


class Look(NamedTuple):
    """What is known at a time; `reasons` are those of the decision that a tick would make.

    `mirrored` is what the last tick saw of mirrored requests, where the rollout began with those.
    """

    at: datetime
    facts: dict[str, Any]
    reasons: tuple[str, ...]
    course: tuple[Point, ...]
    mirrored: dict[str, Any]


class _Seen(NamedTuple):
    rollout: Rollout
    until: float
    look: Look


class Watch:
    """Looks at rollouts, at most every few seconds however many people watch. Several threads may."""

    def __init__(self, outcomes: Outcomes) -> None:
        """Watch what this tells of the users of a rollout by a time."""
        self._outcomes = outcomes
        self._lock = threading.Lock()
        self._seen: dict[str, _Seen] = {}

    def look(self, rollout: Rollout) -> Look:
        """The evidence of a rollout; of one that is over, what it ended on.

        Who comes while it is being weighed gets what was seen last.
        """
        seen = self._seen.get(rollout.rollout_id)
        if (
            seen is not None
            and seen.rollout == rollout
            and (rollout.state != "running" or time.monotonic() < seen.until)
        ):
            return seen.look
        if not self._lock.acquire(blocking=seen is None):
            assert seen is not None
            return seen.look
        try:
            began = time.monotonic()
            found = look(rollout, self._outcomes, datetime.now(UTC))
            rests = max(FRESH_S, REST * (time.monotonic() - began))
            self._seen[rollout.rollout_id] = _Seen(rollout, time.monotonic() + rests, found)
            return found
        finally:
            self._lock.release()


def look(rollout: Rollout, outcomes: Outcomes, now: datetime) -> Look:
    """The evidence by a time, with its course."""
    mirrored = rollout.mirrored
    last = tuple(line.partition(" ")[2] for line in rollout.log[-1:])  # a line begins with its time
    if rollout.step < 0:  # before the first canary step: no user has met the candidate
        return Look(now, {}, last, course_of(rollout, [], {}), mirrored)
    users = outcomes(rollout, now)
    if rollout.state == "running" and rollout.channel_version is not None:
        decision = decide_tick(rollout, users)
        facts, reasons = decision.evidence, decision.reasons
    else:
        facts, reasons = rollout.evidence, last
        users = users[: sum((facts.get("users") or {}).values())]  # what came later decided nothing
    return Look(now, facts, reasons, course_of(rollout, users, facts), mirrored)


def course_of(rollout: Rollout, users: Sequence[UserOutcome], facts: dict[str, Any]) -> tuple[Point, ...]:
    """How alarm and proof came to stand where they are, in at most `POINTS` points and the last one.

    The error is what the facts were weighed with: a stage before may have spent a part of the policy's.
    """
    needed = facts.get("log_wealth_needed")
    policy = rollout.policy.model_copy(update={"alpha": math.exp(-needed)} if needed else {})
    evidence = Evidence(policy, alarms_from=rollout.started_at)
    every = max(1, len(users) // POINTS)
    points = [Point(0, 0.0, 0.0)]
    for number, user in enumerate(users, 1):
        evidence.add(user)
        if number % every == 0 or number == len(users):
            alarm, proof = evidence.log_wealth("rollback"), evidence.proofs[OUTCOME]
            points.append(Point(number, alarm / evidence.needed, proof / evidence.needed))
    return tuple(points)
