"""The evidence of a rollout as the next tick would see it, and the course that it took, user by user."""

from __future__ import annotations

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
    """What is known at a time; `reasons` are those of the decision that a tick would make."""

    at: datetime
    facts: dict[str, Any]
    reasons: tuple[str, ...]
    course: tuple[Point, ...]


class Watch:
    """Looks at rollouts, at most every few seconds however many people watch. Several threads may."""

    def __init__(self, outcomes: Outcomes) -> None:
        """Watch what this tells of the users of a rollout by a time."""
        self._outcomes = outcomes
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[Rollout, float, Look]] = {}

    def look(self, rollout: Rollout) -> Look:
        """The evidence of a rollout; of one that is over, what it ended on."""
        with self._lock:
            known = self._seen.get(rollout.rollout_id)
            if (
                known is not None
                and known[0] == rollout
                and (rollout.state != "running" or time.monotonic() < known[1])
            ):
                return known[2]
            began = time.monotonic()
            found = look(rollout, self._outcomes, datetime.now(UTC))
            took = time.monotonic() - began
            self._seen[rollout.rollout_id] = (rollout, began + max(FRESH_S, REST * took), found)
            return found


def look(rollout: Rollout, outcomes: Outcomes, now: datetime) -> Look:
    """The evidence by a time, with its course."""
    users = outcomes(rollout, now)
    if rollout.state == "running":
        decision = decide_tick(rollout, users)
        return Look(now, decision.evidence, decision.reasons, course_of(rollout, users))
    counted = sum((rollout.evidence.get("users") or {}).values())  # what came later decided nothing
    reasons = tuple(line.partition(" ")[2] for line in rollout.log[-1:])  # a line begins with its time
    return Look(now, rollout.evidence, reasons, course_of(rollout, users[:counted]))


def course_of(rollout: Rollout, users: Sequence[UserOutcome]) -> tuple[Point, ...]:
    """How alarm and proof came to stand where they are, in at most `POINTS` points and the last one."""
    evidence = Evidence(rollout.policy, alarms_from=rollout.started_at)
    every = max(1, len(users) // POINTS)
    points = [Point(0, 0.0, 0.0)]
    for number, user in enumerate(users, 1):
        evidence.add(user)
        if number % every == 0 or number == len(users):
            alarm, proof = evidence.log_wealth("rollback"), evidence.proofs[OUTCOME]
            points.append(Point(number, alarm / evidence.needed, proof / evidence.needed))
    return tuple(points)
