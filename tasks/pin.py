"""Actions on channels that are no rollout: pin a tenant or segment to a release, let it go, freeze, unfreeze.

The pointer moves first, then the ledger is told, as in tasks/rollout.py; either may be repeated after a crash.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from ratchet.channels import Channels, ChannelState, Freeze, channel_names, feature_of, parts_of
from ratchet.errors import BadInput, ChannelFrozen, StaleChannel
from ratchet.ledger import Ledger
from ratchet.release import ReleaseStore
from ratchet.trust import Trust, require_trusted


def pin(  # noqa: PLR0913 - who, where, what, when and why are all facts of the move
    channels: Channels,
    releases: ReleaseStore,
    ledger: Ledger,
    name: str,
    release_id: str,
    *,
    trust: Trust | None,
    now: datetime,
    by: str,
    reason: str,
) -> ChannelState:
    """Have the channel of a tenant or segment serve a release, whatever the feature's rollouts do.

    Raises:
        BadInput: it is a feature's own channel, or the release is another feature's, or was never approved.
        ReleaseUntrusted: a trust file is set and a signature is missing.
        ChannelFrozen: the channel, or the one that it would stand in for, is frozen.
    """
    if "@" not in name:
        raise BadInput(f"{name} is moved by rollouts; a pin needs a tenant or a segment")
    if releases.get(release_id).feature != feature_of(name):
        raise BadInput(f"{release_id[:16]} is a release of another feature than {feature_of(name)}")
    facts = releases.attestation(release_id)
    if trust is not None:
        require_trusted(release_id, facts, trust)
    elif not facts.get("version"):
        raise BadInput(f"{release_id[:16]} was never approved, so nothing may serve it")
    refuse_if_frozen(channels, name)

    def move(state: ChannelState) -> ChannelState:
        if (state.stable, state.inherits, state.canary) == (release_id, False, None):
            return state
        version = state.version
        return channels.move(
            name, stable=release_id, canary=None, expected_version=version, at=now, by=by, reason=reason
        )

    channels.begin(name, release_id, at=now, by=by, reason=reason)
    return _note(ledger, "pin", name, _moved(channels, name, move), by=by, reason=reason)


def unpin(channels: Channels, ledger: Ledger, name: str, *, now: datetime, by: str, reason: str) -> ChannelState:
    """Let a pinned channel go: the next wider one serves from now on. Its history stays.

    Raises:
        ReleaseNotFound: it was never pinned.
        ChannelFrozen: it is frozen.
    """
    if "@" not in name:
        raise BadInput(f"{name} is a feature's own channel: there is nothing wider that could serve")

    def move(state: ChannelState) -> ChannelState:
        if state.inherits:
            return state
        stable, version = state.stable, state.version
        return channels.move(
            name,
            stable=stable,
            canary=None,
            expected_version=version,
            at=now,
            by=by,
            reason=reason,
            inherits=True,
        )

    return _note(ledger, "unpin", name, _moved(channels, name, move), by=by, reason=reason)


def freeze(
    channels: Channels, ledger: Ledger, names: list[str], *, now: datetime, by: str, reason: str, thaw: bool = False
) -> None:
    """Stop every move of some channels but the way back; `thaw` lets them go on."""
    for name in names:
        frozen = None if thaw else Freeze(by=by, reason=reason, at=now.isoformat())
        while True:
            try:
                channels.freeze(name, frozen)
                break
            except StaleChannel:  # on S3: it was moved meanwhile
                continue
        ledger.append("unfreeze" if thaw else "freeze", name, by=by, reason=reason)


def channels_of(channels: Channels, feature: str | None) -> list[str]:
    """A feature's own channel and all that are set for its tenants and segments; of every feature without one.

    Raises:
        BadInput: there are none.
    """
    found = [name for name in channels.names() if feature in (None, feature_of(name))]
    if not found:
        raise BadInput(f"{feature or 'no feature'} has no channel yet")
    return found


def _moved(channels: Channels, name: str, move: Callable[[ChannelState], ChannelState]) -> ChannelState:
    while True:
        try:
            return move(channels.read(name))
        except ChannelFrozen:
            raise
        except StaleChannel:
            continue


def _note(ledger: Ledger, event: str, name: str, state: ChannelState, *, by: str, reason: str) -> ChannelState:
    facts = {"feature": name, "channel_version": state.version, "stable": state.stable, "canary": None}
    ledger.append_once(event, state.stable, **facts, by=by, reason=reason)
    return state


def refuse_if_frozen(channels: Channels, name: str) -> None:
    """Raise ChannelFrozen where a channel is frozen, or one that it would stand in for."""
    known = set(channels.names())
    for wider in channel_names(*parts_of(name)):
        if wider in known and (frozen := channels.read(wider).frozen) is not None:
            raise ChannelFrozen(f"channel {wider} is frozen by {frozen.by} at {frozen.at}: {frozen.reason}")
