"""tasks.validate: bad rows go to quarantine, bad batches are blocked, and nothing of the content is written down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from ratchet.errors import BadInput, SettingsInvalid
from ratchet.features import load_feature
from tasks.expectations import Check
from tasks.facts import LanguagesOf, facts_of, malformed_columns
from tasks.snapshot import COLUMNS, snapshot
from tasks.tables import write_table
from tasks.validate import main, validate
from tests.routing_clone import PARAMS as PARAMS_FILE
from tests.tasks.batch import Batch, question

PARAMS = yaml.safe_load(PARAMS_FILE.read_text(encoding="utf-8"))["validate"]


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


def contract(batch: Batch, **term: Any) -> None:
    path = batch.root / "features/routing/feature.yaml"
    fields = json.loads(path.read_text(encoding="utf-8"))
    between = {"expect": "expect_column_values_to_be_between", "column": "output_chars", "kwargs": {"max_value": 30}}
    path.write_text(json.dumps(fields | {"contract": [between | {"name": "short answers"} | term]}), encoding="utf-8")
    batch.ask(question(700), output={"content": "x" * 31})


@pytest.mark.parametrize(
    ("term", "quarantined", "verdict"),
    [
        ({"severity": "info"}, 0, "pass"),
        ({"severity": "warning"}, 1, "pass"),
        ({"severity": "critical"}, 1, "block"),
        ({"severity": "critical", "mostly": 0.5}, 1, "pass"),
    ],
)
def test_a_contract_acts_by_its_severity(batch: Batch, term: dict[str, Any], quarantined: int, verdict: str) -> None:
    contract(batch, **term)
    metrics = check(batch)
    assert (metrics["quarantined"], metrics["verdict"]) == (quarantined, verdict)
    assert [c["failed_rows"] for c in metrics["checks"] if c["name"] == "short answers"] == [1]


def test_a_contract_may_ask_for_the_language_of_every_row(batch: Batch) -> None:
    contract(batch, expect="expect_column_values_to_be_in_set", column="language", kwargs={"value_set": ["en"]})
    asked = batch.ask("pouvez-vous me dire quand ma nouvelle carte bancaire sera livrée chez moi")
    check(batch)
    assert {"id": asked, "reasons": ["short answers"]} in quarantine(batch)


@pytest.mark.parametrize("kwargs", [{"max_value": []}, {}])
def test_arguments_that_no_expectation_can_be_made_of_are_told(batch: Batch, kwargs: dict[str, Any]) -> None:
    contract(batch, kwargs=kwargs)
    with pytest.raises(SettingsInvalid, match="the expectation 'short answers' cannot be made"):
        check(batch)


def test_a_drift_that_broke_something_blocks(batch: Batch) -> None:
    batch.write_params(validate={"min_rows": 1, "drift": PARAMS["drift"] | {"min_rows": 5}})
    reference = {"rows": 100, "days": 2, "until": "2026-01-01T00:00:00+00:00", "languages": {"fr": 90, "en": 10}}
    batch.write("data/demo/routing/reference.json", json.dumps(reference))
    for row in batch.interactions:
        row["input"] = {"messages": [{"role": "user", "content": "please tell me where the new card has gone to"}]}
    metrics = check(batch)
    assert metrics["verdict"] == "block"
    assert metrics["reasons"][-1].startswith("the main language broke: fr: 0% of the questions, 90% before")


def test_two_processes_find_the_facts_that_one_does(batch: Batch) -> None:
    batch.write_raw()
    snapshot(batch.params())
    path, feature = batch.root / "data/routing/snapshot.parquet", load_feature(batch.root, "routing")
    pq.write_table(pq.read_table(path), path, row_group_size=4)
    one, two = (facts_of(path, feature, LanguagesOf(1, 2), workers=n) for n in (1, 2))
    assert one.equals(two) and one["user_share"].to_pylist() == [0.1] * 10
    assert [language is not None for language in one["language"].to_pylist()] == [False, True] * 5
