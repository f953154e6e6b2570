"""The curated examples as files and as counts: what the arms of tune read, and what the metrics say of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ratchet.files import write_whole

Row = dict[str, Any]
OWN = ("example_id", "interaction_id", "user_id", "session_id", "target", "label", "origin", "weight", "feedback_at")
LINEAGE = ("cluster", "tenant", "interaction_ids", "feedback_ids")  # the ids are JSON, of the whole cluster
JOINED = """
    SELECT example_id, interaction_id, chosen.user_id, chosen.session_id, messages, variables, contexts, target, label,
        origin, weight, chosen.feedback_at, cluster, chosen.tenant, output AS answer, interaction_ids, feedback_ids
    FROM chosen JOIN valid USING (interaction_id) ORDER BY example_id
"""
LANGUAGE_SAMPLE = 5000  # ids are digests, so the first by id are a random sample


def write_examples(path: Path, rows: Sequence[Row], valid: Any) -> None:
    """Write examples in the order of their ids; their texts are joined from the table `valid` of the connection."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = [*OWN, *LINEAGE]
    schema = pa.schema([(name, pa.float64() if name == "weight" else pa.string()) for name in columns])
    chosen = pa.Table.from_pylist([{name: row[name] for name in columns} for row in rows], schema=schema)
    valid.register("chosen", chosen)
    joined = valid.sql(JOINED).to_arrow_table()
    sink = pa.BufferOutputStream()
    pq.write_table(joined, sink)
    write_whole(path, bytes(sink.getvalue().to_pybytes()))


def count_used(used: Sequence[Row]) -> dict[str, Any]:
    """Counts of what is used, by part, origin, label, tenant and language."""
    return {
        "used": len(used),
        "train": sum(row["split"] == "train" for row in used),
        "validation": sum(row["split"] == "validation" for row in used),
        "origins": _count(used, "origin"),
        "labels": _count(used, "label"),
        "tenants": _count(used, "tenant"),
        "languages": _languages(used),
    }


def _count(used: Sequence[Row], column: str) -> dict[str, int]:
    return dict(sorted(Counter(row[column] for row in used if row[column] is not None).items()))


def _languages(used: Sequence[Row]) -> dict[str, int]:
    from py3langid import classify

    sample = sorted(used, key=lambda row: str(row["example_id"]))[:LANGUAGE_SAMPLE]
    return dict(sorted(Counter(str(classify(row["claims"][0].text)[0]) for row in sample).items()))
