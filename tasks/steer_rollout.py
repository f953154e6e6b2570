"""A person steers a rollout: pause, resume, abort, promote, start again. Each is in the ledger, with its reason.

`name` is the name of a channel: the feature's, or that of a tenant or segment (`ratchet.channels.channel_name`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ratchet.channels import Channels, parts_of
from ratchet.errors import BadInput, StaleRecord
from ratchet.features import Feature
from ratchet.ledger import Ledger
from ratchet.release import ReleaseStore
from ratchet.rollouts import KIND, SHADOW, Rollout
from ratchet.store import Store
from ratchet.trust import Trust, require_trusted
from tasks.pin import refuse_if_frozen
from tasks.rollout import move_step, read, rollback, running_on, settle, start


def pause(store: Store, channels: Channels, ledger: Ledger, name: str, *, by: str, reason: str) -> Rollout:
    """Let no tick make a step on; an alarm still takes the canary back."""
    found = _change(store, channels, running_one(store, name), {"paused": by})
    ledger.append("rollout paused", found.rollout_id, feature=name, by=by, reason=reason)
    return found


def resume(store: Store, channels: Channels, ledger: Ledger, name: str, *, by: str, reason: str) -> Rollout:
    """Let ticks go on; what users said meanwhile counts.

    Raises:
        BadInput: the rollout is not paused.
    """
    rollout = running_one(store, name)
    if not rollout.paused:
        raise BadInput(f"the rollout of {name} is not paused")
    found = _change(store, channels, rollout, {"paused": ""})
    ledger.append("rollout resumed", found.rollout_id, feature=name, by=by, reason=reason)
    return found


def abort(store: Store, channels: Channels, ledger: Ledger, name: str, *, now: datetime, by: str, reason: str) -> str:
    """End the rollout: everybody gets the champion. Returns its id.

    Raises:
        BadInput: no rollout runs; `ratchet rollback` takes a stable release back.
    """
    running_one(store, name)
    return rollback(store, channels, ledger, name, now=now, by=by, reason=reason)


def promote(
    store: Store, channels: Channels, ledger: Ledger, name: str, *, now: datetime, by: str, reason: str
) -> Rollout:
    """Put the candidate on stable without proof: a person's word against the rule's, and the ledger says so.

    A candidate that is only mirrored so far goes on to the first canary step: nobody has met it yet. The evidence as it
    stands goes into the ledger first, so that an override is on record before it takes effect.

    Raises:
        BadInput: no rollout of the feature is on the canary.
        StaleChannel: a tick moved the channel meanwhile; look again.
    """
    rollout = running_one(store, name)
    found = settle(store, channels, ledger, rollout.rollout_id, now=now)
    if found.rollout.state != "running" or found.rollout.channel_version is None:
        raise BadInput(f"the candidate of {name} is not on the canary; `ratchet rollout status` shows who is")
    users = found.rollout.evidence.get("users", {})
    facts = {"feature": name, "rollout": rollout.rollout_id, "canary_users": users.get("canary", 0)}
    proof = found.rollout.evidence.get("proof", {}).get("complaint")
    facts |= {"proof": str(proof), "needed": str(found.rollout.evidence.get("log_wealth_needed"))}
    ledger.append_once("promotion by hand", rollout.candidate_id, **facts, by=by, reason=reason)
    step = 0 if found.rollout.step == SHADOW else len(rollout.policy.steps)
    move_step(channels, found, step=step, now=now, reason=reason, by=by)
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
    channel: str | None = None,
    trust: Trust | None = None,
) -> Rollout:
    """Try an approved release against what is stable now: a prompt that a person wrote, one taken back, an older one.

    For the whole feature, or for a tenant or segment alone (`channel`).

    Raises:
        BadInput: no such release, one of another feature, one that nobody approved or that the gate did not accept,
            or a rollout runs there already.
        ReleaseUntrusted: a trust file is set and a signature is missing.
        ChannelFrozen: the channel, or the one that it would stand in for, is frozen.
    """
    name = channel or feature.name
    known, facts = releases.get(release_id), releases.attestation(release_id)
    if known.feature != feature.name:
        raise BadInput(f"{release_id} is a release of {known.feature}, not of {feature.name}")
    verdict = (facts.get("gate") or {}).get("verdict")
    was_live = any(move.stable == release_id for move in channels.history(feature.name))
    if not was_live and not ledger.entries(event="approve", subject=release_id):
        raise BadInput(
            f"{release_id} was neither approved nor live; `ratchet run`, or `ratchet release approve` for a prompt "
            "that a person wrote, comes first"
        )
    if not was_live and verdict not in (None, "accept"):
        raise BadInput(f"the gate said {verdict} of {release_id}; nobody's word stands in for it")
    if trust is not None:
        require_trusted(release_id, facts, trust)
    if running_on(store, name):
        raise BadInput(f"a rollout of {name} runs; `ratchet rollout abort` ends it")
    refuse_if_frozen(channels, name)
    asked = f"by hand {now.isoformat(timespec='seconds')}"
    gate = verdict or "not asked"
    ledger.append("rollout started by hand", release_id, feature=name, gate=gate, by=by, reason=reason)
    return start(
        store,
        channels,
        ledger,
        feature=feature.name,
        channel=name,
        candidate_id=release_id,
        policy=feature.rollout,
        salt=asked,
        now=now,
        approval=asked,
        output_schema=feature.output_schema,  # what the callers expect, whatever the release was made with
    )


def running_one(store: Store, name: str) -> Rollout:
    """The rollout of a channel that is on trial, or else the one that waits for it.

    Raises:
        BadInput: none runs.
    """
    found = sorted(running_on(store, name), key=lambda r: (r.channel_version is None, r.started_at))
    if not found:
        feature = parts_of(name)[0]
        raise BadInput(f"no rollout of {name} is running; `ratchet rollout status {feature}` shows the last ones")
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
