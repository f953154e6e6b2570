"""tasks.data_gate: the exit status is the verdict."""

from __future__ import annotations

from pathlib import Path

import pytest

from ratchet.files import write_json
from tasks.data_gate import main
from tests.tasks.batch import Batch


@pytest.fixture
def batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Batch:
    monkeypatch.chdir(tmp_path)
    return Batch(tmp_path)


def give(batch: Batch, verdict: str, *reasons: str) -> None:
    found = {"verdict": verdict, "reasons": list(reasons), "rows": 3, "used": 2, "quarantined": 1}
    write_json(batch.root / "data/routing/metrics/validate.json", found)


def test_a_good_batch_passes(batch: Batch) -> None:
    give(batch, "pass")
    assert main() == 0
    assert batch.metrics("data_gate") == {"verdict": "pass", "used": 2}


def test_a_blocked_batch_ends_with_2_and_one_line_that_says_why(
    batch: Batch, capsys: pytest.CaptureFixture[str]
) -> None:
    give(batch, "block", "too few rows", "no feedback")
    assert main() == 2
    told = capsys.readouterr().err
    assert told.startswith("data_gate: ") and "too few rows; no feedback" in told and told.count("\n") == 1
    assert not (batch.root / "data/routing/metrics/data_gate.json").exists()


def test_without_a_verdict_nothing_passes(batch: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 2
    assert "run the stage validate first" in capsys.readouterr().err
