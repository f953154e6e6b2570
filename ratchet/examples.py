"""The rules by which all claims about one answer become an example, or a reason why they do not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from ratchet.features import Feature
from ratchet.feedback import UNUSABLE, Claim, target_of
from ratchet.files import canonical_json, sha256_text

NO_VERDICT = "no verdict in the feedback"
DISAGREEMENT = "disagreement"
UNCERTAIN = "source not reliable enough"
NEGATIVE = "negative without correction"
REPHRASED = "rephrased without correction"

RANK = {"agent": 0, "user": 1, "judge": 2, "system": 3}  # whose word counts first
PRIOR = {"agent": 0.98, "user": 0.8, "judge": 0.7, "system": 0.6}  # how often a source of this type is right
Origin = Literal["correction", "confirmed", "accept"]
Reliability = Mapping[tuple[str, str], float]


@dataclass(frozen=True)
class SetAside:
    """An interaction that teaches nothing, and why; `doubt` is how undecided the evidence is, 0 to 1."""

    reason: str
    doubt: float = 0.0


@dataclass(frozen=True)
class Example:
    """An interaction with its right output, exactly as it would be served."""

    example_id: str
    interaction_id: str
    tenant: str
    user_id: str | None
    session_id: str | None
    target: str
    label: str | None
    origin: Origin
    weight: float
    feedback_at: datetime


class Belief(NamedTuple):
    """The most probable right output; None for "another than the one that was served"."""

    target: str | None
    probability: float


def resolve(
    row: Mapping[str, Any],
    claims: Sequence[Claim],
    feature: Feature,
    *,
    reliability: Reliability | None = None,
    min_belief: float = 0.6,
) -> Example | SetAside:
    """Decide what all claims about one answer say together.

    An agent's word comes before a user's, and both before a judge's: the first rank that names a right output decides.
    Inside a rank the output is taken that is right with at least `min_belief`; where none is, the answer is set aside.

    Args:
        row: the ids of an interaction; also its `output` where nothing is claimed.
        claims: `claims_of` it.
        feature: its schema says what the label of a target is.
        reliability: how often each source is right; those that are missing count as their type does (PRIOR).
        min_belief: above 0.5, so that two sources alike that contradict each other decide nothing.
    """
    if not claims:
        return SetAside(UNUSABLE if target_of(feature, row["output"]) is None else NO_VERDICT)
    own = claims[0].own
    is_denied, doubt = False, 0.0
    for said in _by_rank(claims):
        found = believe(said, reliability or {})
        doubt = 1 - found.probability
        deciding = [claim for claim in said if claim.target == found.target]
        if found.probability < min_belief or not deciding:
            return SetAside(_why_undecided(said), doubt)
        if found.target is not None and not (is_denied and found.target == own):
            return _example(row, feature, deciding, reliability or {})
        is_denied = True
    return SetAside(_why_nothing_is_right(claims), doubt)


def believe(claims: Sequence[Claim], reliability: Reliability) -> Belief:
    """The output that is most probably right, given claims about one answer and how reliable their sources are.

    One-coin model of Dawid and Skene (1979), as in Raykar et al. (2010, section 2): a source of reliability r names the
    right value with probability r and each other value alike, and denies what was served rightly with probability r.
    The values are what was named, what was served and "something else", all equally probable beforehand; so a claim
    alone is believed as much as its source is reliable. Worked by hand in tests/ratchet/test_examples.py.
    """
    own = claims[0].own
    values = [*sorted({v for v in (own, *(c.target for c in claims)) if v is not None}), None]
    chances = {value: 1.0 for value in values}
    for claim in claims:
        r = reliability_of(claim, reliability)
        wrong = (1 - r) / (len(values) - 1) if len(values) > 1 else 1.0
        for value in values:
            if claim.target is not None:
                chances[value] *= r if value == claim.target else wrong
            elif own is not None:
                chances[value] *= 1 - r if value == own else r
    best = max(values, key=lambda value: (chances[value], value is not None, value or ""))
    return Belief(best, chances[best] / sum(chances.values()))


def reliability_of(claim: Claim, reliability: Reliability) -> float:
    """How often the source of a claim is right; a derived signal is heard like a user's thumb."""
    if claim.is_derived:
        return PRIOR["user"]
    return reliability.get(claim.source, PRIOR[claim.source_type])


def _by_rank(claims: Sequence[Claim]) -> Iterator[list[Claim]]:
    """The claims by whose word counts first; what we derived from a user's behaviour counts among users."""
    ranks = [RANK["user" if claim.is_derived else claim.source_type] for claim in claims]
    for rank in sorted(set(ranks)):
        yield [claim for claim, its in zip(claims, ranks, strict=True) if its == rank]


def _why_undecided(said: Sequence[Claim]) -> str:
    own = said[0].own
    named = {claim.target for claim in said if claim.target is not None}
    is_denied = any(claim.target is None for claim in said)
    if named <= {own} and _is_rephrased(said):
        return REPHRASED
    return DISAGREEMENT if len(named) > 1 or (is_denied and own in named) else UNCERTAIN


def _why_nothing_is_right(claims: Sequence[Claim]) -> str:
    flaws = sorted({claim.flaw for claim in claims if claim.flaw is not None})
    return flaws[0] if flaws else REPHRASED if _is_rephrased(claims) else NEGATIVE


def _is_rephrased(claims: Sequence[Claim]) -> bool:
    return any(claim.is_derived and claim.kind == "rephrase" for claim in claims)


def _example(row: Mapping[str, Any], feature: Feature, deciding: Sequence[Claim], reliability: Reliability) -> Example:
    target = str(deciding[0].target)
    is_own = target == deciding[0].own
    return Example(
        example_id="ex_" + sha256_text(canonical_json([row["interaction_id"], target]))[:16],
        interaction_id=row["interaction_id"],
        tenant=row["tenant"],
        user_id=row["user_id"],
        session_id=row["session_id"],
        target=target,
        label=feature.label_of(target),
        origin="correction" if not is_own else "accept" if all(c.kind == "accept" for c in deciding) else "confirmed",
        weight=max(weigh(claim, reliability) for claim in deciding),
        feedback_at=max(claim.at for claim in deciding),
    )


def weigh(claim: Claim, reliability: Reliability) -> float:
    """A claim's weight, scaled by how far its source has proven better than chance, against others of its type."""
    if claim.is_derived:
        return claim.weight
    proven = 2 * reliability_of(claim, reliability) - 1
    return min(1.0, claim.weight * max(0.0, proven) / (2 * PRIOR[claim.source_type] - 1))
