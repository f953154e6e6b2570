"""kill -9 of a flow's process in the middle of training: nothing is left behind, and the next run goes on."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from ratchet.runs import Run, runs_of
from ratchet.store import open_store
from tests.e2e.conftest import Desk, wait_for

pytestmark = pytest.mark.slow


def trainers(tree: Path) -> list[int]:
    """Processes of a training stage in a worktree."""
    found = []
    for process in psutil.process_iter():
        try:
            if "tasks.tune" in process.cmdline() and process.cwd().startswith(str(tree)):
                found.append(process.pid)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


@pytest.fixture(scope="module")
def killed(desk: Desk) -> Run:
    """A run of a feature `falls` whose flow was killed while its trainer ran."""
    desk.add("falls")
    desk.start("falls")
    run = wait_for(desk.clone, "falls", lambda run: run.now == "tune@sft")
    tree = desk.clone.settings.runs_dir / run.run_id / "tree"
    deadline = time.monotonic() + 60
    while not trainers(tree):
        assert time.monotonic() < deadline, "no trainer was started"
        time.sleep(0.1)
    time.sleep(2)
    assert run.owner is not None
    os.kill(run.owner.pid, signal.SIGKILL)
    return run


@pytest.fixture(scope="module")
def after(desk: Desk, killed: Run) -> Run:
    """The next run, which has to sweep what the killed one left; it waits for an approval."""
    desk.start("falls")
    wait_for(desk.clone, "falls", lambda run: run.run_id != killed.run_id)
    return desk.waiting("falls")


def test_no_trainer_outlives_its_flow(desk: Desk, killed: Run) -> None:
    tree = desk.clone.settings.runs_dir / killed.run_id / "tree"
    deadline = time.monotonic() + 5
    while trainers(tree) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert trainers(tree) == []


def test_the_next_run_sweeps_the_lease_and_keeps_finished_stages(desk: Desk, killed: Run, after: Run) -> None:
    with open_store(desk.clone.settings.database_url) as store:
        states = {run.run_id: run.state for run in runs_of(store, "falls")}
        assert store.lease_owner(after.lease) == after.run_id
    assert states == {killed.run_id: "failed", after.run_id: "awaiting"}
    stages = {timing.stage: timing.state for timing in after.stages}
    assert {stages[name] for name in ("snapshot", "validate", "curate")} == {"cached"}
    assert stages["tune@sft"] == "ran"


def test_the_next_run_ends_accepted_with_one_tag_and_one_rollout(desk: Desk, after: Run) -> None:
    done = desk.decide("approve", after, code=desk.code())
    assert done.returncode == 0, done.stderr
    assert after.outcome == "accept"
    assert desk.clone.git("tag", "--list", "falls@*").splitlines() == ["falls@v1.0.0", "falls@v2.0.0"]
    assert len(desk.clone.ratchet_json("rollout", "status", "falls")) == 1
    assert desk.clone.git("worktree", "list").count("\n") == 0
