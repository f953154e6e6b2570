"""Parquet with the same bytes each time: a fixed schema, rows in the order given, row groups cut by rule.

Small tables are written and read whole; large ones are streamed, one row group in memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ratchet.files import write_whole

TYPES = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
STEP = 256  # rows that are put into a row group at once
GROUP_ROWS = 16_384
GROUP_BYTES = 32 << 20  # a row may hold megabytes: a row group ends with the step that reaches either


def schema_of(columns: Mapping[str, str]) -> pa.Schema:
    """The schema of a table; `columns` maps each name to str, int, float or bool."""
    return pa.schema([(name, TYPES[kind]) for name, kind in columns.items()])


def write_table(path: Path, columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as one row group; `columns` maps each name to str, int, float or bool."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.Table.from_pylist([{name: row.get(name) for name in columns} for row in rows], schema=schema_of(columns)),
        sink,
    )
    write_whole(path, bytes(sink.getvalue().to_pybytes()))


def read_table(path: Path) -> list[dict[str, Any]]:
    """Read all rows."""
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def write_batches(path: Path, columns: Mapping[str, str], batches: Iterable[pa.RecordBatch]) -> int:
    """Write a stream of rows; returns their number.

    Where a row group ends depends on the rows alone, never on how the stream was cut. The file appears whole or not at
    all; what a killed process leaves behind (`.<name>.part`) is overwritten by the next.
    """
    schema = schema_of(columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    written = 0
    with part.open("wb") as file:
        with pq.ParquetWriter(file, schema) as writer:
            for group in _row_groups(batches, schema):
                writer.write_table(group, row_group_size=group.num_rows or None)
                written += group.num_rows
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    return written


def read_batches(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The row groups of a table in order, each as an Arrow table; `columns` picks some."""
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            yield file.read_row_group(number, columns=list(columns) if columns is not None else None)


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """All rows in order; memory is one row group."""
    for group in read_batches(path):
        yield from group.to_pylist()


def _row_groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    group: list[pa.Table] = []
    rows = size = 0
    for step in _steps(batches, schema):
        group.append(step)
        rows += step.num_rows
        size += step.nbytes
        if rows >= GROUP_ROWS or size >= GROUP_BYTES:
            yield pa.concat_tables(group).combine_chunks()
            group, rows, size = [], 0, 0
    if group:
        yield pa.concat_tables(group).combine_chunks()


def _steps(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows in pieces of STEP, the last one shorter."""
    waiting = schema.empty_table()
    for batch in batches:
        waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch]).cast(schema)]).combine_chunks()
        whole = waiting.num_rows - waiting.num_rows % STEP
        yield from (waiting.slice(start, STEP) for start in range(0, whole, STEP))
        waiting = waiting.slice(whole)
    if waiting.num_rows:
        yield waiting
