"""Action: confront what the gate promised with what the rollout measured, for each release that was rolled out.

The two speak of different things: the gate of the scorer's mean per message, the rollout of the share of users who did
not complain. Kept side by side they show, over releases, what a promised point is worth to users.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ratchet.ledger import Ledger
from ratchet.release import ReleaseStore
from ratchet.rollouts import KIND, Rollout
from ratchet.stats import Difference
from ratchet.store import Store
from tasks.report.picture import Kept

EVENT = "realised"


def history_of(store: Store, releases: ReleaseStore, feature: str) -> list[Kept]:
    """The ended rollouts of a feature, oldest first."""
    rollouts = [Rollout.model_validate(d.body) for d in store.documents(KIND, feature)]
    # Of a tenant or segment alone is another question than of all users, and a release has one answer.
    own = [r for r in rollouts if r.channel == feature]
    ended = sorted((r for r in own if r.state != "running"), key=lambda r: (r.started_at, r.rollout_id))
    return [_kept(rollout, releases.attestation(rollout.candidate_id)) for rollout in ended]


def keep(store: Store, ledger: Ledger, releases: ReleaseStore, feature: str) -> list[Kept]:
    """Note promised and realised of each ended rollout in the ledger and in the release's attestation. Repeatable."""
    history = history_of(store, releases, feature)
    for kept in history:
        facts = facts_of(kept)
        if releases.attestation(kept.release_id).get(EVENT) != facts:
            releases.attest(kept.release_id, {EVENT: facts})
        ledger.append_once(EVENT, kept.release_id, feature=feature, **facts)
    return history


def facts_of(kept: Kept) -> dict[str, Any]:
    """An entry as JSON."""
    told = {
        name: None if d is None else d._asdict()
        for name, d in (("promised", kept.promised), ("measured", kept.realised))
    }
    return {"ended": kept.ended, **told, "users": {"candidate": kept.users[0], "champion": kept.users[1]}}


def realised_gain(evidence: Mapping[str, Any]) -> Difference | None:
    """Canary minus stable in the share of users without a complaint; None where a side has no user.

    The interval is the rollout's confidence sequence, which holds whenever one looks.
    """
    of_all = [s for s in evidence.get("signals", ()) if s["signal"] == "complaint" and not s.get("segment")]
    old, new = (of_all[0].get(channel) if of_all else None for channel in ("stable", "canary"))
    if old is None or new is None:
        return None
    low, high = evidence["effect"]["low"], evidence["effect"]["high"]
    gap = round(old - new, 6)  # fewer complaints are better
    return Difference(gap, -1.0 if low is None else low, 1.0 if high is None else high)


def _kept(rollout: Rollout, attestation: Mapping[str, Any]) -> Kept:
    promised = (attestation.get("gate") or {}).get("corrected_difference")
    users = [int(rollout.evidence.get("users", {}).get(channel, 0)) for channel in ("canary", "stable")]
    return Kept(
        release_id=rollout.candidate_id,
        version=attestation.get("version"),
        ended=rollout.state,
        promised=Difference(**promised) if promised else None,
        realised=realised_gain(rollout.evidence),
        users=(users[0], users[1]),
    )
