"""What feedback claims: who says what is right about which answer. Merging the claims is ratchet/examples.py."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from ratchet.errors import BadInput
from ratchet.features import Feature
from ratchet.questions import normalise, question_text
from ratchet.records import Feedback
from ratchet.signals import WEIGHT, Signal

SourceType = Literal["agent", "user", "judge", "system"]

GOOD_RATING, BAD_RATING = 0.75, 0.25
CORRECTION_WEIGHT = {"agent": 1.0, "user": 0.8, "judge": 0.5, "system": 0.5}
CONFIRMED_WEIGHT = {"agent": 1.0, "user": 0.5, "judge": 0.3, "system": 0.3}


@dataclass(frozen=True)
class Claim:
    """What one source says about one answer.

    Attributes:
        user_id: who asked, not who claims.
        text: the question, normalised, so that copies are equal.
        own: the target that the release answered; None where the answer cannot be a target.
        target: what the source says is right; None for "wrong, I do not say what is right".
        is_written: the source wrote the right output, rather than pressed a thumb.
        weight: of an example that rests on this claim alone, 0 to 1, before the source's reliability is known.
        kind: of the feedback, or of the signal.
        is_derived: nobody said it, we concluded it from what the user did next; the source id is then the kind.
        flaw: why what was written cannot be a target; the claim is then "wrong", as `target` says.
    """

    interaction_id: str
    tenant: str
    session_id: str | None
    user_id: str | None
    source_type: SourceType
    source_id: str
    at: datetime
    text: str
    own: str | None
    target: str | None
    is_written: bool
    weight: float
    kind: str = "thumb"
    is_derived: bool = False
    flaw: str | None = None

    @property
    def source(self) -> tuple[str, str]:
        """Who claims it: type and id."""
        return (self.source_type, self.source_id)


BAD_LABEL = "label not in schema"
UNUSABLE = "answer not usable as a target"


def claims_of(
    row: Mapping[str, Any], feedbacks: Sequence[Feedback], feature: Feature, signals: Iterable[Signal] = ()
) -> list[Claim]:
    """What is claimed about one interaction, one claim a source, in an order that does not depend on arrival.

    Of what one source said its last correction counts, or its last thumb where it corrected nothing. A correction that
    cannot be a target still says that the answer is wrong. What says neither right nor wrong (a comment, a middling
    rating, a user who left), and praise of an answer that cannot be a target, is no claim.

    Args:
        row: an interaction with the columns of the stage snapshot.
        feedbacks: all feedback on it.
        feature: its schema says how a target is written.
        signals: what was derived from its session; those of weight 0 are no claim.
    """
    own = target_of(feature, row["output"])
    asked = normalise(question_text(json.loads(row["messages"]), json.loads(row["variables"])))
    found = [
        Claim(
            interaction_id=row["interaction_id"],
            tenant=row["tenant"],
            session_id=row["session_id"],
            user_id=row["user_id"],
            text=asked,
            own=own,
            **said,
        )
        for said in (*(_said(f, feature, own) for f in feedbacks), *(_derived(s, own) for s in signals))
        if said is not None
    ]
    return _last_word_of_each(found)


def target_of(feature: Feature, value: Any) -> str | None:
    """The value as it would be served; None where it cannot be."""
    is_text = feature.output_schema is not None or isinstance(value, str)
    try:
        return feature.wrap_target(value if is_text else json.dumps(value, ensure_ascii=False))
    except (BadInput, TypeError):
        return None


def _said(said: Feedback, feature: Feature, own: str | None) -> dict[str, Any] | None:
    """The fields of a claim that a feedback gives; None where it says nothing about right or wrong."""
    source = said.source.type
    fields: dict[str, Any] = {"source_type": source, "source_id": said.source.id, "at": said.at, "kind": said.kind}
    if said.kind in ("correction", "preference"):
        target = target_of(feature, said.value["chosen"] if said.kind == "preference" else said.value)
        if target is None:
            flaw = BAD_LABEL if feature.output_schema is not None else UNUSABLE
            return fields | {"target": None, "is_written": True, "weight": 0.0, "flaw": flaw}
        weight = CORRECTION_WEIGHT[source] if target != own else CONFIRMED_WEIGHT[source]
        return fields | {"target": target, "is_written": True, "weight": weight}
    is_good = _is_good(said)
    if is_good is None or (is_good and own is None):
        return None
    return fields | {"target": own if is_good else None, "is_written": False, "weight": CONFIRMED_WEIGHT[source]}


def _derived(signal: Signal, own: str | None) -> dict[str, Any] | None:
    weight = WEIGHT[signal.kind] * signal.confidence
    is_good = signal.kind == "accept"
    if weight <= 0 or (is_good and own is None):
        return None
    who = {"source_type": "system", "source_id": signal.kind, "at": signal.at, "kind": signal.kind, "is_derived": True}
    return who | {"target": own if is_good else None, "is_written": False, "weight": weight}


def _is_good(said: Feedback) -> bool | None:
    """Whether a signal calls the answer good; None where it says neither."""
    value = said.value
    if said.kind == "thumb":
        return bool(value)
    if said.kind in ("rating", "accept"):
        return True if value >= GOOD_RATING else False if value <= BAD_RATING and said.kind == "rating" else None
    if said.kind in ("rephrase", "escalation"):
        return False if value else None
    return None


def _last_word_of_each(claims: list[Claim]) -> list[Claim]:
    last: dict[tuple[bool, str, str], Claim] = {}
    for claim in sorted(claims, key=lambda c: (c.is_written, c.at, c.target or "")):
        last[claim.is_derived, *claim.source] = claim
    return [last[source] for source in sorted(last)]
