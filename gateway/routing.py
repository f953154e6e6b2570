"""Which release answers: channels read anew when they move, releases kept once read, as they never change."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import NamedTuple

from gateway.refusals import BackendFailed, Refusal
from ratchet.channels import Assignment, Channels, ChannelState, assign
from ratchet.errors import RatchetError, ReleaseNotFound
from ratchet.release import Release, ReleaseStore
from ratchet.settings import Settings

NAME = re.compile(r"[a-z][a-z0-9_]{1,40}")  # as feature.yaml allows; anything else must not become a path


class Served(NamedTuple):
    """A release ready to be asked."""

    release_id: str
    release: Release
    adapter: Path | None


class Router:
    """Channels and releases of this machine."""

    def __init__(self, settings: Settings) -> None:
        self._channels = Channels(settings.channels_dir)
        self._releases = ReleaseStore(settings.releases_dir)
        self._states: dict[str, tuple[tuple[int, int], ChannelState]] = {}
        self._served: dict[str, Served] = {}

    def features(self) -> list[str]:
        """The features that can be asked."""
        return self._channels.features()

    def channel(self, feature: str) -> ChannelState:
        """The state of a feature's channels now: one stat a call, so that a move is seen by the next request.

        Raises:
            Refusal: 404 for a feature without a channel; the message lists those that have one.
        """
        if not NAME.fullmatch(feature):
            raise self._unknown(feature)
        try:
            # The file is replaced by each move, so inode and time tell; looked at before it is read, so that a move
            # in between is read again by the next call.
            status = self._channels.path(feature).stat()
            stamp = (status.st_ino, status.st_mtime_ns)
            known = self._states.get(feature)
            if known is None or known[0] != stamp:
                known = (stamp, self._channels.read(feature))
                self._states[feature] = known
        except (FileNotFoundError, ReleaseNotFound) as error:
            raise self._unknown(feature) from error
        return known[1]

    def assign(self, feature: str, user_id: str) -> Assignment:
        """Channel and release of a user."""
        return assign(self.channel(feature), user_id)

    async def release(self, release_id: str) -> Served:
        """Read and verify a release, once; in a thread, as its weights are hashed.

        Raises:
            BackendFailed: it is not in the release store, or its files do not match its id.
        """
        if release_id not in self._served:
            try:
                self._served[release_id] = await asyncio.to_thread(self._read, release_id)
            except RatchetError as error:
                message = f"release {release_id} cannot be served: {type(error).__name__}; see `ratchet status`"
                raise BackendFailed(503, "release_unusable", message) from error
        return self._served[release_id]

    def _unknown(self, feature: str) -> Refusal:
        there = ", ".join(self.features()) or "none"
        message = f"unknown feature {feature[:60]!r}; there are: {there} (`model` names the feature)"
        return Refusal(404, "model_not_found", message)

    def _read(self, release_id: str) -> Served:
        release = self._releases.get(release_id)
        adapter = self._releases.folder / release_id / "adapter" if release.adapter else None
        return Served(release_id, release, adapter.absolute() if adapter else None)
