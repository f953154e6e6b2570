"""What all promotions of a feature are worth: users who were held back on its first release, against those on stable.

Who is held back is drawn by a salt that outlives rollouts, so the two differ in nothing but what was promoted since.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from ratchet.channels import Channels
from ratchet.evidence import weigh
from ratchet.outcomes import holdback_draw, user_outcomes
from ratchet.pointers import Move
from ratchet.rollout_policy import OUTCOME, RolloutPolicy
from ratchet.store import Store

SIDES = (("stable", "anchor"), ("canary", "stable"))  # in the words of ratchet/evidence.py, and in these


def weigh_promotions(
    store: Store, channels: Channels, feature: str, policy: RolloutPolicy, *, now: datetime
) -> dict[str, Any]:
    """The figure as JSON facts: users who met the release that is stable now, and those held back in the same time.

    `worth` is the confidence sequence of how many more users of stable have nothing to complain of, in shares: each end
    is right whenever one looks, with probability 1 - alpha; None where it is open. `content` are the plain shares.
    `why_not` says why there is no figure.
    """
    state = channels.read(feature)
    told: dict[str, Any] = {"feature": feature, "stable": state.stable, "alpha": policy.alpha}
    if state.holdback is None:
        return told | {"why_not": "no user is held back: `rollout: holdback: 0.01` does, from the next rollout on"}
    since = _stable_since(channels.history(feature))
    told |= {"anchor": state.holdback.release_id, "share": state.holdback.share, "since": since.isoformat()}
    if state.stable == state.holdback.release_id:
        return told | {"why_not": "the first release is stable: nothing was promoted that users could differ in"}
    outcomes = user_outcomes(
        (i for _, i in store.interactions(feature)),
        (f for _, _, f in store.feedback(feature)),
        channel=feature,
        drawn=holdback_draw(state.holdback.release_id, state.stable),
        window=timedelta(seconds=policy.outcome_window_s),
        since=since,
        now=now,
    )
    evidence = weigh(policy, outcomes)
    low, high = evidence.effect()
    rates, users = evidence.rates(OUTCOME), evidence.users
    content = {name: None if (rate := rates[side]) is None else 1 - rate for side, name in SIDES}
    figure = {"users": {name: users[side] for side, name in SIDES}, "content": content}
    return told | figure | {"worth": {"low": low, "high": high}}


def _stable_since(moves: Sequence[Move]) -> datetime:
    """When the release that is stable now came there."""
    last = moves[-1]
    for move in reversed(moves):
        if move.stable != last.stable:
            break
        last = move
    return datetime.fromisoformat(last.at)
