"""The verdict in three sentences for whoever owns the product: what was found, how sure that is, what happens next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ratchet.features import Feature
from tasks.wording import percent, points

HEADLINES = {
    "accept": "Better: the candidate may go live",
    "reject": "Worse: the candidate stays out",
    "inconclusive": "Not proven: nothing changes",
}
SEALED_HEADLINE = "Not shown to be better: the candidate stays out"
UNSAFE_HEADLINE = "Not shown to be as safe: the candidate stays out"
ADVISORY_HEADLINE = "Better, by a look that nobody counted: nothing goes live"
SHARES = ("label_accuracy", "exact_match")  # scorers whose mean is the share of right answers
OBJECTIVES = {"cost": "tokens", "latency": "time"}


class Sentences(NamedTuple):
    """What stands on top of the report."""

    found: str
    sure: str
    following: str


class Budget(NamedTuple):
    """The error that a holdout's looks may make together: spent so far, and left for all looks to come."""

    looks: int
    spent: float
    left: float
    told: str


def headline(gate: Mapping[str, Any]) -> str:
    """A line that says it all."""
    if gate["verdict"] == "reject" and _unsafe(gate):
        return UNSAFE_HEADLINE
    if gate["sealed"] and gate["verdict"] == "reject":
        return SEALED_HEADLINE
    if gate["advisory"] and gate["verdict"] == "accept":
        return ADVISORY_HEADLINE
    return HEADLINES[gate["verdict"]]


def sentences(gate: Mapping[str, Any], feature: Feature, *, has_worse: bool = False) -> Sentences:
    """The verdict in three sentences; a sealed one tells no number of the holdout.

    Args:
        has_worse: whether something was shown to have got worse that the verdict did not weigh.
    """
    if gate.get("undecidable"):
        return Sentences("Nothing could be decided.", gate["reasons"][0], "What is live stays live.")
    if gate["sealed"]:
        found = "The candidate was not shown to be better than what is live, so nothing changes for users."
        if unsafe := _unsafe(gate):
            found = f"The candidate was not shown to be as safe, so nothing changes for users: {', '.join(unsafe)}."
        return Sentences(
            found,
            "How it scored stays sealed: whoever sees the scores could tune the next candidate to these very messages.",
            f"What is live stays live; the next candidate may be held against the same messages. {budget(gate).told}",
        )
    found = _compared(gate)
    if gate["verdict"] == "accept":
        return Sentences(found, _gain(gate), _after_accept(gate, feature, has_worse=has_worse))
    sure = _why_rejected(gate) if gate["verdict"] == "reject" else _why_open(gate)
    return Sentences(
        found, sure, "What is live stays live." + (" Nobody counted this look." if gate["advisory"] else "")
    )


def budget(gate: Mapping[str, Any]) -> Budget:
    """What is left of the holdout: look k may spend alpha / 2^k, so after it alpha / 2^k is left for all others."""
    alpha, looks = gate["alpha"], gate["looks"]
    if gate["advisory"]:
        return Budget(looks, 0.0, alpha, "Nobody counted this look, so nothing was spent.")
    if gate["verdict"] == "accept":
        return Budget(looks, alpha, 0.0, "With the accept the scores are out, so this holdout retires.")
    left = gate["alpha_spent"]
    told = f"Of {percent(alpha)} error in all, {percent(left)} is left; the next look may spend {percent(left / 2)}."
    return Budget(looks, alpha - left, left, told)


def _unsafe(gate: Mapping[str, Any]) -> list[str]:
    """The safety guards that do not hold; a sealed look tells them, as they say nothing of the holdout."""
    return [name for name, found in (gate.get("safety") or {}).items() if found["at"] != "fine"]


def _compared(gate: Mapping[str, Any]) -> str:
    objective, n = gate.get("objective", "quality"), gate["n"]
    if objective != "quality":
        saved = 100 * gate["difference"]["estimate"]
        less = f"{abs(saved):.1f} % {'less' if saved >= 0 else 'more'} {OBJECTIVES[objective]}"
        return f"On {n} messages kept aside, the candidate needs {less} per answer than what is live now."
    old, new = (gate["paired_means"][role] for role in ("champion", "candidate"))
    if gate["scorer"] in SHARES:
        told = f"is right on {100 * new:.1f} % and what is live now on {100 * old:.1f} %"
    else:
        told = f"scores {new:.3f} and what is live now {old:.3f} ({gate['scorer']}, 1 is best)"
    return f"On {n} messages kept aside, the candidate {told}."


def _gain(gate: Mapping[str, Any]) -> str:
    chance = f"A candidate that is no better would pass this look with {percent(gate['alpha_spent'])} chance at most"
    fair = gate.get("corrected_difference")
    if fair is None:
        return f"{chance}."
    unit = "points" if gate.get("objective", "quality") == "quality" else "percent"
    seen, expected = points(gate["difference"]["estimate"]), points(fair["estimate"])
    if seen == expected:
        return f"{chance}; so clear a gain is hardly due to its having been picked, so expect {expected} {unit}."
    return f"{chance}; as it was picked for looking good, expect {expected} {unit} rather than {seen}."


def _after_accept(gate: Mapping[str, Any], feature: Feature, *, has_worse: bool) -> str:
    if gate["advisory"]:
        return "Nobody counted how often these messages were looked at, so this is advice: it lets nothing go live."
    steps = ", then ".join(percent(step) for step in feature.rollout.steps)
    told = f"Once a person approves, {steps} of the users get it; where they fare worse it is taken back by itself."
    return f"Something else got worse beyond chance: read below before you decide. {told}" if has_worse else told


def _why_rejected(gate: Mapping[str, Any]) -> str:
    guards = {**(gate.get("guards") or {}), **(gate.get("safety") or {})}
    worse = [name for name, found in guards.items() if found.get("p_worse", 1.0) <= gate["alpha"]]
    if gate["p_worse"] <= gate["alpha"]:
        return "Chance alone does not explain that: it is worse."
    if worse:
        return f"It is worse by more than is allowed in what may not get worse: {', '.join(worse)}."
    return "Against the anchor, the fixed first release, it has lost more than is allowed."


def _why_open(gate: Mapping[str, Any]) -> str:
    if gate["p_value"] > gate["alpha_spent"]:
        return "So small a difference can be chance on so few messages."
    return "It may be better, but that something else got worse by more than is allowed is not ruled out."
