"""Rollouts: the record of a staged move, and the pure decisions about it; what users say is ratchet/evidence.py."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, model_validator

from ratchet.channels import ChannelState, Holdback, Move
from ratchet.evidence import Alarm, Evidence, UserOutcome, weigh
from ratchet.mirrored import Mirrored
from ratchet.rollout_policy import OUTCOME, RolloutPolicy
from ratchet.shadow import shadow_facts, weigh_shadow

SHADOW = -1  # the step before the first canary step
KIND = "rollout"
LOG_KEPT = 50
HELD = {
    "split": "The users are not split as they should be, so what they show is not to be trusted.",
    "response": "The share of users who say anything changed, so complaints are not to be compared.",
    "length": "The answers' length changed by more than is tolerated.",
}
ASK_A_PERSON = "A person decides (`ratchet rollout promote` or `abort`):"

Action = Literal["hold", "advance", "promote", "rollback"]


class Rollout(BaseModel):
    """The record; `step` is the index of the canary step that traffic is at, SHADOW while requests are only mirrored.

    `channel` is the feature's own, or that of a tenant or segment; one that `inherited` before goes on doing so where
    the candidate is taken back. `holdback` is what the feature's channel is to have with the first step.
    `channel_version` is the move of the channel that the record speaks of; None before the candidate is on trial.
    `after_seq` and `after_feedback_seq` are the last records before the first try of this candidate against this
    champion, which began at `proof_from`: what proves comes after them, what raises an alarm after `started_at`.
    `paused` says by whom.
    """

    model_config = ConfigDict(frozen=True)

    rollout_id: str
    feature: str
    channel: str = ""
    inherited: bool = False
    holdback: Holdback | None = None
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
    proof_from: datetime | None = None
    output_schema: dict[str, Any] | None = None
    paused: str = ""
    evidence: dict[str, Any] = {}
    mirrored: dict[str, Any] = {}
    log: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _name_its_channel(cls, body: Any) -> Any:
        return body if not isinstance(body, dict) or body.get("channel") else {**body, "channel": body.get("feature")}

    @property
    def share(self) -> float:
        """The share of users who get the canary at this step."""
        return self.policy.steps[self.step] if self.step != SHADOW else 0.0

    @property
    def first_step(self) -> int:
        """Where it begins."""
        return 0 if self.policy.shadow is None else SHADOW


class TickDecision(NamedTuple):
    """What a tick should do, why, and on which numbers."""

    action: Action
    reasons: tuple[str, ...]
    evidence: dict[str, Any]


def decide_tick(rollout: Rollout, outcomes: Sequence[UserOutcome]) -> TickDecision:
    """Back, wait, one step on, or stable, from the outcomes of all users of this release so far.

    Back once the joint wealth of the signals has reached 1/alpha, at any moment, and also where the rollout is paused.
    A step on after `min_users` canary users at the present share. Stable only from the last step, and only while the
    lower confidence sequence clears minus the margin: no alarm is not proof. A signal that asks for a person holds.
    """
    policy = rollout.policy
    canary = policy.model_copy(update={"alpha": policy.canary_alpha})
    evidence = weigh(canary, outcomes, alarms_from=rollout.started_at)
    facts = evidence_facts(evidence)
    told = _told(evidence)
    in_step = sum(o.channel == "canary" and o.met_at >= rollout.step_started_at for o in outcomes)
    action, reason = _decide(rollout, evidence, in_step)
    return TickDecision(action, (reason, told), facts)


def decide_shadow(rollout: Rollout, pairs: Sequence[Mirrored], *, now: datetime) -> TickDecision:
    """Back, wait, or on to the canary, from the mirrored requests so far; no user has met the candidate yet.

    Back once the wealth of what is compared has reached 1 / `shadow_alpha`. On with enough answers and no alarm: that
    is no proof, which only users give.
    """
    policy = rollout.policy
    assert policy.shadow is not None
    evidence = weigh_shadow(policy, pairs, now=now)
    facts = shadow_facts(policy, evidence, pairs)
    told = f"{evidence.answers} mirrored answers of {evidence.users} users."
    if (signal := evidence.alarms.get("rollback")) is not None:
        return TickDecision("rollback", (f"Mirrored answers are worse, seen in `{signal}`:", told), facts)
    if rollout.paused:
        reason = f"Paused by {rollout.paused}; `ratchet rollout resume {rollout.feature}` goes on:"
        return TickDecision("hold", (reason, told), facts)
    if (signal := evidence.alarms.get("hold")) is not None:
        return TickDecision("hold", (f"{HELD.get(signal, f'`{signal}` changed.')} {ASK_A_PERSON}", told), facts)
    if (missing := policy.shadow.answers - evidence.answers) > 0:
        return TickDecision("hold", (f"{missing} more mirrored answers are needed:", told), facts)
    return TickDecision("advance", (f"Nothing broke, on to {policy.steps[0]:.0%} of the users:", told), facts)


def _decide(rollout: Rollout, evidence: Evidence, in_step: int) -> tuple[Action, str]:
    policy, share = rollout.policy, f"{rollout.share:.0%}"
    if (back := evidence.alarms.get("rollback")) is not None:
        return "rollback", f"Users on the canary fare worse, seen in {_named(back)} after {back.canary_users} of them:"
    if (waits_for := _person_needed(rollout, evidence)) is not None:
        return "hold", waits_for
    if in_step < policy.min_users:
        return "hold", f"{policy.min_users - in_step} more canary users are needed at {share}:"
    if rollout.step < len(policy.steps) - 1:
        onto = f"{policy.steps[rollout.step + 1]:.0%}"
        return "advance", f"No alarm after {in_step} canary users at {share}, on to {onto}:"
    margin = f"{100 * policy.margin:g} points"
    if evidence.is_proven:
        return "promote", f"Users on the canary fare no worse by {margin} or more:"
    return "hold", f"That users fare no worse by {margin} or more is not proven yet; {_missing(evidence)}:"


def _person_needed(rollout: Rollout, evidence: Evidence) -> str | None:
    if rollout.paused:
        return f"Paused by {rollout.paused}; `ratchet rollout resume {rollout.feature}` goes on:"
    odd = evidence.alarms.get("hold")
    return f"{HELD.get(odd.signal, f'{_named(odd)} changed.')} {ASK_A_PERSON}" if odd is not None else None


def evidence_facts(evidence: Evidence) -> dict[str, Any]:
    """The evidence as the record keeps it and people read it."""
    low, high = evidence.effect()
    facts: dict[str, Any] = {
        "log_wealth": round(evidence.log_wealth("rollback"), 4),
        "log_wealth_needed": round(evidence.needed, 4),
        "users": dict(evidence.users),
        "proof": {name: round(wealth, 4) for name, wealth in evidence.proofs.items()},
        "effect": {"low": low, "high": high},
        "missing_canary_users": evidence.missing(),
        "alarms": {
            action: {"signal": found.signal, "segment": found.segment, "canary_users": found.canary_users}
            for action, found in evidence.alarms.items()
        },
    }
    facts["signals"] = [
        {key: round(value, 4) if isinstance(value, float) else value for key, value in signal.items()}
        for signal in evidence.standing()
    ]
    return facts


def catch_up(rollout: Rollout, state: ChannelState, *, at: datetime, why: str) -> Rollout:
    """The record as the channel has it: pointers move first, so the channel tells how far a rollout has come.

    Args:
        rollout: the record, possibly behind.
        state: the channel now.
        at: when the channel came to this state.
        why: the reason that was given for it; goes into the log.
    """
    changes: dict[str, Any] = {}
    canary, shadow = state.canary, state.shadow
    mine = next((trial for trial in (canary, shadow) if trial and trial.rollout_id == rollout.rollout_id), None)
    if mine is not None:
        step = SHADOW if canary is None else max(bisect_right(rollout.policy.steps, canary.share) - 1, 0)
        changes = {"step": step, "step_started_at": at}
        if rollout.channel_version is None:
            changes |= {"started_at": at, "champion_id": state.stable}
            if state.stable != rollout.champion_id:
                changes["proof_from"] = None  # against another champion nothing was proven yet
    elif state.stable == rollout.candidate_id and not state.inherits:
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
    """What a channel's move was - shadow, canary, promote or rollback - and which release it is about."""
    if after.canary is not None:
        return "canary", after.canary
    if after.shadow is not None:
        return "shadow", after.shadow
    if after.stable == before.canary:
        return "promote", after.stable
    return "rollback", before.canary or before.shadow or before.stable


def _named(alarm: Alarm) -> str:
    return f"`{alarm.signal}`" + (f" of segment {alarm.segment!r}" if alarm.segment else "")


def _told(evidence: Evidence) -> str:
    rates, users = evidence.rates(OUTCOME), evidence.users
    parts = []
    for channel, name in (("canary", "new"), ("stable", "old")):
        rate = rates[channel]
        share = "nobody has said anything yet" if rate is None else f"{100 * (1 - rate):.0f} % without a complaint"
        parts.append(f"{name} {users[channel]} users, {share if users[channel] else 'none judged yet'}")
    return "; ".join(parts) + "."


def _missing(evidence: Evidence) -> str:
    if evidence.rates(OUTCOME)["canary"] is None:
        return "nobody has said anything of an answer, so silence tells nothing"
    missing = evidence.missing()
    if missing is None:
        return "at the present rates it never will be"
    return f"about {max(missing, 1)} more canary users would prove it"
