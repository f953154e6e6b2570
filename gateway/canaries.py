"""The canary breaker: a canary that fails where stable answers loses its traffic at once, whatever else is down.

What it decides is kept in the store (ratchet/stops.py), where a tick finds it and moves the pointer; a gateway that
starts, and any other on the same store, reads there what was stopped.
"""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC, datetime

import sqlalchemy as sa
import structlog

from gateway.limits import Limits
from gateway.routing import Router
from gateway.turn import Turn
from ratchet.stops import Stop, keep_stop, stops
from ratchet.store import Store

logger = structlog.get_logger("gateway")
LOOK_S = 1.0  # how long after another gateway's stop this one may still serve the canary


class CanaryBreaker:
    """Counts how the last requests of each canary ended; stops it at `limits.canary_failures` of `canary_window`.

    A failure counts only where stable answered the same request, at the backend that is the first choice: what fails
    for everybody is no fault of the canary.
    """

    def __init__(self, router: Router, store: Store, limits: Limits) -> None:
        self._router = router
        self._store = store
        self._limits = limits
        self._ends: dict[str, deque[bool]] = {}
        self._unwritten: list[Stop] = []
        self._tripped = asyncio.Event()

    def answered(self, turn: Turn) -> None:
        """Count an answer to a user who had drawn the canary: its own, or the one that stable gave in its place."""
        self._count(turn, is_well=turn.fell_back_for is None)

    def broke(self, turn: Turn) -> None:
        """Count a canary's stream that the model server broke off."""
        if turn.fell_back_for is None:
            self._count(turn, is_well=False)

    async def keep(self) -> None:
        """Write what was stopped and read what others stopped, until cancelled; a store that is down is asked again."""
        while True:
            await self.look()
            try:
                await asyncio.wait_for(self._tripped.wait(), LOOK_S)
            except TimeoutError:
                continue

    async def look(self) -> None:
        """Write and read once."""
        self._tripped.clear()
        unwritten = tuple(self._unwritten)
        try:
            found = await asyncio.to_thread(self._sync, unwritten)
        except sa.exc.SQLAlchemyError as error:
            logger.error("stops_not_kept", unwritten=len(unwritten), error=type(error).__name__)
            return
        self._unwritten = [stop for stop in self._unwritten if stop not in unwritten]
        self._router.stopped |= found

    def _count(self, turn: Turn, *, is_well: bool) -> None:
        if turn.assigned.channel != "canary" or turn.backend_fell_back_for is not None:
            return
        fields = turn.asked.ratchet
        canary = self._router.channel(turn.feature, fields.tenant, fields.segment).canary
        if canary is None or canary.release_id != turn.assigned.release_id:  # moved meanwhile
            return
        ends = self._ends.setdefault(canary.rollout_id, deque(maxlen=self._limits.canary_window))
        ends.append(is_well)
        failed = ends.count(False)
        if failed >= self._limits.canary_failures and canary.rollout_id not in self._router.stopped:
            facts = {"rollout_id": canary.rollout_id, "feature": turn.feature, "release_id": canary.release_id}
            self._stop(Stop(**facts, at=datetime.now(UTC), failed=failed, seen=len(ends)))

    def _stop(self, stop: Stop) -> None:
        facts = stop.model_dump(mode="json", exclude={"at"})
        logger.error("canary_stopped", **facts)
        self._router.stopped.add(stop.rollout_id)
        self._unwritten.append(stop)
        self._tripped.set()

    def _sync(self, unwritten: tuple[Stop, ...]) -> set[str]:
        for stop in unwritten:
            keep_stop(self._store, stop)
        return {stop.rollout_id for stop in stops(self._store)}
