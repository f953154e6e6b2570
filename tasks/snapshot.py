"""Stage snapshot: joins raw interactions with their feedback into one table; unreadable rows are listed, not fatal.

Lines are checked one by one (tasks/raw_parts.py); who is a duplicate, which feedback belongs to which interaction and
the order of the rows is DuckDB's work, on disk where memory ends. Command line: python -m tasks.snapshot
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratchet.errors import BadInput, RatchetError
from ratchet.files import canonical_json, write_json
from ratchet.params import Params, load_params
from ratchet.process import die_with_parent
from tasks.raw_parts import sortable, write_parts
from tasks.tables import write_batches

if TYPE_CHECKING:
    import duckdb

__all__ = ["COLUMNS", "main", "snapshot", "sortable"]

COLUMNS = {
    "interaction_id": "str",
    "tenant": "str",
    "session_id": "str",
    "user_id": "str",
    "at": "str",
    "messages": "str",
    "variables": "str",
    "contexts": "str",
    "output": "str",
    "release_id": "str",
    "channel": "str",
    "fallback": "bool",
    "consent": "bool",
    "feedback": "str",
    "feedback_at": "str",
    "input_text": "str",
    "input_chars": "int",
    "n_feedback": "int",
    "latency_ms": "float",
}
MEMORY_LIMIT = "1GB"  # DuckDB's; beyond it, it works on disk
BATCH_ROWS = 2048

# The first of two with one id is kept; feedback needs an interaction that was.
JOINED = """
create view asked as select * from read_parquet('{parts}/asked/*.parquet');
create view said as select * from read_parquet('{parts}/said/*.parquet');
create view read_refused as select * from read_parquet('{parts}/rejected/*.parquet');
create table first_asked as select interaction_id, min(seq) as seq from asked group by interaction_id;
create table first_said as select feedback_id, min(seq) as seq from said group by feedback_id;
create table heard as
    select interaction_id, '[' || string_agg(feedback, ',' order by "at", feedback_id) || ']' as feedback,
        max("at") as feedback_at, count(*) as n_feedback
    from said semi join first_said using (seq) semi join first_asked using (interaction_id) group by interaction_id;
create table refused as
    select place, reason, record_id from read_refused
    union all select place, 'duplicate id', interaction_id from asked anti join first_asked using (seq)
    union all select place, 'duplicate id', feedback_id from said anti join first_said using (seq)
    union all select place, 'feedback on an unknown interaction', feedback_id
        from said semi join first_said using (seq) anti join first_asked using (interaction_id);
"""
ROWS = """
select {columns} from (
    select asked.*, coalesce(feedback, '[]') as feedback, feedback_at, coalesce(n_feedback, 0) as n_feedback
    from asked semi join first_asked using (seq) left join heard using (interaction_id)
) order by "at", interaction_id
"""


def snapshot(params: Params) -> dict[str, Any]:
    """Run the stage in the current folder; return the counts that were written.

    Lines = rows + rejected, for interactions and for feedback. Memory does not grow with the number of rows.

    Raises:
        BadInput: there is no raw folder.
    """
    raw = params.inputs / "raw"
    if not raw.is_dir():
        raise BadInput(f"{raw} is missing: `ratchet run {params.feature}` harvests it from what users said")
    with _scratch(params.outputs / "snapshot.tmp") as scratch, _database(scratch) as database:
        write_parts(raw, params.feature, scratch / "parts")
        for statement in JOINED.format(parts=_quoted(scratch / "parts")).split(";"):
            if statement.strip():
                database.execute(statement)
        ordered = database.sql(ROWS.format(columns=", ".join(f'"{name}"' for name in COLUMNS)))
        rows = write_batches(params.outputs / "snapshot.parquet", COLUMNS, ordered.to_arrow_reader(BATCH_ROWS))
        _write_rejected(database, params.outputs / "rejected.jsonl")
        counts = _counts(database)
    assert counts["interactions"] == rows
    write_json(params.outputs / "metrics" / "snapshot.json", counts)
    return counts


def main() -> int:
    """Run the stage; a bad input is one line on standard error and its exit code."""
    began = time.monotonic()
    try:
        die_with_parent()
        params = load_params()
        counts = snapshot(params)
    except RatchetError as error:
        print(f"snapshot: {error}", file=sys.stderr)
        return error.exit_code
    write_json(params.outputs / "timings" / "snapshot.json", {"seconds": round(time.monotonic() - began, 3)})
    print(f"snapshot: {counts['interactions']} interactions, {counts['rejected']} lines rejected", file=sys.stderr)
    return 0


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """An empty folder that is removed at the end; what a killed process left in it is removed first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _database(scratch: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    import duckdb

    spill = str(scratch / "spill")
    settings = {"memory_limit": MEMORY_LIMIT, "temp_directory": spill, "autoload_known_extensions": "false"}
    with duckdb.connect(":memory:", config=settings) as database:
        yield database


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def _write_rejected(database: duckdb.DuckDBPyConnection, path: Path) -> None:
    """The list of rejected lines in order of their places."""
    part = path.with_name(f".{path.name}.part")
    found = database.execute("select place, reason, record_id from refused order by place")
    with part.open("w", encoding="utf-8") as file:
        while rows := found.fetchmany(BATCH_ROWS):
            file.writelines(
                canonical_json(dict(zip(("where", "reason", "id"), row, strict=True))) + "\n" for row in rows
            )
    os.replace(part, path)


def _counts(database: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    rows, lines = _one(
        database,
        "select (select count(*) from first_asked), (select count(*) from asked) + (select count(*) from said) + "
        "(select count(*) from read_refused)",
    )
    feedback, with_feedback = _one(database, "select coalesce(sum(n_feedback), 0)::bigint, count(*) from heard")
    rejected, interactions = _one(
        database, "select count(*), count(*) filter (contains(place, '/interactions.jsonl:')) from refused"
    )
    reasons = database.execute("select reason, count(*) from refused group by reason order by reason").fetchall()
    assert lines == rows + feedback + rejected, "every line is a row, a feedback on one, or rejected"
    return {
        "lines": lines,
        "interactions": rows,
        "feedback": feedback,
        "with_feedback": with_feedback,
        "rejected": rejected,
        "rejected_interactions": interactions,
        "reasons": dict(reasons),
    }


def _one(database: duckdb.DuckDBPyConnection, query: str) -> tuple[int, ...]:
    return tuple(database.execute(query).fetchone() or ())


if __name__ == "__main__":
    sys.exit(main())
