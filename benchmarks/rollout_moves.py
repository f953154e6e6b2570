"""A feature whose rollouts go all their ways without end - on, stable by a person, back by a gateway's stop - and the
check afterwards: no acknowledged move lost, none made twice, ledger and records as the channel has it.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.kills import FEATURE
from ratchet.channels import Channels
from ratchet.errors import RatchetError
from ratchet.ledger import Ledger
from ratchet.records import Input, Interaction, Message, Output
from ratchet.rollout_policy import RolloutPolicy
from ratchet.rollouts import KIND, Rollout
from ratchet.settings import Settings
from ratchet.stops import EVENT, Stop, keep_stop, stops
from ratchet.store import Store
from tasks.rollout import MOVES, running, start, tick_all
from tasks.steer_rollout import promote

POLICY = RolloutPolicy(steps=(0.2, 0.5), outcome_window_s=0, min_users=2)


class Findings(NamedTuple):
    """What a check found; each should be 0 but `moves`."""

    moves: int
    lost: int
    double: int
    faults: int


@dataclass
class World:
    """Store, channels and ledger of one home; `now` and the ledger's clock may be made to jump."""

    store: Store
    channels: Channels
    ledger: Ledger
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    @classmethod
    def of(cls, home: str, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> World:
        """The world of a home folder, made where there is none; its channels are where the environment says."""
        settings = Settings.from_env({**os.environ, "RATCHET_REPO": home, "RATCHET_HOME": home})
        Path(home).mkdir(parents=True, exist_ok=True)
        store = Store(settings.database_url)
        world = cls(store, Channels.of(settings), Ledger(store.engine, clock), clock)
        world.channels.begin(FEATURE, "rel_first", at=clock(), by="bench", reason="first")
        return world

    def tick(self) -> bool:
        """One tick of everything. False where S3 refused something, which is left to the next."""
        try:
            reports = tick_all(self.store, self.channels, self.ledger, now=self.now())
        except RatchetError:
            return False
        return all(report.action != "failed" for report in reports)

    def go_through(self, name: str) -> Iterator[str]:
        """Two rollouts with all that befalls them; a line for each version of the channel that was acknowledged."""
        for number, is_stopped in enumerate((False, True)):
            yield from self._start(f"rel_{name}-{number}", approval=f"{name}-{number}")
            yield from self._end(is_stopped)

    def _start(self, candidate_id: str, approval: str) -> Iterator[str]:
        facts = {"feature": FEATURE, "candidate_id": candidate_id, "salt": approval, "approval": approval}
        with contextlib.suppress(RatchetError):
            start(self.store, self.channels, self.ledger, policy=POLICY, now=self.now(), **facts)  # type: ignore[arg-type]
            yield self._told()

    def _end(self, is_stopped: bool) -> Iterator[str]:
        """Serve, tick, and end what is on the canary; also what another child was killed over."""
        for place in range(40):
            on_canary = [r for r in running(self.store, FEATURE) if r.channel_version is not None]
            if not on_canary:
                return
            self._serve(on_canary[0], f"{on_canary[0].rollout_id}-{os.getpid()}-{place}")
            with contextlib.suppress(RatchetError):
                if place == 2 and is_stopped:
                    keep_stop(self.store, self._stop(on_canary[0]))
                elif place >= 2 and not is_stopped:
                    promote(*self._parts(), FEATURE, now=self.now(), by="ana", reason="seen enough")
                tick_all(*self._parts(), now=self.now())
                yield self._told()

    def _parts(self) -> tuple[Store, Channels, Ledger]:
        return self.store, self.channels, self.ledger

    def _told(self) -> str:
        state = self.channels.read(FEATURE)
        return f"{state.version} {state.stable} {state.canary.release_id if state.canary else '-'}"

    def _stop(self, rollout: Rollout) -> Stop:
        facts = {"rollout_id": rollout.rollout_id, "feature": FEATURE, "release_id": rollout.candidate_id}
        return Stop(**facts, at=self.now(), failed=10, seen=12)

    def _serve(self, rollout: Rollout, name: str) -> None:
        """Two users of the canary and two of stable."""
        asked = Input(messages=(Message(role="user", content="x"),))
        made = []
        for place, release_id in enumerate((rollout.candidate_id, rollout.champion_id) * 2):
            ids: dict[str, Any] = {
                "interaction_id": f"i-{name}-{place}",
                "user_id": f"u-{name}-{place}",
                "release_id": release_id,
            }
            said: dict[str, Any] = {"at": self.now(), "input": asked, "output": Output(content="y")}
            made.append(Interaction(**ids, **said, feature=FEATURE))
        self.store.add_interactions(made)


def check(world: World, told: Sequence[str]) -> Findings:
    """Mend what was cut off, then hold channel, ledger and records against each other and against what was told."""
    for _ in range(3):
        while not world.tick():
            continue
    history = world.channels.history(FEATURE)
    known = {str(m.version): f"{m.version} {m.stable} {m.canary or '-'}" for m in history}
    lost = sum(known.get(line.split()[0]) != line for line in told)
    moved = [e for event in MOVES for e in world.ledger.entries(event=event)]
    noted = Counter(e.facts["channel_version"] for e in moved)
    stopped = Counter(e.facts["rollout_id"] for e in world.ledger.entries(event=EVENT))
    double = sum(n - 1 for n in (*noted.values(), *stopped.values()))
    double += sum(
        a._replace(version=0, at="", reason="", by="") == b._replace(version=0, at="", reason="", by="")
        for a, b in pairwise(history)
    )
    faults = len({m.version for m in history[1:]} ^ set(noted))
    faults += len({stop.rollout_id for stop in stops(world.store)} ^ set(stopped))
    faults += [m.version for m in history] != list(range(1, len(history) + 1))
    faults += sum(not _agrees(world, Rollout.model_validate(d.body)) for d in world.store.documents(KIND))
    try:
        world.ledger.verify()
    except RatchetError:
        faults += 1
    return Findings(len(history) - 1, lost, double, faults)


def _agrees(world: World, rollout: Rollout) -> bool:
    """Whether a record says of itself what the channel does."""
    canary = world.channels.read(FEATURE).canary
    is_on = canary is not None and canary.rollout_id == rollout.rollout_id
    return is_on == (rollout.state == "running" and rollout.channel_version is not None)
