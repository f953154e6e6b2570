"""`ratchet judge`: from answers to labels to a calibrated judge, and what is told when a file is malformed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from cli.main import app


def write_answers(path: Path) -> None:
    """Two hundred items; the candidate is better, the judge often right."""
    rng, lines = np.random.default_rng(6), []
    for i in range(200):
        for role, good in (("champion", 0.5), ("candidate", 0.9)):
            human = rng.random() < good
            judge = human if rng.random() < 0.9 else not human
            words = "good" if human else "bad"
            lines.append({"item_id": f"i{i}", "role": role, "output": f"{words} {role} {i}", "judge": float(judge)})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def fill_in(path: Path) -> None:
    """What people do."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    filled = [row | {"human": float(row["output"].startswith("good"))} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in filled))


def test_a_judge_is_drawn_for_labelled_and_calibrated(tmp_path: Path) -> None:
    answers, labels, run = tmp_path / "a.jsonl", tmp_path / "l.jsonl", CliRunner()
    write_answers(answers)
    drawn = run.invoke(app, ["judge", "draw", str(answers), "--n", "80", "--out", str(labels), "--json"])
    assert json.loads(drawn.stdout)["rows"] == 160
    fill_in(labels)
    found = json.loads(run.invoke(app, ["judge", "calibrate", str(answers), str(labels), "--json"]).stdout)
    assert (found["items"], found["labelled"], found["refused"]) == (200, 80, None)
    assert found["difference"]["low"] < 0.4 < found["difference"]["high"]
    assert found["p_not_better"] < 0.01
    told = run.invoke(app, ["judge", "calibrate", str(answers), str(labels)]).stdout
    assert "80 of 200 items labelled" in told
    assert "the gate would hear this judge" in told


def test_too_few_labels_are_told_as_a_refusal(tmp_path: Path) -> None:
    answers, labels, run = tmp_path / "a.jsonl", tmp_path / "l.jsonl", CliRunner()
    write_answers(answers)
    run.invoke(app, ["judge", "draw", str(answers), "--n", "12", "--out", str(labels)])
    fill_in(labels)
    assert "The judge is not heard" in run.invoke(app, ["judge", "calibrate", str(answers), str(labels)]).stdout


def test_a_label_out_of_range_is_told_by_line(tmp_path: Path) -> None:
    answers, labels, run = tmp_path / "a.jsonl", tmp_path / "l.jsonl", CliRunner()
    write_answers(answers)
    labels.write_text('{"key": "k", "inclusion": 0.5, "human": 7}\n')
    found = run.invoke(app, ["judge", "calibrate", str(answers), str(labels)])
    assert str(found.exception) == "l.jsonl:1: human: less than equal"


def test_help_says_whose_the_holdouts_answers_are() -> None:
    for command in ("draw", "calibrate"):
        told = " ".join(CliRunner().invoke(app, ["judge", command, "--help"]).stdout.split())
        assert "sealed evaluation" in told
