import csv
import json
from pathlib import Path
from typing import Any

import pytest

from ratchet.errors import BadInput
from ratchet.records import Interaction
from ratchet.tenants import Tenant
from tasks.curated import LINEAGE, OWN
from tasks.export import EXPORTS, ExportReport, export
from tasks.formats import read_records
from tasks.snapshot import COLUMNS as SNAPSHOT
from tasks.tables import read_table, write_table

KEYS = {"role", "content", "name", "function_call", "weight"}  # of a message, by OpenAI's own check
ODD = 'He said "no", then\r\nleft;\t=cmd|x, é ✓\u2028 - -1'
SYSTEM, USER = {"role": "system", "content": "You help."}, {"role": "user", "content": ODD}
TEXTS = ("messages", "variables", "contexts", "answer")
ANSWERED = {name: "float" if name == "weight" else "str" for name in (*OWN, *TEXTS, *LINEAGE)}


def example(number: int, *messages: dict[str, str], **changes: Any) -> dict[str, Any]:
    known = {"example_id": f"e{number}", "interaction_id": f"i{number}", "variables": "{}", "contexts": "[]"}
    row = known | {"target": "right", "answer": "wrong", "origin": "correction", "weight": 1.0, "label": None}
    return row | {"messages": json.dumps(messages or (SYSTEM, USER)), "feedback_at": "2026-01-01"} | changes


def exported(tmp_path: Path, format: str, *rows: dict[str, Any], columns: Any = ANSWERED) -> tuple[ExportReport, Path]:
    source = tmp_path / "data" / "curated" / "train.parquet"
    write_table(source, columns, rows)
    report = export({"train": source}, format, tmp_path / "out")
    assert report.rows == len(rows) == report.written + report.left_out.total()
    return report, report.files[0]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().split("\n") if line]


def openai_faults(rows: list[dict[str, Any]]) -> list[str]:
    """The format errors that OpenAI's cookbook counts (chat_finetuning_data_prep)."""
    found = []
    for row in rows:
        messages = row.get("messages")
        if not isinstance(row, dict) or not messages:
            found.append("missing_messages_list")
            continue
        for message in messages:
            found += ["message_missing_key"] * ("role" not in message or "content" not in message)
            found += ["message_unrecognized_key"] * bool(set(message) - KEYS)
            found += ["unrecognized_role"] * (message.get("role") not in ("system", "user", "assistant", "function"))
            found += ["missing_content"] * (not message.get("content") or not isinstance(message["content"], str))
        found += ["example_missing_assistant_message"] * all(m.get("role") != "assistant" for m in messages)
    return found


def test_sft_rows_are_valid_by_openais_own_check_and_come_back_the_same(tmp_path: Path) -> None:
    rows = [example(1), example(2, USER), example(3, SYSTEM, USER, {"role": "assistant", "content": "What?"}, USER)]
    _, path = exported(tmp_path, "openai-sft", *rows)
    assert openai_faults(lines(path)) == []
    back = list(read_records(path, "openai-chat", feature="f"))
    assert all(isinstance(record, Interaction) for record in back)
    assert [[m.model_dump() for m in r.input.messages] for r in back] == [json.loads(r["messages"]) for r in rows]  # type: ignore[union-attr]
    assert [r.output.content for r in back] == ["right"] * 3  # type: ignore[union-attr]


def test_sft_leaves_out_what_openai_would_refuse(tmp_path: Path) -> None:
    tool = {"role": "tool", "content": "x"}
    rows = [example(1), example(2, SYSTEM), example(3, USER, tool), example(4, target=" ")]
    report, path = exported(tmp_path, "openai-sft", *rows)
    assert len(lines(path)) == 1 and set(report.left_out) == {
        "no user turn",
        "a tool's message without the call that it answers",
        "the right output is empty",
    }


def test_passages_come_first_as_a_system_turn(tmp_path: Path) -> None:
    contexts = json.dumps([{"id": "a", "text": "Cards take a week."}, {"id": "b", "text": "Call us."}])
    _, path = exported(tmp_path, "openai-sft", example(1, USER, contexts=contexts))
    first = lines(path)[0]["messages"][0]
    assert first == {"role": "system", "content": "[1] Cards take a week.\n[2] Call us."}


def test_dpo_pairs_the_right_output_with_what_was_answered(tmp_path: Path) -> None:
    report, path = exported(tmp_path, "openai-dpo", example(1), example(2, answer="right "), example(3, answer=None))
    (row,) = lines(path)
    assert row["input"]["messages"] == [SYSTEM, USER]
    assert row["preferred_output"] == [{"role": "assistant", "content": "right"}]
    assert row["non_preferred_output"] == [{"role": "assistant", "content": "wrong"}]
    assert set(report.left_out) == {"the answer was right: no pair", "no answer of the release is known"}
    back = list(read_records(path, feature="f"))
    assert back[0].output.content == "wrong" and back[1].value == {"chosen": "right", "rejected": "wrong"}  # type: ignore[union-attr]


def test_dpo_finds_the_answer_in_the_snapshot_where_examples_do_not_say_it(tmp_path: Path) -> None:
    columns = {name: kind for name, kind in ANSWERED.items() if name != "answer"}
    with pytest.raises(BadInput, match="does not say what was answered"):
        exported(tmp_path, "openai-dpo", example(1), columns=columns)
    asked = {"interaction_id": "i1", "output": "from the snapshot"}
    write_table(tmp_path / "data" / "snapshot.parquet", SNAPSHOT, [asked])
    _, path = exported(tmp_path, "openai-dpo", example(1), columns=columns)
    assert lines(path)[0]["non_preferred_output"][0]["content"] == "from the snapshot"


def test_hf_folder_is_what_datasets_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    from datasets import load_dataset

    _, path = exported(tmp_path, "hf", example(1), example(2, USER, label="a"))
    loaded = load_dataset("parquet", data_files={"train": str(path)}, cache_dir=str(tmp_path / "cache"))["train"]
    assert loaded["messages"][1] == [USER, {"role": "assistant", "content": "right"}]
    assert loaded.column_names == ["messages", "answer", "label", "origin", "weight", "example_id"]


def test_parquet_is_the_examples_as_they_are(tmp_path: Path) -> None:
    _, path = exported(tmp_path, "parquet", *(example(n) for n in range(2500)))
    assert read_table(path) == read_table(tmp_path / "data" / "curated" / "train.parquet")


def test_h2o_file_is_read_by_pandas_cell_by_cell(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    talk = (USER, {"role": "assistant", "content": "What?"}, {"role": "user", "content": "This."})
    _, path = exported(tmp_path, "h2o", example(1), example(2, *talk), example(3, USER, target="=1+1"))
    frame = pandas.read_csv(path, keep_default_na=False)
    assert list(frame.columns) == ["id", "system", "instruction", "output"] and frame.system[0] == "You help."
    assert frame.instruction[0] == ODD and frame.instruction[1] == f"User: {ODD}\nAssistant: What?\nUser: This."
    assert list(frame.output) == ["right", "right", "=1+1"]
    with path.open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 3


def test_h2o_leaves_out_a_cell_that_csv_cannot_hold(tmp_path: Path) -> None:
    report, _ = exported(tmp_path, "h2o", example(1), example(2, target="a\0b"))
    assert list(report.left_out) == ["holds a NUL, which ends a CSV cell"]


@pytest.mark.parametrize("format", EXPORTS)
def test_examples_of_nothing_give_an_empty_file(tmp_path: Path, format: str) -> None:
    report, path = exported(tmp_path, format)
    assert report.written == 0 and path.is_file() and sorted(p.name for p in path.parent.iterdir()) == [path.name]


@pytest.mark.parametrize("changes", [{"messages": "{"}, {"messages": '["x"]'}, {"messages": None}, {"contexts": "[1]"}])
@pytest.mark.parametrize("format", ["openai-sft", "openai-dpo", "hf", "h2o"])
def test_row_that_holds_no_chat_is_left_out(tmp_path: Path, format: str, changes: dict[str, Any]) -> None:
    report, _ = exported(tmp_path, format, example(1, **changes), example(2))
    assert report.left_out == {"messages or contexts are not JSON of ours": 1} and report.written == 1


def test_unknown_format_and_files_that_hold_no_examples_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="xml: no such format; there are openai-sft"):
        export({}, "xml", tmp_path)
    write_table(tmp_path / "x.parquet", {"a": "str"}, [{"a": "b"}])
    with pytest.raises(BadInput, match="holds no examples; it has no column example_id"):
        export({"x": tmp_path / "x.parquet"}, "openai-sft", tmp_path / "out")
    (tmp_path / "y.parquet").write_text("nothing")
    with pytest.raises(BadInput, match="not a Parquet file"):
        export({"y": tmp_path / "y.parquet"}, "parquet", tmp_path / "out")


RULES = {"shy": Tenant(train=False), "here": Tenant(regions=("eu",)), "open": Tenant()}


@pytest.mark.parametrize(("format", "written"), [("openai-sft", 2), ("hf", 3)])
def test_a_tenants_rules_of_today_keep_its_rows_from_a_provider(tmp_path: Path, format: str, written: int) -> None:
    rows = [example(n, tenant=name) for n, name in enumerate(("shy", "here", "open", "default"))]
    source = tmp_path / "data" / "curated" / "train.parquet"
    write_table(source, ANSWERED, rows)
    report = export({"train": source}, format, tmp_path / "out", tenants=RULES)
    assert report.written == written == 4 - report.left_out.total()
    assert all(reason.startswith("rules of its tenant") for reason in report.left_out)
