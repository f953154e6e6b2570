"""Which claims are set aside before feedback is merged, so that no group of strangers moves what a release learns.

Who attacks: anyone who may talk to the application and press its thumbs, alone or with many accounts; they see the
answers, and may know every rule here. What they want: answers wrong (flips), one route's cases on another desk
(a targeted flip), or a word that calls a wrong answer (a backdoor). What bounds them: a receipt is needed, so that each
account speaks of its own questions only (taking a confirmation away harms nobody else: thumbs down are not looked at
here); agents outrank users on the same answer and cannot be set aside here, they disagree in the review queue instead.
An agent's account in an attacker's hands is beyond this module: holdout and gate are what stands then.

Two kinds of defence:

1. Detection (`groups`). What agents said is the evidence (`evidence`): a claim is *contradicted* where its target fits
   its text worse than all but a few of the agents' own claims of that target do. One contradicted claim is nothing: an
   honest user errs, and says new things. A group is set aside when more of it is contradicted than honest error
   explains: copies from many accounts, a burst, what shares a word, the claims of one source, on one target, of all.
2. Bounds (`bounds`), which hold against those who know the rules: of what a target is learned from, written claims of
   strangers are at most a share, and one speaker is at most a share of all strangers' claims. (What one user, one
   conversation and one tenant may be of the training set is bounded in tasks/balance.py.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ratchet.feedback import Claim
from ratchet.params import PoisonParams
from tasks.poison.bounds import over_bounds
from tasks.poison.evidence import weigh
from tasks.poison.groups import (
    Found,
    Judged,
    find_against_trusted,
    find_bursts,
    find_copies,
    find_crowds,
    find_triggers,
)

COLLUSION, BURST, TRIGGER, AGAINST_TRUSTED = "collusion", "burst", "trigger", "against trusted sources"
CROWD, BOUNDS = "crowd against trusted sources", "bounds"

DETECTORS: dict[str, Callable[[Judged, PoisonParams], Found]] = {  # the first that finds a claim names the reason
    COLLUSION: find_copies,
    BURST: find_bursts,
    TRIGGER: find_triggers,
    AGAINST_TRUSTED: find_against_trusted,
}
ALL = (*DETECTORS, CROWD, BOUNDS)


def find_suspects(claims: Sequence[Claim], params: PoisonParams, *, defences: Sequence[str] = ALL) -> dict[int, str]:
    """The positions in `claims` that are set aside, with the reason; never an agent's.

    Pure, and the same whatever the order of the claims. Time and memory are near-linear in their number.

    Args:
        defences: of ALL, those to use; a benchmark leaves some out.
    """
    order = sorted(range(len(claims)), key=lambda i: _identity(claims[i]))
    ordered = [claims[i] for i in order]
    reasons: dict[int, str] = {}
    judged = Judged(ordered, weigh(ordered, params), params)
    for name, find in DETECTORS.items():
        if name in defences:
            for i in find(judged, params):
                reasons.setdefault(i, name)
    if CROWD in defences:
        reasons |= dict.fromkeys(find_crowds(judged, params, aside=reasons.keys()), CROWD)
    if BOUNDS in defences:
        reasons |= over_bounds(judged, params, aside=reasons.keys())
    return {order[i]: reason for i, reason in sorted(reasons.items(), key=lambda found: order[found[0]])}


def _identity(claim: Claim) -> tuple[str, ...]:
    return (
        claim.interaction_id,
        claim.tenant,
        claim.source_type,
        claim.source_id,
        claim.at.isoformat(),
        claim.target or "",
        str(claim.is_written),
    )
