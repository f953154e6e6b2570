"""Channels: which release a feature serves - one pointer file per feature, moved by compare-and-swap."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ratchet.errors import ReleaseCorrupt, ReleaseNotFound, StaleChannel
from ratchet.files import canonical_json, write_whole


class Canary(BaseModel):
    """The release on trial: for which share of users, and by which salt they are chosen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    release_id: str
    share: float = Field(gt=0, lt=1)
    salt: str
    rollout_id: str


class ChannelState(BaseModel):
    """What a feature serves. `version` counts the moves."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stable: str
    canary: Canary | None = None
    version: int = 0


class Move(NamedTuple):
    """One entry of a channel's history."""

    version: int
    stable: str
    canary: str | None
    by: str
    reason: str
    at: str


class Assignment(NamedTuple):
    """What a user is given, and with which probability users are given it."""

    channel: str
    release_id: str
    propensity: float


class Channels:
    """The folder of pointer files: <feature>.json, and <feature>.history.jsonl beside it."""

    def __init__(self, folder: Path) -> None:
        """The folder is made on the first move."""
        self.folder = folder

    def path(self, feature: str) -> Path:
        """The pointer file of a feature; its modification time tells a reader that it moved."""
        return self.folder / f"{feature}.json"

    def features(self) -> list[str]:
        """The features that have a stable release, sorted."""
        return sorted(path.stem for path in self.folder.glob("*.json"))

    def read(self, feature: str) -> ChannelState:
        """What a feature serves now.

        Raises:
            ReleaseNotFound: it has no release yet.
            ReleaseCorrupt: the pointer file is damaged.
        """
        try:
            return ChannelState.model_validate_json(self.path(feature).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ReleaseNotFound(f"{feature} has no release on channel stable") from error
        except ValidationError as error:
            raise ReleaseCorrupt(f"{self.path(feature)} is damaged: {error.error_count()} problems") from error

    def begin(self, feature: str, release_id: str, *, at: datetime, by: str, reason: str) -> ChannelState:
        """Put a first release on stable; a feature that serves one already is left as it is."""
        with self._locked(feature):
            if self.path(feature).exists():
                return self.read(feature)
            return self._write(feature, ChannelState(stable=release_id, version=1), at=at, by=by, reason=reason)

    def move(
        self,
        feature: str,
        *,
        stable: str,
        canary: Canary | None,
        expected_version: int,
        at: datetime,
        by: str,
        reason: str,
    ) -> ChannelState:
        """Move the pointer if nobody did since `expected_version`.

        Raises:
            StaleChannel: somebody did; read it again and decide again.
        """
        with self._locked(feature):
            before = self.read(feature)
            if before.version != expected_version:
                raise StaleChannel(f"channel of {feature} is at version {before.version}, not {expected_version}")
            after = ChannelState(stable=stable, canary=canary, version=before.version + 1)
            return self._write(feature, after, at=at, by=by, reason=reason)

    def history(self, feature: str) -> list[Move]:
        """The moves of a feature that took place, oldest first."""
        path = self.folder / f"{feature}.history.jsonl"
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else []
        moves = {move.version: move for move in map(_parse, lines) if move}
        now = self.read(feature).version
        return [moves[version] for version in sorted(moves) if version <= now]

    def _write(self, feature: str, state: ChannelState, *, at: datetime, by: str, reason: str) -> ChannelState:
        # History first, then the pointer. A crash in between leaves an entry with a version that never came to be;
        # `history` leaves it out, and the next move of that version replaces it.
        canary = state.canary.release_id if state.canary else None
        move = Move(state.version, state.stable, canary, by, reason[:300], at.isoformat())
        with (self.folder / f"{feature}.history.jsonl").open("a", encoding="utf-8") as file:
            # It begins a line of its own: one torn by a kill has no end, and would swallow this one.
            file.write("\n" + canonical_json(move._asdict()) + "\n")
            file.flush()
            os.fsync(file.fileno())
        write_whole(self.path(feature), state.model_dump_json())
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return state

    @contextmanager
    def _locked(self, feature: str) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f".{feature}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def assign(state: ChannelState, user_id: str) -> Assignment:
    """Give a user the canary or the stable release: always the same one while the canary's salt and share stand.

    A larger share keeps everyone who had the canary: the user's place on the line from 0 to 1 does not move.
    """
    canary = state.canary
    if canary is None:
        return Assignment("stable", state.stable, 1.0)
    digest = hashlib.sha256(f"{canary.salt}\n{user_id}".encode()).digest()
    if int.from_bytes(digest[:8], "big") / 2**64 < canary.share:
        return Assignment("canary", canary.release_id, canary.share)
    return Assignment("stable", state.stable, 1 - canary.share)


def _parse(line: str) -> Move | None:
    try:
        return Move(**json.loads(line))
    except (ValueError, TypeError):  # the torn line of a writer that was killed
        return None
