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


def judged(path: Path, labelled: int) -> Path:
    """A judge that always prefers the candidate; people, where they were asked, prefer the champion."""
    lines = []
    for i in range(100):
        people = (1, 0) if i < labelled else (None, None)
        row = {"id": str(i), "metric": "polite", "champion": 0.2, "candidate": 0.9, "inclusion": labelled / 100 or None}
        lines.append(row | {"human_champion": people[0], "human_candidate": people[1]})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize(("labelled", "status"), [(0, 3), (29, 3), (30, 4)])
def test_a_judge_is_heard_only_as_people_put_it_right(tmp_path: Path, labelled: int, status: int) -> None:
    found = CliRunner().invoke(app, ["gate", str(judged(tmp_path / "j.jsonl", labelled)), "--json"])
    facts = json.loads(found.stdout)
    assert found.exit_code == status and facts["metrics"]["polite"]["labelled"] == labelled
    assert ("The judge is not heard" in facts["reasons"][0]) == (labelled < 30)


def test_a_label_out_of_range_is_told_by_line(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_text('{"id": "a", "metric": "m", "champion": 0, "candidate": 1, "human_champion": 7}\n')
    assert "j.jsonl:1: human_champion" in str(CliRunner().invoke(app, ["gate", str(path)]).exception)
