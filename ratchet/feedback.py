"""Rules: how all the feedback on one answer becomes an example, or the reason why it does not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from ratchet.errors import BadInput
from ratchet.features import Feature
from ratchet.records import Feedback

REPHRASED_WITHIN = timedelta(minutes=10)
REPHRASED_OVERLAP = 0.6
WEIGHTS = {"agent correction": 1.0, "user correction": 0.5, "agent thumb": 0.7, "user thumb": 0.4}
Origin = Literal["correction", "confirmed"]


class Answered(NamedTuple):
    """What the rules need to know of an interaction."""

    interaction_id: str
    session_id: str | None
    at: datetime
    text: str
    output: str | None
    is_fallback: bool
    consent: bool | None


class Resolved(NamedTuple):
    """The right output, where it comes from, and how much it weighs."""

    target: str
    label: str | None
    origin: Origin
    weight: float


class SetAside(NamedTuple):
    """Why an interaction becomes no example."""

    reason: str


def resolve(
    answered: Answered, feedbacks: Sequence[Feedback], feature: Feature, *, was_rephrased: bool
) -> Resolved | SetAside:
    """Make an example of an answer and its feedback.

    An agent's correction beats a user's, corrections beat thumbs, an agent's thumb beats a user's. Sources of one rank
    that disagree set the answer aside. A right answer is confirmed by thumbs; a question asked again right after says
    that it was not right, unless an agent says otherwise.
    """
    if answered.is_fallback:
        return SetAside("fallback answer")
    if answered.consent is False:
        return SetAside("no consent")
    for source in ("agent", "user"):
        given = [f for f in feedbacks if f.kind == "correction" and f.source.type == source]
        if given:
            return _corrected(given, feature, WEIGHTS[f"{source} correction"])
    thumbs = [f for f in feedbacks if f.kind == "thumb"]
    ranked = [f for f in thumbs if f.source.type == "agent"] or [f for f in thumbs if f.source.type == "user"]
    if not ranked:
        return SetAside("asked again" if was_rephrased else "no feedback")
    if len({f.value for f in ranked}) > 1:
        return SetAside("disagreement")
    source = ranked[0].source.type
    if ranked[0].value is False:
        return SetAside("negative without correction")
    if was_rephrased and source == "user":
        return SetAside("asked again")
    return _confirmed(answered, feature, WEIGHTS[f"{source} thumb"])


def find_rephrased(answers: Sequence[Answered]) -> set[str]:
    """The interactions whose question the same session asked again, in much the same words, within ten minutes."""
    sessions: dict[str, list[Answered]] = {}
    for answered in answers:
        if answered.session_id is not None:
            sessions.setdefault(answered.session_id, []).append(answered)
    found = set()
    for turns in sessions.values():
        turns.sort(key=lambda a: (a.at, a.interaction_id))
        for former, latter in zip(turns, turns[1:], strict=False):
            if latter.at - former.at <= REPHRASED_WITHIN and overlap(former.text, latter.text) >= REPHRASED_OVERLAP:
                found.add(former.interaction_id)
    return found


def overlap(a: str, b: str) -> float:
    """The Jaccard index of two texts' words; 0 for two texts without words."""
    left, right = set(re.findall(r"\w+", a.casefold())), set(re.findall(r"\w+", b.casefold()))
    return len(left & right) / len(left | right) if left | right else 0.0


def _corrected(given: Sequence[Feedback], feature: Feature, weight: float) -> Resolved | SetAside:
    try:
        targets = {feature.wrap_target(f.value) for f in given}
    except BadInput:
        return SetAside("label not in the schema" if feature.output_schema else "correction is no text")
    if len(targets) > 1:
        return SetAside("disagreement")
    target = targets.pop()
    return Resolved(target, feature.label_of(target), "correction", weight)


def _confirmed(answered: Answered, feature: Feature, weight: float) -> Resolved | SetAside:
    try:
        target = feature.wrap_target(answered.output)
    except BadInput:
        return SetAside("confirmed answer does not fit the schema")
    return Resolved(target, feature.label_of(target), "confirmed", weight)
