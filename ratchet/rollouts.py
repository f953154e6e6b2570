"""Rollouts: the record of a staged move, users' outcomes as its evidence, and the pure decisions about it."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from ratchet.channels import ChannelState, Move
from ratchet.features import RolloutPolicy
from ratchet.records import Feedback, Interaction
from ratchet.stats import bet_log_wealth, differences_missing, highest_log_wealth, wilson_interval

KIND = "rollout"
LOG_KEPT = 50
IMPLICIT = ("rephrase", "escalation", "abandon")


class Rollout(BaseModel):
    """The record; `step` is the index of the canary step that traffic is at.

    `channel_version` is the move of the channel that the record speaks of; None before the candidate is on the canary.
    `after_seq` and `after_feedback_seq` are the store's last records before the rollout; evidence comes after them.
    """

    model_config = ConfigDict(frozen=True)

    rollout_id: str
    feature: str
    champion_id: str
    candidate_id: str
    salt: str
    policy: RolloutPolicy
    started_at: datetime
    step_started_at: datetime
    step: int = 0
    state: Literal["running", "promoted", "rolled_back"] = "running"
    approval: str = ""
    channel_version: int | None = None
    after_seq: int = 0
    after_feedback_seq: int = 0
    evidence: dict[str, Any] = {}
    log: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """The share of users who get the canary at this step."""
        return self.policy.steps[self.step]


class UserOutcome(NamedTuple):
    """One user under a rollout: which release they met first, when that was decided, whether they complained."""

    user_id: str
    channel: str
    at: datetime
    is_good: bool


class TickDecision(NamedTuple):
    """What a tick should do, why, and on which numbers."""

    action: Literal["hold", "advance", "promote", "rollback"]
    reasons: tuple[str, ...]
    evidence: dict[str, Any]


def user_outcomes(
    rollout: Rollout, interactions: Iterable[Interaction], feedbacks: Iterable[Feedback], *, now: datetime
) -> list[UserOutcome]:
    """One outcome per user, ordered by when it was decided.

    The unit is the user, who is what is randomised: answers to one user are not independent. A user belongs to the
    channel of their first answer under this rollout. The outcome is decided once, a window after that answer:
    bad if any feedback up to then says that an answer was wrong, else good - silence counts as no complaint. Feedback
    that comes later changes nothing, so that what was counted stays as it was counted. Fallback answers are left out.
    """
    window = timedelta(seconds=rollout.policy.outcome_window_s)
    first: dict[str, Interaction] = {}
    owner: dict[str, str] = {}
    for interaction in sorted(interactions, key=lambda i: (i.at, i.interaction_id)):
        if interaction.fallback or interaction.at < rollout.started_at or interaction.user_id is None:
            continue
        if interaction.release_id not in (rollout.champion_id, rollout.candidate_id):
            continue
        first.setdefault(interaction.user_id, interaction)
        owner[interaction.interaction_id] = interaction.user_id
    unhappy = {
        user
        for f in feedbacks
        if is_negative(f) and (user := owner.get(f.interaction_id)) is not None and f.at <= first[user].at + window
    }
    outcomes = [
        UserOutcome(user, _channel_of(rollout, met), met.at + window, user not in unhappy)
        for user, met in first.items()
        if met.at + window < now  # a complaint at the very end of the window still counts
    ]
    return sorted(outcomes, key=lambda o: (o.at, o.user_id))


def is_negative(feedback: Feedback) -> bool:
    """Whether a feedback says that the answer was wrong."""
    if feedback.kind in ("thumb", "accept", "rating"):
        return float(feedback.value) < 0.5
    if feedback.kind in IMPLICIT:
        return float(feedback.value) >= 0.5
    return feedback.kind == "correction"


def paired_differences(outcomes: Sequence[UserOutcome]) -> list[float]:
    """Canary minus control: each canary outcome against the mean of the control outcomes since the last pairing.

    A canary outcome waits for a first control outcome. Who is paired with whom depends on the order of the users and
    never on an outcome, which the betting test needs.
    """
    differences: list[float] = []
    waiting: deque[float] = deque()
    block: list[float] = []
    for outcome in outcomes:
        (waiting if outcome.channel == "canary" else block).append(float(outcome.is_good))
        if waiting and block:
            differences.append(waiting.popleft() - sum(block) / len(block))
            block = []
    return differences


def decide_tick(rollout: Rollout, outcomes: Sequence[UserOutcome]) -> TickDecision:
    """Back, wait, one step on, or stable: the betting test both ways on all users of the rollout so far.

    Back once the wealth of "the canary is worse" has reached 1/alpha, at any moment. A step on after `min_users` canary
    users at the present share. Stable only from the last step, and only while the wealth of "the canary is better than
    the champion minus the margin" stands at 1/alpha: no alarm is not proof.
    """
    policy = rollout.policy
    needed = math.log(1 / policy.alpha)
    differences = paired_differences(outcomes)
    shifted = [d + policy.margin for d in differences]
    worse, clear = highest_log_wealth([-d for d in differences]), bet_log_wealth(shifted)
    evidence = _evidence(outcomes, worse=worse, clear=clear, needed=needed, pairs=len(differences))
    in_step = sum(o.channel == "canary" and _met_at(rollout, o) >= rollout.step_started_at for o in outcomes)
    told = _told(evidence)
    if worse >= needed:
        return TickDecision("rollback", ("Users on the canary fare worse:", told), evidence)
    if in_step < policy.min_users:
        missing = f"{policy.min_users - in_step} more canary users are needed at {rollout.share:.0%}:"
        return TickDecision("hold", (missing, told), evidence)
    if rollout.step < len(policy.steps) - 1:
        on = (
            f"No alarm after {in_step} canary users at {rollout.share:.0%}, on to {policy.steps[rollout.step + 1]:.0%}:"
        )
        return TickDecision("advance", (on, told), evidence)
    margin = f"{100 * policy.margin:g} points"
    if clear >= needed:
        return TickDecision("promote", (f"Users on the canary fare no worse by {margin} or more:", told), evidence)
    unproven = f"That users fare no worse by {margin} or more is not proven yet; {_missing(shifted, needed)}:"
    return TickDecision("hold", (unproven, told), evidence)


def catch_up(rollout: Rollout, state: ChannelState, *, at: datetime, why: str) -> Rollout:
    """The record as the channel has it: pointers move first, so the channel tells how far a rollout has come.

    Args:
        rollout: the record, possibly behind.
        state: the channel now.
        at: when the channel came to this state.
        why: the reason that was given for it; goes into the log.
    """
    changes: dict[str, Any] = {}
    if state.canary is not None and state.canary.rollout_id == rollout.rollout_id:
        step = bisect_right(rollout.policy.steps, state.canary.share) - 1
        changes = {"step": max(step, 0), "step_started_at": at}
        if rollout.channel_version is None:
            changes |= {"started_at": at, "champion_id": state.stable}
    elif state.stable == rollout.candidate_id:
        changes = {"state": "promoted"}
    elif rollout.channel_version is not None:
        changes = {"state": "rolled_back"}
    if rollout.state != "running" or not changes or rollout.channel_version == state.version:
        return rollout
    log = (*rollout.log, f"{at.isoformat(timespec='seconds')} {why}")[-LOG_KEPT:]
    return rollout.model_copy(update={**changes, "channel_version": state.version, "log": log})


def earlier_stable(moves: Sequence[Move]) -> str | None:
    """The release to go back to from the present stable one; None where there is none.

    A release that was taken back is never gone back to: going back twice goes two releases back.
    """
    line: list[str] = []
    for move in moves:
        line = line[: line.index(move.stable) + 1] if move.stable in line else [*line, move.stable]
    return line[-2] if len(line) > 1 else None


def event_of(before: Move, after: Move) -> tuple[str, str]:
    """What a channel's move was - canary, promote or rollback - and which release it is about."""
    if after.canary is not None:
        return "canary", after.canary
    if after.stable == before.canary:
        return "promote", after.stable
    return "rollback", before.canary or before.stable


def _channel_of(rollout: Rollout, interaction: Interaction) -> str:
    return "canary" if interaction.release_id == rollout.candidate_id else "stable"


def _met_at(rollout: Rollout, outcome: UserOutcome) -> datetime:
    return outcome.at - timedelta(seconds=rollout.policy.outcome_window_s)


def _evidence(
    outcomes: Sequence[UserOutcome], *, worse: float, clear: float, needed: float, pairs: int
) -> dict[str, Any]:
    evidence: dict[str, Any] = {
        "log_wealth_worse": round(worse, 4),
        "log_wealth_clear": round(clear, 4),
        "log_wealth_needed": round(needed, 4),
        "pairs": pairs,
    }
    for channel in ("stable", "canary"):
        seen = [o for o in outcomes if o.channel == channel]
        good = sum(o.is_good for o in seen)
        low, high = wilson_interval(good, len(seen))
        rate = round(good / len(seen), 4) if seen else None
        found = {"users": len(seen), "good": good, "rate": rate, "low": round(low, 4), "high": round(high, 4)}
        evidence[channel] = found
    return evidence


def _told(evidence: dict[str, Any]) -> str:
    parts = []
    for channel, name in (("canary", "new"), ("stable", "old")):
        found = evidence[channel]
        share = f" ({100 * found['rate']:.0f} %)" if found["users"] else ""
        parts.append(f"{name} {found['good']} of {found['users']} users without a complaint{share}")
    return ", ".join(parts) + "."


def _missing(shifted: Sequence[float], needed: float) -> str:
    missing = differences_missing(shifted, needed)
    if missing is None:
        return "at the present rates it never will be"
    return f"about {max(missing, 1)} more canary users would prove it"
