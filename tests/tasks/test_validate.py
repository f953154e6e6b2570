"""tasks.validate: bad rows go to quarantine, bad batches are blocked, and nothing of the content is written down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ratchet.errors import BadInput
from tasks.expectations import Check
from tasks.facts import malformed_columns
from tasks.snapshot import COLUMNS, snapshot
from tasks.tables import write_table
from tasks.validate import main, validate
from tests.tasks.batch import Batch, question


@pytest.fixture
def batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Batch:
    monkeypatch.chdir(tmp_path)
    found = Batch(tmp_path)
    found.correct(10)
    return found


def check(batch: Batch, checks: list[Check] | None = None) -> dict[str, Any]:
    batch.write_raw()
    snapshot(batch.params())
    return validate(batch.params(), batch.root, checks)


def quarantine(batch: Batch) -> list[dict[str, Any]]:
    text = (batch.root / "data/routing/quarantine.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_a_sound_batch_passes_whole(batch: Batch) -> None:
    metrics = check(batch)
    assert (metrics["verdict"], metrics["rows"], metrics["used"], metrics["quarantined"]) == ("pass", 10, 10, 0)
    assert batch.table("valid") == batch.table("snapshot")


def test_bad_rows_go_to_quarantine_with_id_and_reasons_only(batch: Batch) -> None:
    batch.ask("x" * 9000)
    batch.ask("  ", input={"messages": [{"role": "assistant", "content": "secret text"}]})
    metrics = check(batch)
    assert quarantine(batch) == [
        {"id": "i0010", "reasons": ["question length"]},
        {"id": "i0011", "reasons": ["last turn asks", "question length"]},
    ]
    assert (metrics["verdict"], metrics["used"], metrics["by_reason"]["question length"]) == ("pass", 10, 2)


@pytest.mark.parametrize("place", ["message", "answer", "context", "comment", "variable", "attribute of feedback"])
def test_a_row_with_personal_data_is_left_out_wherever_it_stands(batch: Batch, place: str) -> None:
    batch.correct(50)
    mail = "ana@example.com"
    asked = batch.ask(
        mail if place == "message" else question(900),
        output={"content": mail if place == "answer" else "x"},
        contexts=[{"id": "a", "text": mail}] if place == "context" else [],
    )
    if place == "variable":
        batch.interactions[-1]["input"]["variables"] = {"deep": [{"who": mail}]}
    batch.say(asked, "thumb", True, comment=mail if place == "comment" else None)
    if place == "attribute of feedback":
        batch.feedback[-1]["note"] = mail
    assert check(batch)["verdict"] == "pass"
    assert quarantine(batch) == [{"id": asked, "reasons": ["no personal data"]}]


def test_a_flood_of_personal_data_blocks(batch: Batch) -> None:
    batch.ask("I am ana@example.com")
    assert check(batch)["reasons"] == ["the check 'no personal data' failed: 1 of 11 rows"]


def test_an_answer_outside_the_schema_stays_for_it_may_have_been_corrected(batch: Batch) -> None:
    batch.say(batch.ask("x y z", output={"content": "no idea"}), "correction", "loans")
    metrics = check(batch)
    assert (metrics["verdict"], metrics["quarantined"]) == ("pass", 0)
    assert [c["failed_rows"] for c in metrics["checks"] if c["name"] == "answer fits schema"] == [1]


def test_too_few_rows_and_no_feedback_block(batch: Batch) -> None:
    batch.feedback.clear()
    batch.write_params(validate={"min_rows": 11})
    metrics = check(batch)
    assert metrics["verdict"] == "block"
    assert metrics["reasons"] == [f"the check '{name}' failed (10 rows)" for name in ("enough rows", "some feedback")]


def test_too_many_bad_rows_block(batch: Batch) -> None:
    for _ in range(3):
        batch.ask("")
    assert check(batch)["reasons"] == ["3 of 13 rows are bad; at most 20% may be"]


def test_a_raising_expectation_blocks_whatever_its_severity(batch: Batch) -> None:
    raising = Check("on nothing", "ExpectColumnValuesToNotBeNull", {"column": "nothing"}, "warning")
    metrics = check(batch, [raising])
    assert (metrics["verdict"], metrics["reasons"]) == ("block", ["the check 'on nothing' could not be run"])


def test_an_empty_batch_is_blocked(batch: Batch) -> None:
    batch.interactions.clear()
    batch.feedback.clear()
    assert check(batch)["reasons"] == ["there are no interactions"]


def test_malformed_columns_come_before_the_expectations(batch: Batch) -> None:
    batch.write_raw()
    snapshot(batch.params())
    rows = batch.table("snapshot")
    rows[0]["feedback"] = '[{"kind": "thumb"}]'
    rows[1]["messages"] = None
    write_table(batch.root / "data/routing/snapshot.parquet", COLUMNS, rows)
    validate(batch.params(), batch.root)
    assert [row["reasons"] for row in quarantine(batch)] == [["malformed feedback"], ["malformed messages"]]


def test_a_value_of_another_type_is_malformed(batch: Batch) -> None:
    batch.write_raw()
    snapshot(batch.params())
    row = batch.table("snapshot")[0]
    assert malformed_columns(row) == []
    assert malformed_columns(row | {"input_chars": "five", "at": None}) == ["at", "input_chars"]


def test_no_text_is_in_the_metrics_or_the_quarantine(batch: Batch) -> None:
    batch.ask("my secret " * 900)
    check(batch)
    for name in ("metrics/validate.json", "quarantine.jsonl"):
        assert "secret" not in (batch.root / "data/routing" / name).read_text(encoding="utf-8")


def test_the_command_ends_with_0_on_a_blocked_batch_and_with_2_without_a_snapshot(
    batch: Batch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BadInput, match="run the stage snapshot first"):
        validate(batch.params(), batch.root)
    assert main() == 2
    batch.interactions.clear()
    check(batch)
    assert main() == 0
    assert "validate: block: 0 rows used, 0 quarantined" in capsys.readouterr().err
