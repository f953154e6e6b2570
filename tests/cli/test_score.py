"""`ratchet score`: how scorers are named, and what is printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from cli.main import app
from ratchet.errors import BadInput
from ratchet.scorers.catalogue import CATALOGUE


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    path = tmp_path / "answers.jsonl"
    rows = [{"output": "Dear Ana", "expected": "x"}, {"output": "no"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "broken\n")
    return path


def ratchet(*words: Any) -> Result:
    found = CliRunner().invoke(app, ["score", *map(str, words)])
    if isinstance(found.exception, BadInput):
        raise found.exception
    return found


def test_options_are_written_inline_or_after_the_scorer(answers: Path) -> None:
    found = ratchet(answers, "--scorer", "regex:pattern=^Dear", "--scorer", "length", "--option", "most=1", "--json")
    facts = json.loads(found.stdout)
    assert [row["score"] for row in facts["rows"]] == [1.0, 0.0, 0.0, 1.0, None, None]
    assert facts["summary"]["regex"]["unscored"] == 1


def test_a_mapping_as_in_feature_yaml_and_a_name_of_ones_own(answers: Path) -> None:
    found = ratchet(answers, "--scorer", '{name: tone, as: ours, banned: ["no", ana]}', "--json")
    assert [row["score"] for row in json.loads(found.stdout)["rows"]] == [0.5, 0.5, None]
    listed = ratchet(answers, "--scorer", "tone", "--option", 'banned=["no", ana]', "--json")
    assert [row["score"] for row in json.loads(listed.stdout)["rows"]] == [0.5, 0.5, None]


def test_people_see_the_mean_and_the_reasons(answers: Path, tmp_path: Path) -> None:
    found = ratchet(answers, "--scorer", "regex:pattern=[A-Z]", "--out", tmp_path / "out.jsonl")
    assert "regex: 0.500" in found.stdout and "1 x the pattern is found" in found.stdout
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 3


def test_list_prints_every_scorer() -> None:
    facts = json.loads(ratchet("--list", "--json").stdout)
    assert set(facts) == set(CATALOGUE)
    assert all(name in ratchet("--list").stdout for name in CATALOGUE)


@pytest.mark.parametrize(
    "scorer",
    [
        None,
        "regex:pattern",
        "{name: [}",
        "{command: []}",
        "nothing",
        "features/x/scorers.py:fn",
        "regex:pattern=(",
    ],
)
def test_what_cannot_be_meant_is_bad_input(answers: Path, scorer: str | None) -> None:
    words = ["--scorer", scorer] if scorer else []
    with pytest.raises(BadInput):
        ratchet(answers, *words)
    with pytest.raises(BadInput, match="name a JSONL file"):
        ratchet(*words)
