"""The bundled free-text feature: only files under features/ and data/, and the same graph runs it to a verdict."""

from __future__ import annotations

import json
from subprocess import CompletedProcess

import pytest

from benchmarks.scratch import Clone
from tests.e2e.conftest import require_model

OWN = ("features", "data", "tests", "docs", "README.md", "CHANGELOG.md")


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone set to help_answers, with the arm that works on free text and little to try."""
    require_model()
    clone = Clone(tmp_path_factory.mktemp("answers") / "clone")
    few = {"tune.fewshot.candidates": 2, "tune.fewshot.demonstrations": 2, "tune.fewshot.validation_items": 4}
    clone.set_params({"feature": "help_answers", "arms": ["fewshot"], "validate.min_rows": 10, **few})
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
