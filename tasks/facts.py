"""What the expectations look at, per row of the snapshot: numbers, flags and ids instead of texts.

A row that is malformed has no facts; which of its columns are malformed stands in the column `malformed`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from ratchet.contract import FACTS
from ratchet.features import Feature
from ratchet.pii import Selection, holds_pii
from ratchet.process import cores, run_each
from ratchet.records import Context, Feedback, Message
from tasks.snapshot import COLUMNS
from tasks.tables import schema_of

JSON_COLUMNS: dict[str, TypeAdapter[Any]] = {
    "messages": TypeAdapter(tuple[Message, ...]),
    "variables": TypeAdapter(dict[str, Any]),
    "contexts": TypeAdapter(tuple[Context, ...]),
    "feedback": TypeAdapter(list[Feedback]),
}
MAY_BE_ABSENT = {
    "interaction_id",
    "session_id",
    "user_id",
    "release_id",
    "channel",
    "consent",
    "feedback_at",
    "latency_ms",
}
TYPES = {"str": str, "int": int, "float": float, "bool": bool}
WITHOUT_OWN_TEXT = {
    "input_text",
    "at",
    "feedback_at",
    "tenant",
    "release_id",
    "channel",
    "fallback",
    "consent",
    "latency_ms",
}
SCHEMA = schema_of(
    {"at": "str", "user_id": "str", "malformed": "str"} | {k: v for k, v in FACTS.items() if k != "user_share"}
)
OFTEN_SEEN = 48  # characters; a longer text is seldom the same twice
WORTH_A_POOL = 20_000  # rows; below, starting processes costs more than it saves
SHORTEST_TO_TELL = 20  # characters; the language of a shorter text is a guess


class LanguagesOf(NamedTuple):
    """Which rows have their language told: every `step`th from `first` on."""

    first: int
    step: int


class RowGroup(NamedTuple):
    """A row group and the position of its first row."""

    number: int
    start: int


def facts_of(path: Path, feature: Feature, languages: LanguagesOf, *, workers: int | None = None) -> pa.Table:
    """The facts about each row of a snapshot, in its order; in memory is a row group per process.

    Args:
        workers: how many processes; the default is one per core where that pays.
    """
    with pq.ParquetFile(path) as file:
        sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    if workers is None:
        workers = cores() if sum(sizes) >= WORTH_A_POOL else 1
    groups = [RowGroup(number, sum(sizes[:number])) for number in range(len(sizes))]
    facts = run_each(partial(_group_facts, path, feature, languages), groups, workers=workers)
    return _with_user_share(pa.concat_tables([SCHEMA.empty_table(), *facts]))


def malformed_columns(row: Mapping[str, Any]) -> list[str]:
    """The columns whose value has another type or is not the JSON it should be.

    This comes before the expectations: one value of another type makes an expectation say nothing about any row.
    """
    found = []
    for column, kind in COLUMNS.items():
        value = row.get(column)
        if value is None:
            is_sound = column in MAY_BE_ABSENT
        else:
            is_sound = isinstance(value, TYPES[kind]) and _is_json(column, value)
        if not is_sound:
            found.append(column)
    return found


def _group_facts(path: Path, feature: Feature, languages: LanguagesOf, group: RowGroup) -> pa.Table:
    with pq.ParquetFile(path) as file:
        rows = file.read_row_group(group.number).to_pylist()
    return pa.Table.from_pylist(list(_facts(rows, feature, languages, group.start)), schema=SCHEMA)


def _facts(
    rows: list[dict[str, Any]], feature: Feature, languages: LanguagesOf, start: int
) -> Iterator[dict[str, Any]]:
    selection = feature.privacy.selection
    for position, row in enumerate(rows, start=start):
        base = {"interaction_id": row["interaction_id"], "at": row["at"], "user_id": row["user_id"]}
        if malformed := malformed_columns(row):
            yield base | {"malformed": ",".join(malformed)}
            continue
        is_told = position >= languages.first and (position - languages.first) % languages.step == 0
        yield (
            base
            | _facts_of_row(row, feature, selection)
            | ({"language": language_of(row["input_text"])} if is_told else {})
        )


def _facts_of_row(row: Mapping[str, Any], feature: Feature, selection: Selection) -> dict[str, Any]:
    parsed = {column: json.loads(row[column]) for column in JSON_COLUMNS}
    label = feature.label_of(row["output"])
    turns = parsed["messages"]
    said = [parsed.get(column, value) for column, value in row.items() if column not in WITHOUT_OWN_TEXT]
    return {
        "tenant": row["tenant"],
        "label": label,
        "last_role": turns[-1]["role"] if turns else "none",
        "input_chars": row["input_chars"],
        "output_chars": len(row["output"]),
        "n_turns": len(turns),
        "n_contexts": len(parsed["contexts"]),
        "n_feedback": row["n_feedback"],
        "latency_ms": row["latency_ms"],
        "holds_pii": int(any(_leaf_holds_pii(leaf, selection) for leaf in _leaves(said))),
        "answer_fits": int(label is not None or feature.enum_field() is None),
        "fallback": int(row["fallback"]),
        "consent": None if row["consent"] is None else int(row["consent"]),
    }


def _leaves(value: Any) -> Iterator[Any]:
    """Every text, number and key inside a JSON value."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    else:
        yield value


def _leaf_holds_pii(leaf: Any, selection: Selection) -> bool:
    if isinstance(leaf, str) and len(leaf) <= OFTEN_SEEN:
        return _often_seen_holds_pii(leaf, selection)
    return holds_pii(leaf, selection)


@lru_cache(maxsize=1 << 14)
def _often_seen_holds_pii(text: str, selection: Selection) -> bool:
    """Keys, roles, labels and names of releases stand in every row: half of all texts."""
    return holds_pii(text, selection)


def language_of(text: str) -> str:
    """The language of a text as two letters; "short" where it is too short to tell."""
    from py3langid import classify  # reads a model of 20 MB when it is first called

    return str(classify(text)[0]) if len(text) >= SHORTEST_TO_TELL else "short"


def _with_user_share(facts: pa.Table) -> pa.Table:
    """The share of the sound rows that belong to a row's user; 0 where nobody is named."""
    is_sound = pc.is_null(facts["malformed"])
    users = pc.if_else(is_sound, facts["user_id"], None)
    counts = pc.value_counts(users.combine_chunks())
    known = dict(zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True))
    known.pop(None, None)
    n_sound = max(1, pc.sum(is_sound).as_py() or 0)
    codes = users.combine_chunks().dictionary_encode()
    shares = pa.array([known[user] / n_sound for user in codes.dictionary.to_pylist()], pa.float64())
    return facts.append_column("user_share", pc.fill_null(shares.take(codes.indices), 0.0))


def _is_json(column: str, text: Any) -> bool:
    """Whether a column that holds JSON holds what it should; the others always do."""
    try:
        if column in JSON_COLUMNS:
            JSON_COLUMNS[column].validate_json(text)
    except ValidationError:
        return False
    return True
