"""A run's record: how far an improvement cycle has come, so that any process can go on from there."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Any, Literal

import psutil
from pydantic import BaseModel, ConfigDict

from ratchet.errors import BadInput, StaleRecord
from ratchet.store import Document, Store

KIND = "run"
State = Literal["running", "awaiting", "done", "failed"]
Outcome = Literal["accept", "reject", "inconclusive", "blocked", "nothing_new"]


class Owner(BaseModel):
    """The process that works on a run."""

    model_config = ConfigDict(frozen=True)

    host: str
    pid: int
    started: float

    @classmethod
    def me(cls) -> Owner:
        """This process."""
        return cls(host=socket.gethostname(), pid=os.getpid(), started=psutil.Process().create_time())

    def is_alive(self) -> bool:
        """Whether the process still runs; a process of another host is taken to be alive."""
        if self.host != socket.gethostname():
            return True
        try:
            process = psutil.Process(self.pid)
            is_same = abs(process.create_time() - self.started) < 1
            return is_same and process.status() != psutil.STATUS_ZOMBIE  # killed, and not yet reaped by its parent
        except psutil.NoSuchProcess:
            return False


class StageTiming(BaseModel):
    """How a stage went: `ran`, `cached` (restored from the run-cache) or `unchanged`."""

    stage: str
    state: str
    seconds: float


class Answer(BaseModel):
    """What an approver said, with the reason that the feature's owner reads. It stays in the store: it is free text."""

    model_config = ConfigDict(frozen=True)

    approver: str
    decision: Literal["approve", "reject"]
    reason: str
    at: str


class Run(BaseModel):
    """One improvement cycle of one feature.

    Attributes:
        waits_since: when the run began to wait for an approval.
        attempts: how many answers were looked at, by which whoever watches sees that there is a new one.
        asked: how many forms of Prefect were answered; each has a key of its own.
        reminded: how many reminders have gone out.
        decision: what ended the wait; `expired` and `stale` (the champion changed meanwhile) are nobody's.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    feature: str
    state: State = "running"
    flow_run_id: str | None = None
    arms: tuple[str, ...] | None = None
    owner: Owner | None = None
    started_at: str
    fingerprint: str | None = None
    commit: str | None = None
    now: str = "opening"
    stages: tuple[StageTiming, ...] = ()
    rows: dict[str, Any] = {}
    outcome: Outcome | None = None
    reasons: tuple[str, ...] = ()
    release_id: str | None = None
    champion_id: str | None = None
    waits_since: str | None = None
    attempts: int = 0
    asked: int = 0
    reminded: int = 0
    refusal: str | None = None
    answers: tuple[Answer, ...] = ()
    decision: Literal["approve", "reject", "expired", "stale"] | None = None
    version: str | None = None
    rollout_id: str | None = None
    error: str | None = None

    @property
    def branch(self) -> str:
        """The run's own git branch."""
        return f"run/{self.run_id}"

    @property
    def lease(self) -> str:
        """The lease that allows one run of a feature at a time."""
        return f"improve:{self.feature}"


def open_run(store: Store, run: Run) -> Run:
    """Record a new run; a run with this id that exists is returned as it is."""
    return Run.model_validate(store.create_document(KIND, run.run_id, run.feature, run.model_dump(mode="json")).body)


def find_run(store: Store, run_id: str) -> Run:
    """Read a run.

    Raises:
        BadInput: there is none with this id.
    """
    found = store.document(KIND, run_id)
    if found is None:
        raise BadInput(f"no run {run_id}; `ratchet status` lists them")
    return Run.model_validate(found.body)


def runs_of(store: Store, feature: str | None = None) -> list[Run]:
    """All runs, oldest first."""
    found = [Run.model_validate(d.body) for d in store.documents(KIND, feature)]
    return sorted(found, key=lambda run: (run.started_at, run.run_id))


def change_run(store: Store, run_id: str, **changes: Any) -> Run:
    """Change fields of a run. A run has one owner at a time, so a lost race is retried on what is there."""
    while True:
        before = store.document(KIND, run_id)
        assert isinstance(before, Document)
        after = Run.model_validate({**before.body, **changes})
        with contextlib.suppress(StaleRecord):
            store.change_document(KIND, before, after.model_dump(mode="json"))
            return after
