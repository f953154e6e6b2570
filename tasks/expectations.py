"""What the stage validate expects of a batch, and how Great Expectations checks it.

The frame that is checked holds numbers, flags and ids, never texts: the library keeps offending values in its results.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from ratchet.params import ValidateParams

SOME_PII = 0.98  # a few rows with personal data are left out; more means that harvest no longer replaces it
LOUD_USER = 0.5

Severity = Literal["critical", "warning"]


class Check(NamedTuple):
    """One expectation: its type in Great Expectations, its arguments, and what a failure means.

    A row check quarantines each row that fails it where `drops` is set. The batch is blocked where a critical check
    fails as a whole: for a row check, where fewer than the share `mostly` of its arguments pass (default: all).
    """

    name: str
    expectation: str
    kwargs: Mapping[str, Any]
    severity: Severity
    is_row_check: bool = True
    drops: bool = True


class Outcome(NamedTuple):
    """What a check found: whether it holds, the positions of the rows that fail it, whether it could not be run."""

    check: Check
    holds: bool
    rows: tuple[int, ...]
    raised: bool


def checks_of(params: ValidateParams) -> list[Check]:
    """The expectations of a batch. `answer_fits` only warns: an answer outside the schema may have been corrected."""
    length = {"min_value": 1, "max_value": params.max_input_chars}
    return [
        Check("id present", "ExpectColumnValuesToNotBeNull", {"column": "interaction_id"}, "warning"),
        Check("id unique", "ExpectColumnValuesToBeUnique", {"column": "interaction_id"}, "warning"),
        Check("question length", "ExpectColumnValuesToBeBetween", {"column": "input_chars", **length}, "warning"),
        Check("last turn asks", "ExpectColumnValuesToBeInSet", _in("last_role", "user", "tool"), "warning"),
        Check(
            "no personal data", "ExpectColumnValuesToBeInSet", _in("holds_pii", 0) | {"mostly": SOME_PII}, "critical"
        ),
        Check("answer fits schema", "ExpectColumnValuesToBeInSet", _in("answer_fits", 1), "warning", drops=False),
        _of_the_batch("enough rows", "ExpectTableRowCountToBeBetween", {"min_value": params.min_rows}, "critical"),
        _of_the_batch("some feedback", "ExpectColumnMaxToBeBetween", _from("n_feedback", 1), "critical"),
        _of_the_batch("no loud user", "ExpectColumnMaxToBeBetween", _up_to("user_share", LOUD_USER), "warning"),
    ]


def run_checks(rows: Sequence[Mapping[str, Any]], checks: Sequence[Check]) -> list[Outcome]:
    """Check each expectation by itself, so that one that raises says nothing about the others."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # read when the library is imported
    import great_expectations as gx  # takes four seconds
    import pandas as pd
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("rows").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": pd.DataFrame(list(rows))})
    outcomes = []
    for check in checks:
        expectation = getattr(gx.expectations, check.expectation)(**check.kwargs, severity=check.severity)
        found = batch.validate(expectation, result_format={"result_format": "COMPLETE"}).to_json_dict()
        outcomes.append(_outcome(check, found, n_rows=len(rows)))
    return outcomes


def _outcome(check: Check, found: Mapping[str, Any], *, n_rows: int) -> Outcome:
    details = found.get("result") or {}
    is_unknown = check.is_row_check and n_rows > 0 and details.get("unexpected_count") is None
    raised = is_unknown or _raised(found.get("exception_info"))
    rows = tuple(int(i) for i in details.get("unexpected_index_list") or ()) if check.is_row_check else ()
    return Outcome(check, bool(found["success"]) and not raised, rows, raised)


def _raised(info: Any) -> bool:
    """Whether a check raised: the facts may stand one level deeper, by the id of a metric."""
    if not isinstance(info, Mapping):
        return False
    return bool(info.get("raised_exception")) or any(_raised(value) for value in info.values())


def _in(column: str, *values: Any) -> dict[str, Any]:
    return {"column": column, "value_set": list(values)}


def _from(column: str, least: float) -> dict[str, Any]:
    return {"column": column, "min_value": least}


def _up_to(column: str, most: float) -> dict[str, Any]:
    return {"column": column, "max_value": most}


def _of_the_batch(name: str, expectation: str, kwargs: Mapping[str, Any], severity: Severity) -> Check:
    return Check(name, expectation, kwargs, severity, is_row_check=False, drops=False)
