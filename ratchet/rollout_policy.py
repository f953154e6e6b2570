"""The `rollout` part of feature.yaml: canary steps, the error of the online test, and what is tested."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ratchet.params import Section

OUTCOME = "complaint"  # what a release must prove before it is stable
SPLIT = "split"
SHADOW_PART = 0.1  # of alpha; what breaks under mirrored requests does not need more
LEAST_HOLDBACK = 0.01


class SignalPolicy(Section):
    """How one signal is tested; every user counts once, with the mean (of numbers the median) over their answers.

    Attributes:
        worse: which change is harm.
        weight: its part of the alarm, beside the other signals'; 0 leaves it out.
        tolerance: the loss that is no harm: points of a share (0.02), for numbers a share of the champion's (0.5 is
            half as much again).
        margin: where set, promotion needs proof that the loss is below it, in the same unit.
        alarm: what an alarm does; `hold` stops every step until a person promotes or aborts.
    """

    worse: Literal["higher", "lower", "either"]
    weight: float = Field(default=1, ge=0)
    tolerance: float = Field(default=0, ge=0)
    margin: float | None = Field(default=None, gt=0)
    alarm: Literal["rollback", "hold"] = "rollback"


SIGNALS: dict[str, SignalPolicy] = {
    OUTCOME: SignalPolicy(worse="higher", weight=20),
    "praise": SignalPolicy(worse="lower"),
    "response": SignalPolicy(worse="either", tolerance=0.1, alarm="hold"),
    SPLIT: SignalPolicy(worse="either", alarm="hold"),
    "error": SignalPolicy(worse="higher"),
    "fallback": SignalPolicy(worse="higher"),
    "refusal": SignalPolicy(worse="higher"),
    "malformed": SignalPolicy(worse="higher"),
    "unsafe": SignalPolicy(worse="higher"),
    "latency_ms": SignalPolicy(worse="higher", tolerance=0.5),
    "length": SignalPolicy(worse="either", tolerance=1, alarm="hold"),
    "cost_usd": SignalPolicy(worse="higher", tolerance=0.5),
    "returned": SignalPolicy(worse="lower", weight=0),  # who comes back is content with a chat, and not with a helpdesk
}


class ShadowPolicy(Section):
    """The stage before the canary: requests are mirrored to the candidate, and no user sees what it says.

    Attributes:
        share: of the requests; each costs as much again as it did.
        answers: how many of users who are judged the canary waits for.
    """

    share: float = Field(default=0.1, gt=0, le=1)
    answers: int = Field(default=200, ge=1)


class RolloutPolicy(Section):
    """Canary steps (shares of users), the error of the online test, and the loss of outcomes that is tolerated.

    Attributes:
        shadow: where set, a rollout begins with this stage.
        holdback: the share of users who stay on the feature's first release, from the next rollout on.
        steps: shares of users; they rise, and end below 1.
        alpha: the probability that a harmless release is rolled back, however long it runs; and that one is promoted
            that loses the margin.
        margin: stable is only a release that provably raises the share of complaints by less.
        outcome_window_s: how long after a user's first answer their outcome is decided.
        min_users: canary users of a step before the next one.
        test_segments: whether complaints are tested in each segment as well.
        signals: by name, what differs from the defaults (`SIGNALS`); one that is not known there needs `worse`.
    """

    shadow: ShadowPolicy | None = None
    holdback: float = Field(default=0, ge=0, le=0.1)
    steps: tuple[float, ...] = (0.2, 0.5)
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    margin: float = Field(default=0.05, ge=0, lt=1)
    outcome_window_s: float = Field(default=86400, ge=0)
    min_users: int = Field(default=20, ge=1)
    test_segments: bool = True
    signals: dict[str, SignalPolicy] = SIGNALS

    @model_validator(mode="before")
    @classmethod
    def _fill_in_signals(cls, value: Any) -> Any:
        given = value.get("signals") if isinstance(value, dict) else None
        if not isinstance(given, dict):
            return value
        known = {name: policy.model_dump() for name, policy in SIGNALS.items()}
        filled = {n: {**known.get(n, {}), **own} if isinstance(own, dict) else own for n, own in given.items()}
        return {**value, "signals": {**SIGNALS, **filled}}

    @property
    def shadow_alpha(self) -> float:
        """The part of alpha that the shadow stage may spend; 0 without one."""
        return SHADOW_PART * self.alpha if self.shadow else 0.0

    @property
    def canary_alpha(self) -> float:
        """What is left of alpha for the canary: one error over all stages."""
        return self.alpha - self.shadow_alpha

    @field_validator("holdback")
    @classmethod
    def _holdback_tells(cls, share: float) -> float:
        if 0 < share < LEAST_HOLDBACK:
            raise ValueError(f"0, or from {LEAST_HOLDBACK} to 0.1: of fewer users nothing is learned")
        return share

    @field_validator("steps")
    @classmethod
    def _steps_rise(cls, steps: tuple[float, ...]) -> tuple[float, ...]:
        if not steps or not all(low < high for low, high in pairwise((0, *steps))) or steps[-1] >= 1:
            raise ValueError("the steps are shares of users that rise between 0 and 1 and end below 1, as [0.2, 0.5]")
        return steps
