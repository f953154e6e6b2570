"""Reads what curate works on: the interactions about which something is claimed. The others are counted where they lie.

The joins and counts are DuckDB's, which streams the file; in Python is only what was spoken about. Conversations are
shared among processes: what is derived from one needs no other.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from ratchet.examples import SetAside, resolve
from ratchet.features import Feature
from ratchet.feedback import claims_of
from ratchet.process import cores, run_each
from ratchet.records import Feedback
from ratchet.signals import WEIGHT, Signal, derive_signals

Row = dict[str, Any]
FEEDBACK = TypeAdapter(list[Feedback])
BATCH = 4096
MEMORY = "512MB"
WORTH_A_POOL = 20_000  # rows; below, starting processes costs more than it saves
PART = "hash(tenant, coalesce(nullif(session_id, ''), interaction_id)) % {of} = {number}"
TURNS = """
    SELECT tenant, session_id, user_id, "at", interaction_id, input_text, output FROM valid WHERE session_id <> ''
    QUALIFY count(*) OVER (PARTITION BY tenant, session_id) > 1 OR trim(output) = ''
    ORDER BY tenant, session_id, "at", interaction_id
"""
JUDGED = """
    CREATE TEMP VIEW judged AS SELECT valid.*,
        CASE WHEN consent IS FALSE OR (getvariable('consent_is_required') AND consent IS NULL) THEN 'no consent'
             WHEN left_out.reason IS NOT NULL THEN left_out.reason
             WHEN fallback THEN 'fallback answer'
             WHEN n_feedback = 0 AND signalled.interaction_id IS NULL THEN 'no feedback' END AS barred
    FROM valid LEFT JOIN signalled USING (interaction_id) LEFT JOIN left_out USING (tenant)
"""
COUNTED = "SELECT barred, count(*) FROM judged WHERE barred IS NOT NULL GROUP BY barred"
SPOKEN_OF = """
    SELECT interaction_id, tenant, user_id, session_id, "at", messages, variables, output, feedback
    FROM judged WHERE barred IS NULL ORDER BY "at", interaction_id
"""
TEXTS = """
    SELECT interaction_id, messages, variables, contexts, output FROM valid SEMI JOIN wanted USING (interaction_id)
"""
CONTEXTS = "SELECT contexts FROM judged WHERE barred IS NULL AND contexts <> '[]'"
KEPT = ("interaction_id", "tenant", "user_id", "session_id", "at")


class Gathered(NamedTuple):
    """The rows with claims (by time), how many rows there are in all, and why the others are not looked at."""

    rows: list[Row]
    n_rows: int
    aside: Counter[str]


class _Part(NamedTuple):
    """Some of the conversations: those whose hash leaves `number` when it is divided by `of`."""

    number: int
    of: int


class _Found(NamedTuple):
    """What one part gives: rows with claims, why others are not looked at, and which answers behaviour speaks of."""

    rows: list[Row]
    aside: Counter[str]
    signalled: list[str]


@contextmanager
def open_valid(path: Path, part: _Part | None = None) -> Iterator[Any]:
    """A DuckDB connection with the table `valid`, or a part of it; it spills to a folder that goes with it."""
    import duckdb

    with tempfile.TemporaryDirectory() as spill:
        config = {"threads": 1, "memory_limit": MEMORY, "temp_directory": spill}
        with duckdb.connect(config=config) as connection:
            rows = connection.read_parquet(str(path))
            (rows.filter(PART.format(**part._asdict())) if part else rows).create_view("valid")
            yield connection


def tenants_in(connection: Any) -> list[str]:
    """The tenants of the batch, sorted."""
    return [name for (name,) in connection.execute("SELECT DISTINCT tenant FROM valid ORDER BY 1").fetchall()]


def gather(
    path: Path, connection: Any, feature: Feature, left_out: Mapping[str, str], *, workers: int | None = None
) -> Gathered:
    """Every interaction that is spoken about and may be learned from: its ids, `at`, `claims` and `feedback_ids`.

    The other texts stay in the file; `texts_of` reads those that are needed.

    Args:
        path: the file of `connection`.
        connection: of `open_valid`; afterwards its view `judged` says of each row why it is not looked at.
        feature: says how a target is written and whether silence on consent is consent.
        left_out: tenants that are not learned from, with the reason.
        workers: how many processes; the default is one per core where that pays. The result is the same.
    """
    if workers is None:
        [(n_rows,)] = connection.execute("SELECT count(*) FROM valid").fetchall()
        workers = cores() if n_rows >= WORTH_A_POOL else 1
    parts = [_Part(number, workers) for number in range(workers)]
    found = run_each(partial(_gather_part, path, feature, left_out), parts, workers=workers)
    _judge(connection, feature, left_out, [name for part in found for name in part.signalled])
    rows = sorted((row for part in found for row in part.rows), key=lambda row: (row["at"], row["interaction_id"]))
    aside = sum((part.aside for part in found), Counter[str]())
    return Gathered(rows, len(rows) + aside.total(), aside)


def _gather_part(path: Path, feature: Feature, left_out: Mapping[str, str], part: _Part) -> _Found:
    with open_valid(path, part) as connection:
        signals = find_signals(connection)
        _judge(connection, feature, left_out, list(signals))
        aside = Counter(dict(connection.execute(COUNTED).fetchall()))
        rows = []
        for batch in connection.sql(SPOKEN_OF).to_arrow_reader(BATCH):
            for row in batch.to_pylist():
                found = with_claims(row, feature, signals.get(row["interaction_id"], []))
                if found["claims"]:
                    rows.append(found)
                else:
                    nothing = resolve(row, [], feature)
                    assert isinstance(nothing, SetAside)
                    aside[nothing.reason] += 1
    return _Found(rows, aside, sorted(signals))


def _judge(connection: Any, feature: Feature, left_out: Mapping[str, str], signalled: Sequence[str]) -> None:
    """Make the view `judged`: every row, with the reason why it is not looked at."""
    _register(connection, "signalled", {"interaction_id": sorted(signalled)})
    _register(connection, "left_out", {"tenant": list(left_out), "reason": list(left_out.values())})
    connection.execute(f"SET VARIABLE consent_is_required = {feature.consent == 'required'}")
    connection.execute(JUDGED)


def texts_of(connection: Any, ids: Sequence[str]) -> dict[str, Row]:
    """What was asked and answered in the interactions named: messages, variables and contexts as JSON, and output."""
    _register(connection, "wanted", {"interaction_id": ids})
    found = connection.sql(TEXTS)
    return {row["interaction_id"]: row for batch in found.to_arrow_reader(BATCH) for row in batch.to_pylist()}


def find_signals(connection: Any) -> dict[str, list[Signal]]:
    """The derived signals that weigh something, by interaction; sessions are streamed."""
    found: dict[str, list[Signal]] = defaultdict(list)
    reader = connection.sql(TURNS).to_arrow_reader(BATCH)
    for signal in derive_signals(turn for batch in reader for turn in batch.to_pylist()):
        if WEIGHT[signal.kind] > 0:
            found[signal.interaction_id].append(signal)
    return found


def with_claims(row: Row, feature: Feature, signals: Sequence[Signal]) -> Row:
    """The ids of a row and what is claimed about its answer."""
    feedbacks = FEEDBACK.validate_json(row["feedback"])
    return {
        **{name: row[name] for name in KEPT},
        "claims": claims_of(row, feedbacks, feature, signals),
        "feedback_ids": sorted(f.feedback_id for f in feedbacks),
    }


def passages(connection: Any) -> Iterator[str]:
    """Each text that the application retrieved for an answer that was spoken about, once."""
    seen: set[int] = set()
    for batch in connection.sql(CONTEXTS).to_arrow_reader(BATCH):
        for (contexts,) in zip(batch.column(0).to_pylist(), strict=True):
            for context in json.loads(contexts):
                if hash(context["text"]) not in seen:
                    seen.add(hash(context["text"]))
                    yield context["text"]


def _register(connection: Any, name: str, columns: Mapping[str, Sequence[str]]) -> None:
    import pyarrow as pa

    connection.register(name, pa.table({key: pa.array(values, pa.string()) for key, values in columns.items()}))
