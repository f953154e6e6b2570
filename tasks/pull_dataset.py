"""Action: interactions and right outputs from a dataset on disk: a folder of save_to_disk, of Parquet or of JSONL.

Offline: a path, never a name on a hub. A row's fields are found in columns of their own names unless `columns` says
otherwise: text (or messages), output, expected, id, at, session, user, tenant. `expected` is the right output and
becomes a correction; a row without an id gets one from its content, so reading a dataset again adds nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any

from ratchet.errors import BadInput
from ratchet.features import Feature
from ratchet.records import Rejected, parse_feedback, parse_interaction, read_jsonl
from ratchet.settings import Settings
from ratchet.store import Store
from tasks.formats.rows import UNDATED, derive_id, to_time
from tasks.pull import Intake, OnProgress, PullReport, Record

FIELDS = ("text", "messages", "output", "expected", "id", "at", "session", "user", "tenant")
Rows = Iterator[tuple[str, dict[str, Any] | Rejected]]


def pull_dataset(
    settings: Settings,
    store: Store,
    feature: Feature,
    path: Path,
    *,
    columns: Mapping[str, str],
    split: str | None = None,
    on_progress: OnProgress = lambda n: None,
) -> PullReport:
    """Read a dataset row by row.

    Args:
        columns: field -> column, for columns that are named otherwise.
        split: which split, of a dataset that has several.

    Raises:
        BadInput: nothing there that can be read, no such split, a field that is none of ours, or a column that the
            dataset lacks.
    """
    unknown = sorted(set(columns) - set(FIELDS))
    if unknown:
        raise BadInput(f"{', '.join(unknown)}: no such field; there are {', '.join(FIELDS)}")
    intake = Intake(store, settings.home / "imports" / f"{feature.name}.dataset.rejects.jsonl", on_progress)
    intake.add(
        record for where, row in _rows(path, split, columns) for record in _records(row, where, feature, columns)
    )
    return intake.report


def _rows(path: Path, split: str | None, columns: Mapping[str, str]) -> Rows:
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        return _saved_rows(path, split, columns)
    if split is not None:
        raise BadInput(f"{path}: only a dataset of save_to_disk has splits; give the folder of one split")
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.suffix in (".parquet", ".jsonl"))
    if not files:
        raise BadInput(f"{path}: no dataset of save_to_disk, and no .parquet or .jsonl file")
    return chain.from_iterable(_parquet_rows(f) if f.suffix == ".parquet" else read_jsonl(f) for f in files)


def _saved_rows(path: Path, split: str | None, columns: Mapping[str, str]) -> Rows:
    import datasets

    loaded = datasets.load_from_disk(str(path))
    if isinstance(loaded, datasets.DatasetDict):
        chosen = split or (next(iter(loaded)) if len(loaded) == 1 else "")
        if chosen not in loaded:
            raise BadInput(f"{path}: choose a split: {', '.join(sorted(loaded))}")
        loaded = loaded[chosen]
    missing = sorted(set(columns.values()) - set(loaded.column_names))
    if missing:
        raise BadInput(f"{path}: no column {', '.join(missing)}; there are {', '.join(loaded.column_names)}")
    names = {c: f.int2str for c, f in loaded.features.items() if isinstance(f, datasets.ClassLabel)}
    for number, row in enumerate(loaded):
        yield f"row {number}", row | {c: name(row[c]) for c, name in names.items() if isinstance(row[c], int)}


def _parquet_rows(path: Path) -> Rows:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            rows = (row for batch in file.iter_batches(1000) for row in batch.to_pylist())
            yield from ((f"{path.name}: row {number}", row) for number, row in enumerate(rows))
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        yield path.name, Rejected(path.name, f"no Parquet that can be read ({type(error).__name__})")


def _records(
    row: dict[str, Any] | Rejected, where: str, feature: Feature, columns: Mapping[str, str]
) -> Iterator[Record]:
    if isinstance(row, Rejected):
        yield row
        return
    given = {field: row.get(columns.get(field, field)) for field in FIELDS}
    try:
        messages = given["messages"] or [{"role": "user", "content": given["text"]}]
        known_id = None if given["id"] is None else str(given["id"])
        interaction_id = known_id or derive_id("dataset", feature.name, messages, given["output"])
        at = to_time(_plain(given["at"]), "at") if given["at"] is not None else UNDATED
    except (BadInput, TypeError, ValueError) as error:
        yield Rejected(where, str(error) if isinstance(error, BadInput) else "text and output are not of JSON")
        return
    asked = {"interaction_id": interaction_id, "feature": feature.name, "at": at, "input": {"messages": messages}}
    asked |= {"output": {"content": given["output"]}, "session_id": given["session"], "user_id": given["user"]}
    record = parse_interaction(asked | ({"tenant": given["tenant"]} if given["tenant"] else {}), where)
    yield record
    if given["expected"] is not None and not isinstance(record, Rejected):
        said = {"feedback_id": derive_id("expected", interaction_id, given["expected"]), "at": at, "kind": "correction"}
        said |= {"interaction_id": interaction_id, "value": given["expected"]}
        yield parse_feedback(said | {"source": {"type": "system", "id": "dataset"}}, where)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
