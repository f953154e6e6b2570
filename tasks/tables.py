"""Parquet with the same bytes each time: a fixed schema, rows in the order given, one row group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ratchet.files import write_whole

TYPES = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}


def write_table(path: Path, columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows; `columns` maps each name to str, int, float or bool."""
    schema = pa.schema([(name, TYPES[kind]) for name, kind in columns.items()])
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.Table.from_pylist([{name: row.get(name) for name in columns} for row in rows], schema=schema), sink
    )
    write_whole(path, bytes(sink.getvalue().to_pybytes()))


def read_table(path: Path) -> list[dict[str, Any]]:
    """Read all rows."""
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows
