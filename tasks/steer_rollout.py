"""A person steers a rollout: pause, resume, abort, promote, start again. Each is in the ledger, with its reason."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ratchet.channels import Channels
from ratchet.errors import BadInput, StaleRecord
from ratchet.features import Feature
from ratchet.ledger import Ledger
from ratchet.release import ReleaseStore
from ratchet.rollouts import KIND, Rollout
from ratchet.store import Store
from tasks.rollout import move_step, read, rollback, running, settle, start


def pause(store: Store, channels: Channels, ledger: Ledger, feature: str, *, by: str, reason: str) -> Rollout:
    """Let no tick make a step on; an alarm still takes the canary back."""
    found = _change(store, channels, running_one(store, feature), {"paused": by})
    ledger.append("rollout paused", found.rollout_id, feature=feature, by=by, reason=reason)
    return found


def resume(store: Store, channels: Channels, ledger: Ledger, feature: str, *, by: str, reason: str) -> Rollout:
    """Let ticks go on; what users said meanwhile counts.

    Raises:
        BadInput: the rollout is not paused.
    """
    rollout = running_one(store, feature)
    if not rollout.paused:
        raise BadInput(f"the rollout of {feature} is not paused")
    found = _change(store, channels, rollout, {"paused": ""})
    ledger.append("rollout resumed", found.rollout_id, feature=feature, by=by, reason=reason)
    return found


def abort(
    store: Store, channels: Channels, ledger: Ledger, feature: str, *, now: datetime, by: str, reason: str
) -> str:
    """End the rollout: everybody gets the champion. Returns its id.

    Raises:
        BadInput: no rollout runs; `ratchet rollback` takes a stable release back.
    """
    running_one(store, feature)
    return rollback(store, channels, ledger, feature, now=now, by=by, reason=reason)


def promote(
    store: Store, channels: Channels, ledger: Ledger, feature: str, *, now: datetime, by: str, reason: str
) -> Rollout:
    """Put the candidate on stable without proof: a person's word against the rule's, and the ledger says so.

    The evidence as it stands goes into the ledger first, so that an override is on record before it takes effect.

    Raises:
        BadInput: no rollout of the feature is on the canary.
        StaleChannel: a tick moved the channel meanwhile; look again.
    """
    rollout = running_one(store, feature)
    found = settle(store, channels, ledger, rollout.rollout_id, now=now)
    if found.rollout.state != "running" or found.rollout.channel_version is None:
        raise BadInput(f"the candidate of {feature} is not on the canary; `ratchet rollout status {feature}`")
    users = found.rollout.evidence.get("users", {})
    facts = {"feature": feature, "rollout": rollout.rollout_id, "canary_users": users.get("canary", 0)}
    proof = found.rollout.evidence.get("proof", {}).get("complaint")
    facts |= {"proof": str(proof), "needed": str(found.rollout.evidence.get("log_wealth_needed"))}
    ledger.append_once("promotion by hand", rollout.candidate_id, **facts, by=by, reason=reason)
    move_step(channels, found, step=len(rollout.policy.steps), now=now, reason=reason, by=by)
    return settle(store, channels, ledger, rollout.rollout_id, now=now).rollout


def start_again(  # noqa: PLR0913 - all of them are facts of the rollout, by keyword
    store: Store,
    channels: Channels,
    ledger: Ledger,
    releases: ReleaseStore,
    *,
    feature: Feature,
    release_id: str,
    now: datetime,
    by: str,
    reason: str,
) -> Rollout:
    """Try an approved release (again) against what is stable now: one taken back, or an older version.

    Raises:
        BadInput: no such release, one of another feature, one that nobody approved, or a rollout runs already.
    """
    known = releases.get(release_id)
    if known.feature != feature.name:
        raise BadInput(f"{release_id} is a release of {known.feature}, not of {feature.name}")
    approved = ledger.entries(event="approve", subject=release_id)
    if not approved and all(move.stable != release_id for move in channels.history(feature.name)):
        raise BadInput(f"{release_id} was neither approved nor live; `ratchet run` and an approval come first")
    if running(store, feature.name):
        raise BadInput(f"a rollout of {feature.name} runs; `ratchet rollout abort {feature.name}` ends it")
    asked = f"by hand {now.isoformat(timespec='seconds')}"
    ledger.append("rollout started by hand", release_id, feature=feature.name, by=by, reason=reason)
    return start(
        store,
        channels,
        ledger,
        feature=feature.name,
        candidate_id=release_id,
        policy=feature.rollout,
        salt=asked,
        now=now,
        approval=asked,
        output_schema=known.output_schema,
    )


def running_one(store: Store, feature: str) -> Rollout:
    """The rollout of a feature that is on the canary, or else the one that waits for it.

    Raises:
        BadInput: none runs.
    """
    found = sorted(running(store, feature), key=lambda r: (r.channel_version is None, r.started_at))
    if not found:
        raise BadInput(f"no rollout of {feature} is running; `ratchet rollout status {feature}` shows the last ones")
    return found[0]


def _change(store: Store, channels: Channels, rollout: Rollout, changes: dict[str, Any]) -> Rollout:
    while True:
        found = read(store, channels, rollout.rollout_id)
        after = found.rollout.model_copy(update=changes)
        try:
            store.change_document(KIND, found.document, after.model_dump(mode="json"))
            return after
        except StaleRecord:
            continue
