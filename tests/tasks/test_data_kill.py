"""kill -9 while snapshot or validate works: the next run gives the bytes of one that was never killed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.made_traffic import REPO, write_raw
from tests.tasks.batch import Batch

KILLS = 5
ROWS = 3000


def start(batch: Batch, stage: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", f"tasks.{stage}"]
    environ = {**os.environ, "PYTHONPATH": str(REPO)}
    return subprocess.Popen(command, cwd=batch.root, env=environ, stderr=subprocess.DEVNULL)


def outputs(batch: Batch) -> dict[str, bytes]:
    """What the stages leave, timings and the beginnings of files aside (`.<name>.part`: the next run writes over)."""
    found = batch.outputs()
    return {name: content for name, content in found.items() if "timings" not in name and not name.startswith(".")}


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["snapshot", "validate"])
def test_a_stage_that_was_killed_gives_the_same_bytes_when_run_again(tmp_path: Path, stage: str) -> None:
    batch = Batch(tmp_path)
    write_raw(tmp_path / "data/demo/routing/raw", ROWS, feature="routing")
    assert stage == "snapshot" or start(batch, "snapshot").wait() == 0
    began = time.monotonic()
    assert start(batch, stage).wait() == 0
    took, whole, rng = time.monotonic() - began, outputs(batch), random.Random(17)
    assert len(whole) >= 3
    for _ in range(KILLS):
        killed = start(batch, stage)
        time.sleep(took * rng.uniform(0.3, 1))
        killed.kill()
        killed.wait()
    assert start(batch, stage).wait() == 0
    assert outputs(batch) == whole
    assert not list(tmp_path.rglob("snapshot.tmp"))
