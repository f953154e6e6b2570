"""The bare libraries that the data stages stand on, each doing the core of a stage's work on the same rows.

Command line: python -m benchmarks.bare_data {sqlite,json,duckdb,pydantic,gx,datasketch} FOLDER; the folder holds
flat.jsonl, and snapshot.parquet for the last two.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq


def sqlite(folder: Path) -> None:
    """Import: each line parsed and put into a table in transactions of 1,000."""
    with sqlite3.connect(folder / "bare.db") as database:
        database.execute("pragma journal_mode = wal")
        database.execute("create table rows (id text primary key, body text)")
        waiting = []
        with (folder / "flat.jsonl").open(encoding="utf-8") as file:
            for line in file:
                if row := _parsed(line):
                    waiting.append((row.get("feedback_id") or row.get("interaction_id"), line))
                if len(waiting) >= 1000:
                    database.executemany("insert or ignore into rows values (?, ?)", waiting)
                    database.commit()
                    waiting = []
        database.executemany("insert or ignore into rows values (?, ?)", waiting)


def read_write_json(folder: Path) -> None:
    """Scrub: each line read and written again."""
    with (folder / "flat.jsonl").open(encoding="utf-8") as file, (folder / "bare.jsonl").open("w") as out:
        for line in file:
            if row := _parsed(line):
                out.write(json.dumps(row) + "\n")


def duckdb(folder: Path) -> None:
    """Snapshot: JSON to Parquet, joined and ordered; nothing is checked."""
    import duckdb

    source = f"read_json('{folder}/flat.jsonl', ignore_errors = true, format = 'newline_delimited')"
    with duckdb.connect(
        ":memory:", config={"memory_limit": "1GB", "temp_directory": str(folder / "spill")}
    ) as database:
        database.execute(f"create table rows as select * from {source}")
        said = "select interaction_id, list(value) as said from rows where feedback_id is not null group by 1"
        asked = "select * exclude (feedback_id, value, kind, source) from rows where feedback_id is null"
        joined = f"select * from ({asked}) left join ({said}) using (interaction_id)"
        database.execute(f"copy ({joined} order by \"at\", interaction_id) to '{folder}/bare.parquet'")


def pydantic(folder: Path) -> None:
    """Snapshot: each line through the record's model, nothing else."""
    from ratchet.records import Feedback, Interaction

    with (folder / "flat.jsonl").open(encoding="utf-8") as file:
        for line in file:
            if row := _parsed(line):
                kind = Feedback if "feedback_id" in row else Interaction
                try:
                    kind.model_validate(row)
                except ValueError:
                    continue


def gx(folder: Path) -> None:
    """Validate: the nine expectations of every feature on a frame that is there already."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    frame = pq.read_table(
        folder / "snapshot.parquet", columns=["interaction_id", "input_chars", "n_feedback"]
    ).to_pandas()
    frame = frame.assign(last_role="user", holds_pii=0, answer_fits=1, user_share=0.01)
    expect = gx.expectations
    suite = [
        expect.ExpectColumnValuesToNotBeNull(column="interaction_id"),
        expect.ExpectColumnValuesToBeUnique(column="interaction_id"),
        expect.ExpectColumnValuesToBeBetween(column="input_chars", min_value=1, max_value=8000),
        expect.ExpectColumnValuesToBeInSet(column="last_role", value_set=["user", "tool"]),
        expect.ExpectColumnValuesToBeInSet(column="holds_pii", value_set=[0]),
        expect.ExpectColumnValuesToBeInSet(column="answer_fits", value_set=[1]),
        expect.ExpectTableRowCountToBeBetween(min_value=20),
        expect.ExpectColumnMaxToBeBetween(column="n_feedback", min_value=1),
        expect.ExpectColumnMaxToBeBetween(column="user_share", max_value=0.5),
    ]
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("rows").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    for expectation in suite:
        batch.validate(expectation, result_format={"result_format": "COMPLETE"})


def datasketch(folder: Path) -> None:
    """Curate: near-duplicates of the questions with feedback, by MinHash of word triples."""
    from datasketch import MinHash, MinHashLSH

    table = pq.read_table(folder / "snapshot.parquet", columns=["input_text", "n_feedback"])
    texts = [row["input_text"] for row in table.to_pylist() if row["n_feedback"]]
    index = MinHashLSH(threshold=0.8, num_perm=128)
    shingles = [[" ".join(words[n : n + 3]).encode() for n in range(len(words) - 2)] for words in map(str.split, texts)]
    for number, hashed in enumerate(MinHash.generator(shingles, num_perm=128)):
        index.query(hashed)
        index.insert(str(number), hashed)


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


STEPS = {
    "sqlite": sqlite,
    "json": read_write_json,
    "duckdb": duckdb,
    "pydantic": pydantic,
    "gx": gx,
    "datasketch": datasketch,
}

if __name__ == "__main__":
    STEPS[sys.argv[1]](Path(sys.argv[2]))
