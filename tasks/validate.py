"""Stage validate: which rows can be learned from, and whether the batch as a whole can.

A bad row goes to quarantine (id and reasons, never content). The stage ends with 0 whatever the verdict; data_gate
stops the graph. Command line: python -m tasks.validate
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ratchet.errors import BadInput, RatchetError
from ratchet.features import Feature, load_feature
from ratchet.files import canonical_json, write_json, write_whole
from ratchet.params import Params, ValidateParams, load_params
from ratchet.pii import Selection, holds_pii
from ratchet.process import die_with_parent
from ratchet.records import Context, Feedback, Message
from tasks.expectations import Check, Outcome, checks_of, run_checks
from tasks.snapshot import COLUMNS
from tasks.tables import read_table, write_table

JSON_COLUMNS: dict[str, TypeAdapter[Any]] = {
    "messages": TypeAdapter(tuple[Message, ...]),
    "variables": TypeAdapter(dict[str, Any]),
    "contexts": TypeAdapter(tuple[Context, ...]),
    "feedback": TypeAdapter(list[Feedback]),
}
MAY_BE_ABSENT = {"interaction_id", "session_id", "user_id", "release_id", "channel", "consent", "feedback_at"}
TYPES = {"str": str, "int": int, "bool": bool}
WITHOUT_TEXT = {"at", "feedback_at", "tenant", "release_id", "channel", "fallback", "consent"}

Row = dict[str, Any]


def validate(params: Params, repo: Path, checks: Sequence[Check] | None = None) -> dict[str, Any]:
    """Run the stage in the current folder; return what was written to metrics/validate.json.

    Args:
        checks: what is expected; the default is `checks_of` the section validate.

    Raises:
        BadInput: the snapshot is missing.
    """
    path = params.outputs / "snapshot.parquet"
    if not path.is_file():
        raise BadInput(f"{path} is missing: run the stage snapshot first (`dvc repro snapshot`)")
    rows = read_table(path)
    reasons: dict[int, set[str]] = {i: found for i, row in enumerate(rows) if (found := malformed_columns(row))}
    sound = [i for i in range(len(rows)) if i not in reasons]
    facts = facts_of([rows[i] for i in sound], load_feature(repo, params.feature))
    outcomes = run_checks(facts, checks if checks is not None else checks_of(params.validate_)) if facts else []
    for outcome in outcomes:
        for i in outcome.rows if outcome.check.drops else ():
            reasons.setdefault(sound[i], set()).add(outcome.check.name)
    good = [row for i, row in enumerate(rows) if i not in reasons]
    blocking = blocking_reasons(outcomes, n_rows=len(rows), n_quarantined=len(reasons), params=params.validate_)
    metrics: dict[str, Any] = {
        "verdict": "block" if blocking else "pass",
        "reasons": blocking,
        "rows": len(rows),
        "used": len(good),
        "quarantined": len(reasons),
        "by_reason": dict(sorted(Counter(why for found in reasons.values() for why in found).items())),
        "checks": [_told(outcome) for outcome in outcomes],
    }
    assert metrics["rows"] == metrics["used"] + metrics["quarantined"]
    listed = [{"id": rows[i]["interaction_id"], "reasons": sorted(found)} for i, found in sorted(reasons.items())]
    write_table(params.outputs / "valid.parquet", COLUMNS, good)
    write_whole(params.outputs / "quarantine.jsonl", "".join(canonical_json(row) + "\n" for row in listed))
    write_json(params.outputs / "metrics" / "validate.json", metrics)
    return metrics


def malformed_columns(row: Mapping[str, Any]) -> set[str]:
    """`malformed <column>` for each column whose value has another type or is not the JSON it should be.

    This comes before the expectations: one value of another type makes an expectation say nothing about any row.
    """
    found = set()
    for column, kind in COLUMNS.items():
        value = row.get(column)
        if value is None:
            is_sound = column in MAY_BE_ABSENT
        else:
            is_sound = isinstance(value, TYPES[kind]) and _is_json(column, value)
        if not is_sound:
            found.add(f"malformed {column}")
    return found


def facts_of(rows: Sequence[Mapping[str, Any]], feature: Feature) -> list[Row]:
    """What the expectations look at, per row: numbers, flags and ids instead of texts."""
    per_user = Counter(row["user_id"] for row in rows if row["user_id"] is not None)
    return [
        {
            "interaction_id": row["interaction_id"],
            "input_chars": row["input_chars"],
            "last_role": json.loads(row["messages"])[-1]["role"] if row["messages"] != "[]" else "none",
            "holds_pii": int(_holds_pii(row, feature.privacy.selection)),
            "answer_fits": int(feature.enum_field() is None or feature.label_of(row["output"]) is not None),
            "n_feedback": row["n_feedback"],
            "user_share": per_user[row["user_id"]] / len(rows) if row["user_id"] is not None else 0.0,
        }
        for row in rows
    ]


def blocking_reasons(
    outcomes: Sequence[Outcome], *, n_rows: int, n_quarantined: int, params: ValidateParams
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
    return found


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


def _is_json(column: str, text: Any) -> bool:
    """Whether a column that holds JSON holds what it should; the others always do."""
    try:
        if column in JSON_COLUMNS:
            JSON_COLUMNS[column].validate_json(text)
    except ValidationError:
        return False
    return True


def _holds_pii(row: Mapping[str, Any], selection: Selection) -> bool:
    for column, value in row.items():
        if column not in WITHOUT_TEXT and holds_pii(json.loads(value) if column in JSON_COLUMNS else value, selection):
            return True
    return False


def _told(outcome: Outcome) -> dict[str, Any]:
    check = outcome.check
    return {
        "name": check.name,
        "expectation": check.expectation,
        "severity": check.severity,
        "holds": outcome.holds,
        "failed_rows": len(outcome.rows),
        "raised": outcome.raised,
    }


if __name__ == "__main__":
    sys.exit(main())
