"""`ratchet gate`: exit status and facts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app


@pytest.mark.parametrize(("gain", "verdict", "status"), [(30, "accept", 0), (0, "inconclusive", 3), (-30, "reject", 4)])
def test_the_exit_status_is_the_verdict(tmp_path: Path, gain: int, verdict: str, status: int) -> None:
    better, worse = max(gain, 0), max(-gain, 0)
    pairs = [(0, 1)] * better + [(1, 0)] * worse + [(1, 1)] * 50
    path = tmp_path / "scores.jsonl"
    lines = [{"id": str(i), "metric": "q", "champion": a, "candidate": b} for i, (a, b) in enumerate(pairs)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = CliRunner().invoke(app, ["gate", str(path), "--json"])
    assert (found.exit_code, json.loads(found.stdout)["verdict"]) == (status, verdict)
    assert verdict in CliRunner().invoke(app, ["gate", str(path)]).stdout
