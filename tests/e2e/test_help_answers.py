"""The bundled free-text feature: only files under features/ and data/, and the same graph runs it to a verdict."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from benchmarks.scratch import Clone
from tests.e2e.conftest import Desk, require_model

# next_step.py names it to people as the one to copy; nothing else may know it.
OWN = ("features", "data", "tests", "docs", "README.md", "CHANGELOG.md", "tasks/try_out/next_step.py")
FEW = {"tune.fewshot.candidates": 2, "tune.fewshot.demonstrations": 2, "tune.fewshot.validation_items": 4}


def answer_in_few_words(clone: Clone) -> None:
    """Let answers of help_answers end after 12 tokens: the tests are about the way to a verdict, not about which."""
    demo = clone.folder / "data" / "demo" / "help_answers"
    for path in (clone.folder / "features/help_answers/feature.yaml", demo / "champion.json", demo / "anchor.json"):
        text, changed = re.subn(r'(max_tokens"?): \d+', r"\1: 12", path.read_text(encoding="utf-8"))
        assert changed == 1
        path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone set to help_answers, with the arm that works on free text and little to try."""
    require_model()
    clone = Clone(tmp_path_factory.mktemp("answers") / "clone")
    clone.set_params({"feature": "help_answers", "arms": ["fewshot"], "validate.min_rows": 10, **FEW})
    answer_in_few_words(clone)
    return clone


@pytest.fixture(scope="module")
def reproduced(answers: Clone) -> CompletedProcess[str]:
    """`dvc repro` on the bundled data."""
    return answers.dvc("repro")


def test_a_free_text_feature_runs_to_a_verdict(answers: Clone, reproduced: CompletedProcess[str]) -> None:
    gate = json.loads((answers.folder / "data/help_answers/metrics/gate.json").read_text(encoding="utf-8"))
    assert gate["verdict"] in ("accept", "reject", "inconclusive")
    assert gate["reasons"]
    assert (answers.folder / "data/help_answers/report.html").stat().st_size > 1000


def test_a_second_repro_is_up_to_date(answers: Clone, reproduced: CompletedProcess[str]) -> None:
    again = answers.dvc("repro").stdout
    assert "Data and pipelines are up to date" in again
    assert "Running stage" not in again


def test_the_feature_is_named_in_its_own_files_only(answers: Clone) -> None:
    own = [f":!{name}" for name in OWN]
    named = answers.run("git", "grep", "-l", "help_answers", "HEAD", "--", *own, check=False)
    assert (named.returncode, named.stdout) == (1, "")


@pytest.fixture(scope="module")
def run(desk: Desk) -> dict[str, str]:
    """One run through the flow, on the bundled answers and thumbs."""
    own = desk.clone.folder / "data/demo/help_answers"
    desk.clone.ratchet("import", *(str(path) for path in sorted(own.glob("raw/*/*/*.jsonl"))))
    held = [str(own / "holdout" / name) for name in ("holdout.jsonl", "showcase.jsonl")]
    desk.clone.ratchet("holdout", "add", "help_answers", held[0], "--showcase", held[1])
    desk.clone.set_params(FEW)
    answer_in_few_words(desk.clone)
    desk.clone.ratchet("people", "add", "demo-machine", "--machine")
    facts: dict[str, str] = desk.clone.ratchet_json("run", "help_answers", "--arms", "fewshot", "--auto-approve")
    return facts


def test_a_run_through_the_flow_comes_to_a_verdict(run: dict[str, str]) -> None:
    assert run["outcome"] in ("accept", "reject", "inconclusive"), run
    assert run["commit"]


def test_the_runs_commit_reproduces_in_a_fresh_clone(desk: Desk, run: dict[str, str], tmp_path: Path) -> None:
    clone = tmp_path / "fresh"
    desk.clone.git("clone", "-q", str(desk.clone.folder), str(clone))
    desk.clone.git("-C", str(clone), "checkout", "-q", run["commit"])
    shutil.copytree(desk.clone.folder / ".ratchet" / "remote", clone / ".ratchet" / "remote")
    fresh = desk.clone.at(clone)
    fresh.dvc("pull")
    told = fresh.dvc("repro").stdout
    assert "Running stage" not in told and "up to date" in told
