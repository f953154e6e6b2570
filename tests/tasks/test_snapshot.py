"""tasks.snapshot: one row per interaction with its feedback; whatever cannot be used is listed with its reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ratchet.errors import BadInput
from tasks.snapshot import main, snapshot
from tests.tasks.batch import Batch


@pytest.fixture
def batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Batch:
    monkeypatch.chdir(tmp_path)
    return Batch(tmp_path)


def take(batch: Batch, *extra: str) -> dict[str, Any]:
    batch.write_raw(extra)
    return snapshot(batch.params())


def rejected(batch: Batch) -> list[dict[str, Any]]:
    text = (batch.root / "data/routing/rejected.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_an_interaction_is_joined_with_its_feedback_in_order_of_time(batch: Batch) -> None:
    asked = batch.ask("a question")
    batch.say(asked, "comment", "second", at="2026-01-05T11:00:00.5Z")
    batch.say(asked, "thumb", True, at="2026-01-05T11:00:00Z")
    assert take(batch)["feedback"] == 2
    (row,) = batch.table("snapshot")
    assert [said["kind"] for said in json.loads(row["feedback"])] == ["thumb", "comment"]
    assert row["feedback_at"] == "2026-01-05T11:00:00.500000+00:00"
    assert (row["input_text"], row["input_chars"], row["n_feedback"]) == ("a question", 10, 2)


def test_rows_are_in_order_of_time_whatever_the_order_in_the_files(batch: Batch) -> None:
    batch.ask("late", at="2026-01-05T10:00:00.25Z")
    batch.ask("early", at="2026-01-05T10:00:00Z")
    take(batch)
    assert [row["input_text"] for row in batch.table("snapshot")] == ["early", "late"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "malformed JSON: unexpected end of data"),
        ("[1]", "not a JSON object"),
        ('{"interaction_id": "x", "feature": "routing"}', "at: Field required"),
    ],
)
def test_a_malformed_line_is_listed_and_the_rest_goes_on(batch: Batch, line: str, reason: str) -> None:
    batch.ask("a question")
    counts = take(batch, line)
    assert (counts["interactions"], counts["rejected"], counts["reasons"]) == (1, 1, {reason: 1})
    assert rejected(batch)[0]["where"] == "default/2026-01-05/interactions.jsonl:2"


def test_of_two_records_with_one_id_the_first_is_kept(batch: Batch) -> None:
    asked = batch.ask("first")
    batch.ask("second", interaction_id=asked)
    batch.say(asked, "thumb", True)
    batch.say(asked, "thumb", False, feedback_id="f0000")
    assert take(batch)["reasons"] == {"duplicate id": 2}
    assert [(row["input_text"], row["n_feedback"]) for row in batch.table("snapshot")] == [("first", 1)]


def test_missing_feedback_is_no_error(batch: Batch) -> None:
    batch.ask("a question")
    batch.write_raw()
    (batch.root / "data/demo/routing/raw/default/2026-01-05/feedback.jsonl").unlink()
    assert snapshot(batch.params())["with_feedback"] == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"feature": "other"}, "of another feature"), ({"tenant": "acme"}, "of another tenant than")],
)
def test_records_in_the_wrong_place_are_rejected(batch: Batch, changes: dict[str, str], reason: str) -> None:
    batch.say(batch.ask("a question", **changes), "thumb", True)
    reasons = take(batch)["reasons"]
    assert "feedback on an unknown interaction" in reasons and any(r.startswith(reason) for r in reasons)


def test_no_user_text_is_in_a_reason(batch: Batch) -> None:
    content = [{"role": "user", "content": "hi", "ana@example.com": 1}]
    batch.ask("x", input={"messages": content})
    assert list(take(batch)["reasons"]) == ["input: Extra inputs are not permitted"]
    assert "ana@" not in json.dumps(rejected(batch))


def test_numbers_that_json_lacks_become_null(batch: Batch) -> None:
    row = '{"interaction_id":"n","feature":"routing","at":"2026-01-05T10:00:00Z","output":{"content":"x"},'
    take(batch, row + '"input":{"messages":[{"role":"user","content":"x"}],"variables":{"n":NaN}}}')
    assert batch.table("snapshot")[0]["variables"] == '{"n":null}'


def test_every_line_is_a_row_a_feedback_or_rejected(batch: Batch) -> None:
    asked = batch.ask("a question")
    batch.ask("again", interaction_id=asked)
    batch.say(asked, "thumb", True)
    batch.say(asked, "thumb", True, feedback_id="f0000")
    batch.say("nobody", "thumb", True)
    counts = take(batch, "{", "", '{"interaction_id": "\\ud800"}')
    assert counts["lines"] == 7 == counts["interactions"] + counts["feedback"] + counts["rejected"]
    assert len(rejected(batch)) == counts["rejected"] == sum(counts["reasons"].values()) == 5
    assert counts["rejected_interactions"] == 3


def test_odd_characters_come_through(batch: Batch) -> None:
    odd = "a\0b \u2028 \U0001f600 'quoted' \\ \x7f"
    batch.say(batch.ask(odd, interaction_id="i'1"), "comment", odd)
    take(batch)
    (row,) = batch.table("snapshot")
    assert (row["input_text"], row["interaction_id"]) == (odd, "i'1")
    assert json.loads(row["feedback"])[0]["value"] == odd


def test_a_time_that_no_clock_measured_is_none(batch: Batch) -> None:
    batch.ask("b", latency_ms=12.5)
    row = '{"interaction_id":"n","feature":"routing","at":"2026-01-05T09:00:00Z","output":{"content":"x"},'
    take(batch, row + '"input":{"messages":[{"role":"user","content":"x"}]},"latency_ms":Infinity}')
    assert [row["latency_ms"] for row in batch.table("snapshot")] == [None, 12.5]


def test_two_runs_give_the_same_bytes(batch: Batch) -> None:
    for number in range(30):
        batch.say(batch.ask(f"question {number}", at="2026-01-05T10:00:00Z"), "thumb", True)
    take(batch)
    before = batch.outputs()
    snapshot(batch.params())
    assert batch.outputs() == before


def test_without_raw_data_the_command_says_what_to_do(batch: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadInput, match="raw is missing"):
        snapshot(batch.params())
    assert main() == 2
    assert capsys.readouterr().err.startswith("snapshot: data/demo/routing/raw is missing")
