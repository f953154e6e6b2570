"""tasks.try_out.next_step: the first rule that fits is the step, and its commands can be typed."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tasks.try_out.next_step import Step, feature_name
from tests.tasks.try_out.logs import asked, said, tried


def step(folder: Path, *rows: dict[str, Any], **options: Any) -> Step:
    return tried(folder, *rows, **options).step


def routed(count: int, correct: bool) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for i in range(count):
        label = ("cards", "loans", "don't know")[i % 3]
        rows.append(asked(i, f"question {i}", output={"content": f'{{"route": "{label}"}}'}))
        if correct:
            rows.append(said(i, "correction", "loans"))
    return rows


def test_nothing_read_asks_for_the_format(tmp_path: Path) -> None:
    assert "nothing could be read" in step(tmp_path, {"interaction_id": "x"}).title


def test_answers_without_a_verdict_ask_for_feedback(tmp_path: Path) -> None:
    assert step(tmp_path, asked(1, "a")).title.startswith("Collect what people say")


def test_corrected_labels_make_a_feature_and_a_run(tmp_path: Path) -> None:
    found = step(tmp_path, *routed(40, correct=True))
    assert found.title.startswith("Learn from 40 corrections")
    assert [command.split()[:2] for command in found.commands[1:]] == [
        ["ratchet", "feature"],
        ["ratchet", "holdout"],
        ["ratchet", "import"],
        ["ratchet", "run"],
    ]


def test_the_labels_command_writes_each_label_on_its_line(tmp_path: Path) -> None:
    command = step(tmp_path, *routed(40, correct=True)).commands[0]
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
    assert (tmp_path / "labels.txt").read_text().splitlines() == ["cards", "don't know", "loans"]


def test_a_feature_that_exists_is_not_made_again(tmp_path: Path) -> None:
    assert step(tmp_path, *routed(40, correct=True), known={"bank"}).commands[0].startswith("ratchet holdout add bank")


def test_good_answers_in_free_text_are_tried_as_demonstrations(tmp_path: Path) -> None:
    rows = [row for i in range(30) for row in (asked(i, f"question {i}"), said(i, "thumb", True))]
    assert step(tmp_path, *rows).commands[-1] == "ratchet run bank --arms fewshot"


def test_a_little_feedback_is_brought_in_and_more_is_asked_for(tmp_path: Path) -> None:
    assert step(tmp_path, asked(1, "a"), said(1, "thumb", True)).title.startswith("Bring this in")


def test_answers_that_hold_an_address_are_no_labels(tmp_path: Path) -> None:
    rows = [asked(i, "who?", output={"content": ("ana@a.example", "bob")[i % 2]}) for i in range(40)]
    found = step(tmp_path, *rows, *(said(i, "correction", "bob") for i in range(0, 40)))
    assert not any("ana@" in command for command in found.commands)


def test_a_path_with_spaces_and_quotes_stays_one_word(tmp_path: Path) -> None:
    folder = tmp_path / "it's here; rm -rf x"
    folder.mkdir()
    command = next(c for c in step(folder, asked(1, "a")).commands if c.startswith("ratchet import"))
    assert shlex.split(command)[2] == str(folder / "log.jsonl")


@pytest.mark.parametrize(
    ("given", "name"), [("Ticket Routing!", "ticket_routing"), ("9", "my_feature"), ("demo", "my_feature")]
)
def test_a_feature_name_is_one_that_can_be_typed(tmp_path: Path, given: str, name: str) -> None:
    assert feature_name(tried(tmp_path, asked(1, "a")).counts, given) == name


def test_a_version_that_is_proven_worse_is_taken_back_where_the_clone_serves_it(tmp_path: Path) -> None:
    rows = [row for i in range(80) for row in (asked(i, f"q{i}", release_id="ab"[i // 40]), said(i, "thumb", i < 40))]
    found = step(tmp_path, *rows, known={"bank"})
    assert found.commands == ("ratchet rollback bank --reason 'more bad answers than a'",)
    assert "Something else may be the cause, but going back is cheap" in found.why
    assert not any("rollback" in command for command in step(tmp_path, *rows).commands)
