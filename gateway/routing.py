"""Which release answers: channels read anew when they move, releases kept once read, as they never change."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import NamedTuple

import structlog

from gateway.refusals import BackendFailed, Refusal
from ratchet.channels import Assignment, Channels, ChannelState, assign, channel_names, drawn_for
from ratchet.errors import RatchetError, ReleaseNotFound
from ratchet.release import Release, ReleaseStore
from ratchet.settings import Settings
from ratchet.trust import require_trusted, trust_of

logger = structlog.get_logger("gateway")
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
        self._folder = str(settings.channels_dir)
        self._releases = ReleaseStore.of(settings)
        self._trust = trust_of(settings)
        self._states: dict[str, tuple[tuple[int, int], ChannelState]] = {}
        self._served: dict[str, Served] = {}
        self.stopped: set[str] = set()  # rollouts whose canary gets no traffic any more

    def features(self) -> list[str]:
        """The features that can be asked."""
        return self._channels.features()

    def channel(self, feature: str, tenant: str | None = None, segment: str | None = None) -> ChannelState:
        """What serves a tenant and segment now: one stat a channel, so that a move is seen by the next request.

        Raises:
            Refusal: 404 for a feature without a channel; the message lists those that have one.
        """
        return self._find(feature, tenant, segment)[1]

    def assign(
        self,
        feature: str,
        user_id: str,
        tenant: str | None = None,
        segment: str | None = None,
        *,
        takes_trials: bool = True,
    ) -> Assignment:
        """Channel and release of a user; nobody draws a canary that was stopped, nor does a tenant without trials."""
        name, state = self._find(feature, tenant, segment)
        if state.canary is not None and state.canary.rollout_id in self.stopped:
            state = state.model_copy(update={"canary": None})
        return assign(state, user_id, takes_trials=takes_trials)._replace(drawn_for=drawn_for(name))

    def _find(self, feature: str, tenant: str | None, segment: str | None) -> tuple[str, ChannelState]:
        if not NAME.fullmatch(feature):
            raise self._unknown(feature)
        for name in channel_names(feature, tenant, segment):
            state = self._state(name)
            if state is not None and not state.inherits:
                return name, state
        raise self._unknown(feature)

    def _state(self, name: str) -> ChannelState | None:
        """A channel's state; None where there is none."""
        try:
            # The file is replaced by each move, so inode and time tell; looked at before it is read, so that a move
            # in between is read again by the next call.
            status = os.stat(f"{self._folder}/{name}.json")  # a Path would take longer to make than to look at
            stamp = (status.st_ino, status.st_mtime_ns)
            known = self._states.get(name)
            if known is None or known[0] != stamp:
                known = (stamp, self._channels.read(name))
                self._states[name] = known
        except (FileNotFoundError, ReleaseNotFound):
            return None
        return known[1]

    async def release(self, release_id: str) -> Served:
        """Read and verify a release, once; in a thread, as its weights are hashed.

        Raises:
            BackendFailed: it is not in the release store, its files do not match its id, or it lacks a signature that
                the trust file asks for.
        """
        if release_id not in self._served:
            try:
                self._served[release_id] = await asyncio.to_thread(self._read, release_id)
            except RatchetError as error:
                logger.error("release_unusable", release_id=release_id, error=type(error).__name__, why=str(error))
                message = f"release {release_id} cannot be served: {type(error).__name__}; see `ratchet release verify`"
                raise BackendFailed(503, "release_unusable", message) from error
        return self._served[release_id]

    def _unknown(self, feature: str) -> Refusal:
        there = ", ".join(self.features()) or "none"
        message = f"unknown feature {feature[:60]!r}; there are: {there} (`model` names the feature)"
        return Refusal(404, "model_not_found", message)

    def _read(self, release_id: str) -> Served:
        release = self._releases.get(release_id)
        if self._trust is not None:
            require_trusted(release_id, self._releases.attestation(release_id), self._trust)
        adapter = self._releases.folder / release_id / "adapter" if release.adapter else None
        return Served(release_id, release, adapter.absolute() if adapter else None)
