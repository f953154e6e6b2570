"""tasks.holdout_questions: what is asked is read, what is expected is not."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ratchet.errors import BadInput, BadRecord
from ratchet.questions import question_text
from tasks.holdout_questions import read_cut, read_questions


def write(folder: Path, name: str, *lines: str) -> None:
    (folder / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def test_questions_of_holdout_and_showcase_are_read_without_their_answers(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "two"}]
    write(tmp_path, "holdout.jsonl", '{"text": "one", "expected": "THE ANSWER"}', "")
    write(tmp_path, "showcase.jsonl", json.dumps({"messages": messages, "expected": {"route": "THE ANSWER"}}))
    assert read_questions(tmp_path, "routing") == ["one", "two"]


def test_turns_and_variables_make_the_question() -> None:
    turns = [{"role": r, "content": c} for r, c in (("user", "a"), ("assistant", "b"), ("user", "c"))]
    assert question_text(turns, {"n": 1}) == 'a\nb\nc\n{"n":1}'


def test_a_missing_holdout_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="ratchet holdout add routing"):
        read_questions(tmp_path, "routing")


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"messages": [1]}', '{"messages": [{"role": "user"}]}', '"x"'])
def test_a_malformed_line_is_named(tmp_path: Path, line: str) -> None:
    write(tmp_path, "holdout.jsonl", '{"text": "one"}', line)
    with pytest.raises(BadRecord, match=r"holdout\.jsonl:2"):
        read_questions(tmp_path, "routing")


def test_the_cut_is_the_time_of_labelling(tmp_path: Path) -> None:
    assert read_cut(tmp_path) is None
    write(tmp_path, "meta.json", '{"labelled_at": "2026-01-05T10:00:00+00:00"}')
    assert read_cut(tmp_path) == datetime(2026, 1, 5, 10, tzinfo=UTC)


@pytest.mark.parametrize("meta", ["{", "{}", '{"labelled_at": "monday"}', '{"labelled_at": "2026-01-05T10:00:00"}'])
def test_a_malformed_cut_is_refused(tmp_path: Path, meta: str) -> None:
    write(tmp_path, "meta.json", meta)
    with pytest.raises(BadRecord, match=r"meta\.json"):
        read_cut(tmp_path)
