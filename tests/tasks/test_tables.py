"""tasks.tables: Parquet with the same bytes each time."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.tables import GROUP_ROWS, STEP, read_batches, read_rows, read_table, schema_of, write_batches, write_table

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


def cut(n_rows: int, size: int) -> list[pa.RecordBatch]:
    """Rows with a text of one character, cut into batches of a size."""
    table = pa.Table.from_pylist([{"name": "x", "count": n} for n in range(n_rows)], schema=schema_of(COLUMNS))
    return list(table.to_batches(max_chunksize=size))


def test_a_stream_gives_the_same_bytes_however_it_was_cut(tmp_path: Path) -> None:
    n_rows = GROUP_ROWS + STEP + 3
    for name, size in {"a": 7, "b": 2048, "c": n_rows}.items():
        assert write_batches(tmp_path / name, COLUMNS, cut(n_rows, size)) == n_rows
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()
    assert [group.num_rows for group in read_batches(tmp_path / "a")] == [GROUP_ROWS, STEP + 3]
    assert [row["count"] for row in read_rows(tmp_path / "a")] == list(range(n_rows))


def test_large_texts_make_small_row_groups(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([{"name": "x" * 50_000}] * (4 * STEP), schema=schema_of(COLUMNS))
    write_batches(tmp_path / "t.parquet", COLUMNS, table.to_batches())
    assert pq.ParquetFile(tmp_path / "t.parquet").num_row_groups == 2


def test_an_empty_stream_still_has_its_columns(tmp_path: Path) -> None:
    assert write_batches(tmp_path / "t.parquet", COLUMNS, []) == 0
    assert read_table(tmp_path / "t.parquet") == [] and pq.read_schema(tmp_path / "t.parquet").names == list(COLUMNS)
