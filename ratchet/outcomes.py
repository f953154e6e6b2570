"""What users' answers were like: the signals of each answer, and one outcome per user and rollout."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from ratchet.evidence import POOLED, UserOutcome
from ratchet.feedback import GOOD_RATING
from ratchet.records import Feedback, Interaction
from ratchet.scorers.item import Item
from ratchet.scorers.refusal import refuses
from ratchet.scorers.structure import schema_valid

IMPLICIT = ("rephrase", "escalation", "abandon")
COMES_BACK_AFTER = timedelta(minutes=30)

Signals = dict[str, bool | float]


@dataclass
class UserAnswers:
    """The answers of one user while the window is open, from the first one on."""

    user_id: str
    channel: Literal["stable", "canary"]
    met_at: datetime
    chance: float | None = None
    segment: str = POOLED
    answers: int = 0
    _shares: dict[str, list[float]] = field(default_factory=dict)
    _numbers: dict[str, list[float]] = field(default_factory=dict)

    def add(self, signals: Mapping[str, bool | float]) -> None:
        """One more answer: a signal that holds or not becomes a share of the answers, a number a median."""
        self.answers += 1
        for name, value in signals.items():
            into = self._shares if isinstance(value, bool) else self._numbers
            into.setdefault(name, []).append(float(value))

    def outcome(self, at: datetime) -> UserOutcome:
        """What they were like, decided at a time."""
        return UserOutcome(
            user_id=self.user_id,
            channel=self.channel,
            met_at=self.met_at,
            at=at,
            shares={name: sum(values) / len(values) for name, values in self._shares.items()},
            numbers={name: statistics.median(v) for name, v in self._numbers.items() if name not in self._shares},
            chance=self.chance,
            segment=self.segment,
            answers=self.answers,
        )


class Draw(NamedTuple):
    """What chance gave a user: whether the side on trial, and the probability of that; None where nobody logged it."""

    is_canary: bool
    chance: float | None


Drawn = Callable[[Interaction], Draw | None]  # None: an answer on which these two sides were not drawn


def canary_draw(champion_id: str, candidate_id: str) -> Drawn:
    """The draw between a rollout's champion and its candidate, among users who are not held back."""

    def drawn(interaction: Interaction) -> Draw | None:
        release = _drawn_release(interaction)
        if release not in (champion_id, candidate_id) or is_held_back(interaction):
            return None
        is_canary = release == candidate_id
        share = interaction.attributes.get("canary_share")
        if not isinstance(share, int | float):  # nobody is held back, so the propensity is the share or what it leaves
            drawn = interaction.propensity
            share = drawn if drawn is None or is_canary else 1 - drawn
        return None if share == 0 else Draw(is_canary, share)

    return drawn


def holdback_draw(anchor_id: str, stable_id: str) -> Drawn:
    """The draw between the anchor, for who is held back, and stable; `canary` is the side of stable here."""

    def drawn(interaction: Interaction) -> Draw | None:
        share, propensity = interaction.attributes.get("canary_share"), interaction.propensity
        if not isinstance(share, int | float) or propensity is None:
            return None
        is_held = is_held_back(interaction)
        if _drawn_release(interaction) != (anchor_id if is_held else stable_id) or share >= 1:
            return None
        held = propensity if is_held else 1 - propensity / (1 - share)
        stable = (1 - held) * (1 - share)
        return Draw(not is_held, stable / (stable + held))

    return drawn


def is_held_back(interaction: Interaction) -> bool:
    """Whether its user was drawn to stay on the fixed release, also where another one answered in its place."""
    return interaction.attributes.get("assigned_channel", interaction.channel) == "holdback"


def drawn_on(interaction: Interaction) -> str:
    """The name of the channel that drew."""
    whose = interaction.attributes.get("drawn_for")
    tenant = f"@{interaction.tenant}" if whose in ("tenant", "both") else ""
    segment = f"{tenant or '@'}@{interaction.segment}" if whose in ("segment", "both") else tenant
    return interaction.feature + segment


def user_outcomes(
    interactions: Iterable[Interaction],
    feedbacks: Iterable[Feedback],
    *,
    channel: str,
    drawn: Drawn,
    window: timedelta,
    since: datetime,
    now: datetime,
    output_schema: dict[str, Any] | None = None,
) -> list[UserOutcome]:
    """One outcome per user who was drawn for either side on a channel, ordered by when it was decided.

    A user belongs to the side that was drawn for their first answer since `since`, also where another release had to
    answer in its place. The outcome is decided once, a window after that answer: what comes later changes nothing, so
    that what was counted stays as it was counted. Users of whom nothing was drawn (a propensity of 1) are left out.
    """
    first: dict[str, UserAnswers] = {}
    asked: dict[str, list[Interaction]] = defaultdict(list)
    for interaction in sorted(interactions, key=lambda i: (i.at, i.interaction_id)):
        user_id = interaction.user_id
        is_certain = interaction.propensity == 1 or drawn_on(interaction) != channel
        if user_id is None or interaction.at < since or is_certain:
            continue
        if user_id not in first:
            if (draw := drawn(interaction)) is None:
                continue
            first[user_id] = _begin(interaction, user_id, draw)
        if interaction.at <= first[user_id].met_at + window:
            asked[user_id].append(interaction)
    said = _in_window(feedbacks, {i.interaction_id: first[user].met_at + window for user in first for i in asked[user]})
    every = [f for found in said.values() for f in found]
    first_said = min((f.at for f in every), default=now)
    first_praise = min((f.at for f in every if is_positive(f.kind, f.value)), default=now)
    outcomes = []
    for user_id, answers in first.items():
        at = answers.met_at + window
        if at >= now:  # a complaint at the very end of the window still counts
            continue
        returned: Signals = {"returned": _returned(asked[user_id])}
        for i in asked[user_id]:
            heard = [(f.kind, f.value) for f in said[i.interaction_id]]
            told = feedback_signals(heard, is_heard=first_said <= at, is_praised=first_praise <= at)
            answers.add({"fallback": True} if i.fallback else answer_signals(i, output_schema) | told | returned)
        outcomes.append(answers.outcome(at))
    return sorted(outcomes, key=lambda o: (o.at, o.user_id))


def answer_signals(interaction: Interaction, output_schema: dict[str, Any] | None) -> Signals:
    """The signals that a record of an answer holds; what it does not tell is not there."""
    content, attributes = interaction.output.content or "", interaction.attributes
    found: Signals = {
        "error": bool(attributes.get("error")) or interaction.finish_reason == "error",
        "fallback": interaction.fallback,
        "refusal": interaction.finish_reason == "content_filter" or refuses(content),
        "length": float(interaction.usage.output_tokens or len(content)),
    }
    if output_schema is not None:
        fits = schema_valid(Item(messages=(), output=content), schema=output_schema).score
        if fits is not None:
            found["malformed"] = fits == 0
    elif interaction.finish_reason is not None:
        found["malformed"] = interaction.finish_reason == "length"
    if isinstance(attributes.get("unsafe"), bool):
        found["unsafe"] = attributes["unsafe"]
    numbers = {"latency_ms": interaction.latency_ms, "cost_usd": interaction.cost_usd}
    return found | {name: float(value) for name, value in numbers.items() if value is not None}


def feedback_signals(said: Iterable[tuple[str, Any]], *, is_heard: bool, is_praised: bool) -> Signals:
    """Complaint, praise and response of one answer, from the kinds and values of the feedback on it.

    While nobody has said anything of any answer (`is_heard`) silence tells nothing. Where nobody has praised one yet
    (`is_praised`) there may be no way to: whoever says less there may simply have less to complain of.
    """
    said = list(said)
    found: Signals = {"complaint": any(is_negative(*one) for one in said)} if is_heard else {}
    if is_praised:
        found["praise"] = any(is_positive(*one) for one in said)
        found["response"] = any(kind in ("thumb", "rating") for kind, _ in said)
    return found


def is_negative(kind: str, value: Any) -> bool:
    """Whether a feedback says that the answer was wrong."""
    if kind in ("thumb", "accept", "rating"):
        return float(value) < 0.5
    if kind in IMPLICIT:
        return float(value) >= 0.5
    return kind == "correction"


def is_positive(kind: str, value: Any) -> bool:
    """Whether a feedback praises the answer."""
    return kind in ("thumb", "accept", "rating") and float(value) >= GOOD_RATING


def _begin(interaction: Interaction, user_id: str, draw: Draw) -> UserAnswers:
    side: Literal["stable", "canary"] = "canary" if draw.is_canary else "stable"
    return UserAnswers(user_id, side, interaction.at, draw.chance, interaction.segment or POOLED)


def _drawn_release(interaction: Interaction) -> str | None:
    return interaction.attributes.get("assigned_release_id") if interaction.fallback else interaction.release_id


def _in_window(feedbacks: Iterable[Feedback], until: Mapping[str, datetime]) -> defaultdict[str, list[Feedback]]:
    said: defaultdict[str, list[Feedback]] = defaultdict(list)
    for f in feedbacks:
        if f.interaction_id in until and f.at <= until[f.interaction_id]:
            said[f.interaction_id].append(f)
    return said


def _returned(asked: list[Interaction]) -> bool:
    begin = asked[0]
    return any(i.session_id != begin.session_id or i.at - begin.at > COMES_BACK_AFTER for i in asked[1:])
