import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.errors import BadInput
from ratchet.review import Item
from ratchet.sheets import FORMULA, SheetReport, guard_cell, read_decisions, unguard_cell, write_sheet

ROW = {"item_id": "a", "interaction_id": "i1", "reason": "=2+3", "messages": [{"role": "user", "content": "@SUM(1)"}]}
ITEM = Item.model_validate(ROW | {"output": "=cmd|' /C calc'!A0", "suggestions": [{"target": "-1", "weight": 0.5}]})


def read(path: Path, content: str | bytes) -> tuple[SheetReport, list[dict[str, Any]]]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    taken: list[dict[str, Any]] = []

    def decide(row: dict[str, Any]) -> bool:
        if row["decision"] == "bad":
            raise BadInput("not a label")
        taken.append(row)
        return row["decision"] != "known"

    return read_decisions(path, decide), taken


@given(st.text())
def test_guarded_cell_is_no_formula_and_comes_back_as_it_was(text: str) -> None:
    assert not guard_cell(text).startswith(FORMULA)
    assert unguard_cell(guard_cell(text)) == text


@pytest.mark.parametrize("typed", ["'tis fine", "cards", "it's =2", ""])
def test_what_a_person_types_stays(typed: str) -> None:
    assert unguard_cell(typed) == typed


def test_no_cell_of_the_csv_is_a_formula(tmp_path: Path) -> None:
    write_sheet(tmp_path / "o.csv", [ITEM], is_blind=False)
    text = (tmp_path / "o.csv").read_bytes().decode("utf-8-sig")
    cells = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
    assert "'=cmd|' /C calc'!A0" in cells and not any(cell.startswith(FORMULA) for cell in cells)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_blind_sheet_holds_nothing_but_what_was_asked(tmp_path: Path, suffix: str) -> None:
    write_sheet(tmp_path / f"o.{suffix}", [ITEM], is_blind=True)
    text = (tmp_path / f"o.{suffix}").read_text()
    assert "@SUM(1)" in text and "calc" not in text and "i1" not in text and "suggest" not in text


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_unfilled_sheet_decides_nothing(tmp_path: Path, suffix: str) -> None:
    write_sheet(tmp_path / f"o.{suffix}", [ITEM], is_blind=False)
    report, taken = read(tmp_path / f"o.{suffix}", (tmp_path / f"o.{suffix}").read_bytes())
    assert (report.rows, report.empty, taken) == (1, 1, [])


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_decision_of_a_csv_is_taken_whatever_the_spreadsheet_puts_between(tmp_path: Path, delimiter: str) -> None:
    line = delimiter.join
    report, taken = read(tmp_path / "i.csv", f"{line(['item_id', 'decision'])}\n{line(['a', 'cards'])}\n")
    assert taken == [{"item_id": "a", "decision": "cards"}] and report.stored == 1


def test_every_row_is_counted_and_bad_ones_are_named_by_line(tmp_path: Path) -> None:
    rows = 'item_id,decision\na,"two\nlines"\nb,\nc,known\nd,bad\na,again\ne\n,x\n'
    report = read(tmp_path / "i.csv", rows)[0]
    assert (report.rows, report.stored, report.known, report.empty) == (7, 1, 1, 1)
    assert [(r.where, r.reason) for r in report.refusals] == [
        ("i.csv:6", "not a label"),
        ("i.csv:7", "the item stands twice in the file"),
        ("i.csv:8", "more or fewer cells than the head of the file"),
        ("i.csv:9", "needs item_id and decision"),
    ]


def test_jsonl_rows_are_counted_as_well(tmp_path: Path) -> None:
    rows: list[Any] = [{"item_id": "a", "decision": {"route": "cards"}}, {"item_id": "b", "decision": None}]
    rows += [{"item_id": "c", "decision": 7}, {"item_id": 1, "decision": "x"}, {"item_id": "d"}, [1]]
    report, _ = read(tmp_path / "i.jsonl", "".join(json.dumps(row) + "\n" for row in rows) + "{\n")
    assert (report.rows, report.stored, report.empty, report.rejected.total()) == (7, 1, 1, 5)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("i.csv", "item_id,decision\na,\xfc".encode("latin-1"), "save it as CSV UTF-8"),
        ("i.csv", b"", "item_id and decision are needed"),
        ("i.csv", b"a;b\n1;2\n", "item_id and decision are needed"),
        ("i.xlsx", b"", r"name it \.csv or \.jsonl"),
        ("i.csv", b'item_id,decision\na,"' + b"x" * 1_100_000, r"i\.csv:2: field larger"),
    ],
)
def test_file_that_is_no_sheet_is_refused(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    with pytest.raises(BadInput, match=problem):
        read(tmp_path / name, content)


@given(st.binary(max_size=200))
def test_any_bytes_are_counted_or_refused_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, tail: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp()
    for name, head in (("f.csv", b"item_id,decision\na,cards\n"), ("f.jsonl", b'{"item_id":"a","decision":"cards"}\n')):
        try:
            report, _ = read(folder / name, head + tail)
        except BadInput:
            continue
        assert report.rows == report.stored + report.known + report.empty + report.rejected.total()
