"""Channels: which release serves - one pointer by feature, and by tenant and segment where one is set.

A channel goes by its name: `feature`, `feature@tenant`, `feature@@segment` or `feature@tenant@segment`. A request is
served by the most specific that exists (`channel_names`); every pointer is moved by compare-and-swap.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ratchet.buckets import open_bucket
from ratchet.errors import BadInput, ChannelFrozen, ReleaseCorrupt, ReleaseNotFound, StaleChannel
from ratchet.pointers import BucketPointers, Change, FolderPointers, Move, Pointers
from ratchet.settings import Settings

__all__ = [
    "Assignment",
    "Canary",
    "ChannelState",
    "Channels",
    "Freeze",
    "Holdback",
    "Move",
    "Shadow",
    "assign",
    "channel_names",
]

LONGEST_REASON = 300
PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")  # a tenant or segment that may be part of a file's name
NAME = re.compile(rf"[a-z][a-z0-9_]{{0,40}}(@{PART.pattern}|(@{PART.pattern}|@)@{PART.pattern})?")


class Canary(BaseModel):
    """The release on trial: for which share of users, and by which salt they are chosen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    release_id: str
    share: float = Field(gt=0, lt=1)
    salt: str
    rollout_id: str


class Shadow(BaseModel):
    """The release that a share of the requests is mirrored to, which no user sees."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    release_id: str
    share: float = Field(gt=0, le=1)
    rollout_id: str


class Holdback(BaseModel):
    """The fixed release that a share of the users stays on; the salt outlives rollouts, so it is always the same users.

    A share of 0 holds nobody back.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    release_id: str
    share: float = Field(ge=0, lt=1)
    salt: str


class Freeze(BaseModel):
    """Who stopped a channel's moves, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: str
    reason: str
    at: str


class ChannelState(BaseModel):
    """What a channel serves. `version` counts the moves; where it `inherits`, the next wider one serves instead."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stable: str
    canary: Canary | None = None
    shadow: Shadow | None = None
    holdback: Holdback | None = None
    version: int = 0
    inherits: bool = False
    frozen: Freeze | None = None


class Assignment(NamedTuple):
    """What a user is given, and with which probability users are given it.

    `canary_share`: of the users who are not held back, where some are, as the propensity alone does not tell it then.
    `drawn_for`: whose channel drew, where it is not the feature's own. `shadow`: where the request is mirrored to.
    """

    channel: str
    release_id: str
    propensity: float
    canary_share: float | None = None
    drawn_for: Literal["tenant", "segment", "both"] | None = None
    shadow: Shadow | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """What a record must keep of the draw beside release, channel and propensity."""
        told = {"canary_share": self.canary_share, "drawn_for": self.drawn_for}
        return {name: value for name, value in told.items() if value is not None}


class Channels:
    """The channels of one folder, or of one prefix on S3."""

    def __init__(self, where: Path | Pointers) -> None:
        """A folder is made on the first move."""
        self._pointers: Pointers = FolderPointers(where) if isinstance(where, Path) else where
        if isinstance(self._pointers, FolderPointers):
            self.folder, self.path = self._pointers.folder, self._pointers.path

    @classmethod
    def of(cls, settings: Settings) -> Channels:
        """The channels of this machine, or of the S3 that RATCHET_STORE names."""
        if settings.store_uri is None:
            return cls(settings.channels_dir)
        return cls(BucketPointers(open_bucket(settings.store_uri, settings).below("channels")))

    def names(self) -> list[str]:
        """Every channel, by name."""
        return self._pointers.names()

    def features(self) -> list[str]:
        """The features that have a stable release, sorted."""
        return [name for name in self.names() if "@" not in name]

    def read(self, name: str) -> ChannelState:
        """What a channel serves now.

        Raises:
            ReleaseNotFound: it has no release yet.
            ReleaseCorrupt: the pointer is damaged.
        """
        return _parse(name, self._pointers.read(_checked(name)))

    def resolve(self, feature: str, tenant: str | None = None, segment: str | None = None) -> tuple[str, ChannelState]:
        """The channel that serves a tenant and segment, and what it serves.

        Raises:
            ReleaseNotFound: the feature has no release yet.
        """
        for name in channel_names(feature, tenant, segment)[:-1]:
            text = self._pointers.read(name)
            if text is not None and not (state := _parse(name, text)).inherits:
                return name, state
        return feature, self.read(feature)

    def begin(
        self, name: str, release_id: str, *, at: datetime, by: str, reason: str, inherits: bool = False
    ) -> ChannelState:
        """Put a first release on stable; a channel that serves one already is left as it is."""
        with self._pointers.changing(_checked(name)) as change:
            if change.before is not None:
                return _parse(name, change.before)
            first = ChannelState(stable=release_id, version=1, inherits=inherits)
            return _write(change, first, at=at, by=by, reason=reason)

    def move(  # noqa: PLR0913 - where, what, when, who and why are all facts of the move
        self,
        name: str,
        *,
        stable: str,
        canary: Canary | None,
        expected_version: int,
        at: datetime,
        by: str,
        reason: str,
        inherits: bool = False,
        shadow: Shadow | None = None,
        holdback: Holdback | None = None,
    ) -> ChannelState:
        """Move the pointer if nobody did since `expected_version`; a `holdback` that is not named stays as it is.

        Raises:
            StaleChannel: somebody did; read it again and decide again.
            ChannelFrozen: it is frozen, and this is not the way back.
        """
        with self._pointers.changing(_checked(name)) as change:
            before = _parse(name, change.before)
            if before.version != expected_version:
                raise StaleChannel(f"channel of {name} is at version {before.version}, not {expected_version}")
            fields = {"stable": stable, "canary": canary, "version": before.version + 1, "inherits": inherits}
            held = {} if holdback is None else {"holdback": holdback if holdback.share else None}
            after = before.model_copy(update={**fields, "shadow": shadow, **held})
            if before.frozen is not None and not self._goes_back(name, before, after):
                told = f"by {before.frozen.by} at {before.frozen.at}: {before.frozen.reason}"
                raise ChannelFrozen(
                    f"channel {name} is frozen {told}. Only the way back is open; `ratchet channel unfreeze`"
                )
            return _write(change, after, at=at, by=by, reason=reason)

    def freeze(self, name: str, freeze: Freeze | None) -> ChannelState:
        """Stop every move but the way back; None lets them go on. It is no move itself, so the version stays.

        Raises:
            StaleChannel: on S3, where another process moved it meanwhile.
        """
        with self._pointers.changing(_checked(name)) as change:
            after = _parse(name, change.before).model_copy(update={"frozen": freeze})
            change.write(after.model_dump_json(), None)
            return after

    def history(self, name: str) -> list[Move]:
        """The moves of a channel that took place, oldest first."""
        moves = {move.version: move for move in self._pointers.moves(_checked(name))}
        now = self.read(name).version
        return [moves[version] for version in sorted(moves) if version <= now]

    def _goes_back(self, name: str, before: ChannelState, after: ChannelState) -> bool:
        """Whether a move takes something back: the canary off, or a release that was stable before."""
        if after.canary is not None or after.shadow is not None:
            return False
        if after.inherits != before.inherits and not (after.inherits and (before.canary or before.shadow)):
            return False
        was_on_trial = before.canary is not None and after.stable == before.canary.release_id
        former = {move.stable for move in self._pointers.moves(name) if move.version <= before.version}
        return not was_on_trial and after.stable in former


def channel_name(feature: str, tenant: str | None = None, segment: str | None = None) -> str:
    """The name of the channel of a feature's tenant and segment.

    Raises:
        BadInput: a tenant or segment that cannot be part of a file's name.
    """
    for part in (tenant, segment):
        if part is not None and not PART.fullmatch(part):
            raise BadInput(f"{part[:80]!r} is no channel's: letters, digits, '_', '.' and '-', 64 at most")
    return _checked(_name(feature, tenant, segment))


def channel_names(feature: str, tenant: str | None = None, segment: str | None = None) -> list[str]:
    """The channels that may serve a request, the most specific first, the feature's own last.

    A tenant or segment that no channel can be named after has none.
    """
    tenants = [tenant, None] if tenant and PART.fullmatch(tenant) else [None]
    segments = [segment, None] if segment and PART.fullmatch(segment) else [None]
    both = [(t, s) for t in tenants for s in segments]  # a promise to a tenant binds more than a kind of question
    return [_name(feature, t, s) for t, s in both]


def feature_of(name: str) -> str:
    """The feature of a channel."""
    return name.partition("@")[0]


def tenant_of(name: str) -> str | None:
    """The tenant that a channel is for; None where it is for all."""
    return [*name.split("@"), ""][1] or None


def assign(state: ChannelState, user_id: str, *, takes_trials: bool = True) -> Assignment:
    """Give a user the canary, the stable or the held back release: the same one while salts and shares stand.

    A larger share keeps everyone who had the canary: the user's place on the line from 0 to 1 does not move. Who is
    held back meets no canary. Whose tenant takes no trials (`takes_trials`) always gets stable.
    """
    canary, held = state.canary, state.holdback
    if not takes_trials or (canary is None and held is None):
        return Assignment("stable", state.stable, 1.0, shadow=state.shadow if takes_trials else None)
    if held is not None and _place(held.salt, user_id) < held.share:
        return Assignment("holdback", held.release_id, held.share, canary.share if canary else 0.0)
    share, rest = canary.share if canary else 0.0, 1 - held.share if held else 1.0
    told = None if held is None else share
    if canary is not None and _place(canary.salt, user_id) < share:
        return Assignment("canary", canary.release_id, rest * share, told)
    return Assignment("stable", state.stable, rest * (1 - share), told, shadow=state.shadow)


def drawn_for(name: str) -> Literal["tenant", "segment", "both"] | None:
    """Whose channel it is; None for a feature's own. A record keeps this: whose exactly stands in it anyhow."""
    _, tenant, segment = parts_of(name)
    if tenant and segment:
        return "both"
    return "tenant" if tenant else "segment" if segment else None


def parts_of(name: str) -> tuple[str, str | None, str | None]:
    """Feature, tenant and segment of a channel; None for who it is not about."""
    feature, tenant, segment = (*name.split("@"), "", "")[:3]
    return feature, tenant or None, segment or None


def _place(salt: str, user_id: str) -> float:
    """Where a user stands on the line from 0 to 1."""
    digest = hashlib.sha256(f"{salt}\n{user_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _name(feature: str, tenant: str | None, segment: str | None) -> str:
    if segment:
        return f"{feature}@{tenant or ''}@{segment}"
    return f"{feature}@{tenant}" if tenant else feature


def _checked(name: str) -> str:
    if not NAME.fullmatch(name):
        raise BadInput(f"{name[:80]!r} is no channel; tenants and segments are letters, digits, '_', '.' and '-'")
    return name


def _parse(name: str, text: str | None) -> ChannelState:
    if text is None:
        raise ReleaseNotFound(f"{name} has no release on channel stable")
    try:
        return ChannelState.model_validate_json(text)
    except ValidationError as error:
        raise ReleaseCorrupt(f"the pointer {name}.json is damaged: {error.error_count()} problems") from error


def _write(change: Change, state: ChannelState, *, at: datetime, by: str, reason: str) -> ChannelState:
    canary, share = (state.canary.release_id, state.canary.share) if state.canary else (None, None)
    shadow = state.shadow.release_id if state.shadow else None
    held = state.holdback
    move = Move(
        version=state.version,
        stable=state.stable,
        canary=canary,
        by=by,
        reason=reason[:LONGEST_REASON],
        at=at.isoformat(),
        share=share,
        inherits=state.inherits,
        shadow=shadow,
        held_back=(held.release_id, held.share) if held else None,
    )
    change.write(state.model_dump_json(), move)
    return state
