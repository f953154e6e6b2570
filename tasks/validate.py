"""Stage validate: which rows can be learned from, and whether the batch as a whole can.

First each row's own shape (tasks/facts.py), then the expectations of every feature and of this one's contract
(tasks/expectations.py), then drift against the last finished run (tasks/drift.py). A bad row goes to quarantine (id and
reasons, never content). The stage ends with 0 whatever the verdict; data_gate stops the graph.
Command line: python -m tasks.validate
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratchet.contract import FACTS
from ratchet.errors import BadInput, RatchetError
from ratchet.features import load_feature
from ratchet.files import canonical_json, write_json
from ratchet.params import Params, ValidateParams, load_params
from ratchet.process import die_with_parent
from tasks.data_report import write_data_report
from tasks.drift import LANGUAGE_SAMPLE, Drift, compare, first_new_row, next_reference, profile_of, read_profile
from tasks.expectations import Check, Outcome, checks_of, run_checks
from tasks.facts import LanguagesOf, facts_of
from tasks.snapshot import COLUMNS
from tasks.tables import read_batches, write_batches

Mask = np.ndarray[Any, np.dtype[np.bool_]]


def validate(params: Params, repo: Path, checks: Sequence[Check] | None = None) -> dict[str, Any]:
    """Run the stage in the current folder; return what was written to metrics/validate.json.

    Memory: a row group at a time, and some numbers per row.

    Args:
        checks: what is expected; the default is `checks_of` the section validate and the feature's contract.

    Raises:
        BadInput: the snapshot or the reference is missing.
    """
    path = params.outputs / "snapshot.parquet"
    if not path.is_file():
        raise BadInput(f"{path} is missing: run the stage snapshot first (`dvc repro snapshot`)")
    feature, reference = load_feature(repo, params.feature), read_profile(params.inputs / "reference.json")
    checks = list(checks) if checks is not None else checks_of(params.validate_, feature.contract)
    ats = pa.chunked_array(
        [column for table in read_batches(path, ["at"]) for column in table["at"].chunks], pa.string()
    )
    first_new = first_new_row(ats, reference)
    step = max(1, -(-(len(ats) - first_new) // LANGUAGE_SAMPLE))
    is_asked = any(check.kwargs.get("column") == "language" for check in checks)
    facts = facts_of(path, feature, LanguagesOf(0, 1) if is_asked else LanguagesOf(first_new, step))
    failed = malformed_masks(facts)
    sound = np.flatnonzero(~_any(failed, facts.num_rows))
    outcomes = run_checks(_frame(facts, sound), checks) if len(sound) else []
    for outcome in outcomes:
        if outcome.check.drops:
            mask = failed.setdefault(outcome.check.name, np.zeros(facts.num_rows, bool))
            mask[sound[outcome.rows]] = True
    failed = {name: mask for name, mask in failed.items() if mask.any()}
    profile = profile_of(_sampled(facts, first_new, step), reference)
    drifts = compare(profile, reference, params.validate_.drift)
    is_bad = _any(failed, facts.num_rows)
    metrics = _metrics(outcomes, drifts, failed, is_bad, params.validate_)
    _write_quarantine(params.outputs / "quarantine.jsonl", facts["interaction_id"], failed, is_bad)
    used = write_batches(params.outputs / "valid.parquet", COLUMNS, _kept(path, is_bad))
    assert used == metrics["used"] == metrics["rows"] - metrics["quarantined"]
    following = next_reference(profile, reference, params.validate_.drift)
    write_json(params.outputs / "metrics" / "profile.json", following.model_dump())
    write_json(params.outputs / "metrics" / "validate.json", metrics)
    write_data_report(params.outputs, params.feature, metrics, profile, reference)
    return metrics


def malformed_masks(facts: pa.Table) -> dict[str, Mask]:
    """`malformed <column>` for each column that is so in a row, and in which rows."""
    masks: dict[str, Mask] = {}
    told = facts["malformed"].combine_chunks()
    for position in np.flatnonzero(np.asarray(told.is_valid())):
        for column in told[int(position)].as_py().split(","):
            masks.setdefault(f"malformed {column}", np.zeros(facts.num_rows, bool))[position] = True
    return masks


def blocking_reasons(
    outcomes: Sequence[Outcome], drifts: Sequence[Drift], *, n_rows: int, n_quarantined: int, params: ValidateParams
) -> list[str]:
    """Why the batch must not be learned from; empty where it may."""
    if n_rows == 0:
        return ["there are no interactions"]
    found = [f"the check '{o.check.name}' could not be run" for o in outcomes if o.raised]
    for outcome in outcomes:
        if not outcome.holds and not outcome.raised and outcome.check.severity == "critical":
            of_rows = f": {len(outcome.rows)} of {n_rows} rows" if outcome.check.is_row_check else f" ({n_rows} rows)"
            found.append(f"the check '{outcome.check.name}' failed{of_rows}")
    if n_quarantined > params.max_quarantine_share * n_rows:
        found.append(f"{n_quarantined} of {n_rows} rows are bad; at most {params.max_quarantine_share:.0%} may be")
    broken = [drift for drift in drifts if drift.holds is False and drift.severity == "critical"]
    return found + [f"the {drift.name} broke: {drift.told}" for drift in broken]


def main() -> int:
    """Run the stage; a bad input is one line on standard error and its exit code."""
    began = time.monotonic()
    try:
        die_with_parent()
        params = load_params()
        metrics = validate(params, Path())
    except RatchetError as error:
        print(f"validate: {error}", file=sys.stderr)
        return error.exit_code
    write_json(params.outputs / "timings" / "validate.json", {"seconds": round(time.monotonic() - began, 3)})
    told = f"{metrics['used']} rows used, {metrics['quarantined']} quarantined"
    print(f"validate: {metrics['verdict']}: {told}", file=sys.stderr)
    return 0


def _metrics(
    outcomes: Sequence[Outcome],
    drifts: Sequence[Drift],
    failed: Mapping[str, Mask],
    is_bad: Mask,
    params: ValidateParams,
) -> dict[str, Any]:
    n_rows, n_bad = len(is_bad), int(is_bad.sum())
    blocking = blocking_reasons(outcomes, drifts, n_rows=n_rows, n_quarantined=n_bad, params=params)
    return {
        "verdict": "block" if blocking else "pass",
        "reasons": blocking,
        "rows": n_rows,
        "used": n_rows - n_bad,
        "quarantined": n_bad,
        "by_reason": {name: int(mask.sum()) for name, mask in sorted(failed.items())},
        "checks": [_told(outcome) for outcome in outcomes],
        "drift": [drift._asdict() for drift in drifts],
    }


def _told(outcome: Outcome) -> dict[str, Any]:
    check = outcome.check
    return {
        "name": check.name,
        "expectation": check.expectation,
        "kwargs": dict(check.kwargs),
        "is_row_check": check.is_row_check,
        "severity": check.severity,
        "holds": outcome.holds,
        "failed_rows": len(outcome.rows),
        "raised": outcome.raised,
    }


def _frame(facts: pa.Table, sound: np.ndarray[Any, np.dtype[np.int64]]) -> Any:
    """The facts about sound rows as the frame that Great Expectations reads."""
    return facts.select(list(FACTS)).take(pa.array(sound)).to_pandas()


def _sampled(facts: pa.Table, first_new: int, step: int) -> pa.Table:
    """The new rows, with the language of every `step`th."""
    rows = facts.slice(first_new)
    is_told = pa.array(np.arange(rows.num_rows) % step == 0)
    languages = pc.if_else(is_told, rows["language"], None)
    return rows.set_column(rows.schema.get_field_index("language"), "language", languages)


def _kept(path: Path, is_bad: Mask) -> Iterator[pa.RecordBatch]:
    start = 0
    for group in read_batches(path):
        mask = ~is_bad[start : start + group.num_rows]
        start += group.num_rows
        yield from group.filter(pa.array(mask)).to_batches()


def _write_quarantine(path: Path, ids: pa.ChunkedArray, failed: Mapping[str, Mask], is_bad: Mask) -> None:
    """Id and reasons of each row that is left out, in order of the rows."""
    part = path.with_name(f".{path.name}.part")
    with part.open("w", encoding="utf-8") as file:
        for position in np.flatnonzero(is_bad):
            reasons = sorted(name for name, mask in failed.items() if mask[position])
            file.write(canonical_json({"id": ids[int(position)].as_py(), "reasons": reasons}) + "\n")
    os.replace(part, path)


def _any(masks: Mapping[str, Mask], n_rows: int) -> Mask:
    return np.logical_or.reduce(list(masks.values())) if masks else np.zeros(n_rows, bool)


if __name__ == "__main__":
    sys.exit(main())
