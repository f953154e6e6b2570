"""tasks.tables: Parquet with the same bytes each time."""

from __future__ import annotations

from pathlib import Path

from tasks.tables import read_table, write_table

COLUMNS = {"name": "str", "count": "int", "share": "float", "is_good": "bool"}
ROWS = [{"name": "a", "count": 1, "share": 0.5, "is_good": True}, {"name": None, "count": 2, "share": 1.0}]


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", COLUMNS, ROWS)
    assert read_table(tmp_path / "t.parquet") == [ROWS[0], {**ROWS[1], "is_good": None}]


def test_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_table(tmp_path / name, COLUMNS, ROWS)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_no_rows_still_have_their_columns(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", COLUMNS, [])
    assert read_table(tmp_path / "t.parquet") == []
