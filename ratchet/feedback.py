"""The rules by which all feedback on one interaction becomes an example, or a reason why it does not."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Literal

from ratchet.errors import BadInput
from ratchet.features import Feature
from ratchet.files import canonical_json, sha256_text
from ratchet.records import Feedback

REPHRASE_WITHIN = timedelta(minutes=10)
REPHRASE_OVERLAP = 0.5  # shared words of all words of the two turns
GOOD_RATING, BAD_RATING = 0.75, 0.25

RANK = {"agent": 0, "user": 1, "judge": 2, "system": 3}  # whose word counts first
CORRECTION_WEIGHT = {"agent": 1.0, "user": 0.8, "judge": 0.5, "system": 0.5}
CONFIRMED_WEIGHT = {"agent": 1.0, "user": 0.5, "judge": 0.3, "system": 0.3}

NO_CONSENT = "no consent"
FALLBACK = "fallback answer"
NO_FEEDBACK = "no feedback"
NO_VERDICT = "no verdict in the feedback"
DISAGREEMENT = "disagreement"
NEGATIVE = "negative without correction"
REPHRASED = "rephrased without correction"
BAD_LABEL = "label not in schema"
UNUSABLE = "answer not usable as a target"

Origin = Literal["correction", "confirmed", "rephrase"]


@dataclass(frozen=True)
class SetAside:
    """An interaction that teaches nothing, and why."""

    reason: str


@dataclass(frozen=True)
class Example:
    """An interaction with its right output, exactly as it would be served; messages, variables, contexts are JSON."""

    example_id: str
    interaction_id: str
    user_id: str | None
    session_id: str | None
    messages: str
    variables: str
    contexts: str
    target: str
    label: str | None
    origin: Origin
    weight: float
    feedback_at: datetime


@dataclass(frozen=True)
class Claim:
    """What one source says: the right output, or None for "wrong, I do not say what is right"."""

    rank: int
    source: tuple[str, str]
    at: datetime
    target: str | None
    is_written: bool  # the source wrote the right output, rather than pressed a thumb
    weight: float


def resolve(
    row: Mapping[str, Any], feedbacks: Sequence[Feedback], feature: Feature, *, rephrased_at: datetime | None = None
) -> Example | SetAside:
    """Decide what all feedback on one interaction says together.

    An agent's word comes before a user's, and both before a judge's. Where sources of one rank contradict each other
    the interaction is set aside. The order of the feedbacks does not matter.

    Args:
        row: an interaction with the columns of the stage snapshot.
        feedbacks: all feedback on it.
        feature: its schema says how a target is written.
        rephrased_at: when the same person asked the same thing again, if they did: a user's "not good".
    """
    if row["consent"] is False:
        return SetAside(NO_CONSENT)
    if row["fallback"]:
        return SetAside(FALLBACK)
    if not feedbacks and rephrased_at is None:
        return SetAside(NO_FEEDBACK)
    own = _target(feature, row["output"])
    claims: list[Claim] = []
    for said in feedbacks:
        claim = _claim(said, feature, own)
        if isinstance(claim, SetAside):
            return claim
        if claim is not None:
            claims.append(claim)
    claims = _last_word_of_each(claims)
    if rephrased_at is not None:
        claims.append(Claim(RANK["user"], ("user", "rephrase"), rephrased_at, None, False, 0.0))
    if not claims:
        return SetAside(NO_VERDICT)
    deciding = _decide(claims, own, is_rephrased=rephrased_at is not None)
    return deciding if isinstance(deciding, SetAside) else _example(row, feature, deciding, own)


def find_rephrased(rows: Iterable[Mapping[str, Any]]) -> dict[str, datetime]:
    """The interactions whose session goes on, within ten minutes, with nearly the same words; when it does."""
    sessions: dict[tuple[str, str], list[tuple[datetime, str, set[str]]]] = defaultdict(list)
    for row in rows:
        if row["session_id"]:
            turn = (datetime.fromisoformat(row["at"]), row["interaction_id"], _words(row["input_text"]))
            sessions[(row["tenant"], row["session_id"])].append(turn)
    found = {}
    for turns in sessions.values():
        for (at, interaction_id, words), (next_at, _, next_words) in pairwise(sorted(turns, key=lambda t: t[:2])):
            overlap = len(words & next_words) / max(1, len(words | next_words))
            if next_at - at <= REPHRASE_WITHIN and overlap >= REPHRASE_OVERLAP:
                found[interaction_id] = next_at
    return found


def _decide(claims: list[Claim], own: str | None, *, is_rephrased: bool) -> list[Claim] | SetAside:
    """The claims that agree on a target, all of the highest rank that names one."""
    is_denied = False
    for rank in sorted({claim.rank for claim in claims}):
        said = [claim for claim in claims if claim.rank == rank]
        named = {claim.target for claim in said if claim.target is not None}
        is_denied_here = any(claim.target is None for claim in said)
        if len(named) > 1 or (is_denied_here and named == {own} and not is_rephrased):
            return SetAside(DISAGREEMENT)
        is_denied = is_denied or is_denied_here
        if named and not (is_denied and named == {own}):
            return [claim for claim in said if claim.target is not None]
    return SetAside(REPHRASED if is_rephrased else NEGATIVE)


def _claim(said: Feedback, feature: Feature, own: str | None) -> Claim | SetAside | None:
    """What one feedback claims; None where it says nothing about right or wrong."""
    kind, source = said.kind, said.source.type
    if kind in ("correction", "preference"):
        value = said.value["chosen"] if kind == "preference" else said.value
        target = _target(feature, value)
        if target is None:
            return SetAside(BAD_LABEL if feature.output_schema is not None else UNUSABLE)
        weight = CORRECTION_WEIGHT[source] if target != own else CONFIRMED_WEIGHT[source]
        return Claim(RANK[source], (source, said.source.id), said.at, target, True, weight)
    is_good = _is_good(said)
    if is_good is None:
        return None
    if is_good and own is None:
        return SetAside(UNUSABLE)
    weight = CONFIRMED_WEIGHT[source]
    return Claim(RANK[source], (source, said.source.id), said.at, own if is_good else None, False, weight)


def _is_good(said: Feedback) -> bool | None:
    """Whether a signal calls the answer good; None where it says neither."""
    value = said.value
    if said.kind == "thumb":
        return bool(value)
    if said.kind in ("rating", "accept"):
        return True if value >= GOOD_RATING else False if value <= BAD_RATING and said.kind == "rating" else None
    if said.kind in ("rephrase", "escalation"):
        return False if value else None
    return None  # a comment, or a user who left: neither good nor bad


def _last_word_of_each(claims: list[Claim]) -> list[Claim]:
    """One claim per source: its last correction, or its last thumb where it corrected nothing."""
    last: dict[tuple[str, str], Claim] = {}
    for claim in sorted(claims, key=lambda c: (c.is_written, c.at, c.target or "")):
        last[claim.source] = claim
    return list(last.values())


def _example(row: Mapping[str, Any], feature: Feature, deciding: list[Claim], own: str | None) -> Example:
    target = str(deciding[0].target)
    identity = canonical_json([row["interaction_id"], target])
    return Example(
        example_id="ex_" + sha256_text(identity)[:16],
        interaction_id=row["interaction_id"],
        user_id=row["user_id"],
        session_id=row["session_id"],
        messages=row["messages"],
        variables=row["variables"],
        contexts=row["contexts"],
        target=target,
        label=feature.label_of(target),
        origin="confirmed" if target == own else "correction",
        weight=max(claim.weight for claim in deciding),
        feedback_at=max(claim.at for claim in deciding),
    )


def _target(feature: Feature, value: Any) -> str | None:
    """The value as it would be served; None where it cannot be."""
    try:
        return feature.wrap_target(
            value if feature.output_schema is not None or isinstance(value, str) else _text(value)
        )
    except (BadInput, TypeError):
        return None


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))
