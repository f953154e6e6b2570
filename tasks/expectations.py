"""What the stage validate expects of a batch, and how Great Expectations checks it.

The frame that is checked holds numbers, flags and ids, never texts: the library keeps offending values in its results.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ratchet.contract import EXPECTATIONS, Severity, Term
from ratchet.errors import SettingsInvalid
from ratchet.params import ValidateParams

if TYPE_CHECKING:
    import pandas as pd

SOME_PII = 0.98  # a few rows with personal data are left out; more means that harvest no longer replaces it
LOUD_USER = 0.5


class Check(NamedTuple):
    """One expectation: its type in Great Expectations, its arguments, and what a failure means.

    The batch is blocked where a critical check fails as a whole: for a check of rows, where fewer than the share
    `mostly` of its arguments pass (default: all).
    """

    name: str
    expectation: str
    kwargs: Mapping[str, Any]
    severity: Severity

    @property
    def is_row_check(self) -> bool:
        """Whether it is about each row rather than about the batch."""
        return EXPECTATIONS[self.expectation].is_row_check

    @property
    def drops(self) -> bool:
        """Whether a row that fails it is left out."""
        return self.is_row_check and self.severity != "info"


class Outcome(NamedTuple):
    """What a check found: whether it holds, the positions of the rows that fail it, whether it could not be run."""

    check: Check
    holds: bool
    rows: np.ndarray[Any, np.dtype[np.int64]]
    raised: bool


def checks_of(params: ValidateParams, contract: Sequence[Term] = ()) -> list[Check]:
    """The expectations of a batch: those of every feature, then its contract's.

    `answer fits schema` leaves no row out: an answer outside the schema may have been corrected.
    """
    length = {"min_value": 1, "max_value": params.max_input_chars}
    checks = [
        Check("id present", "ExpectColumnValuesToNotBeNull", {"column": "interaction_id"}, "warning"),
        Check("id unique", "ExpectColumnValuesToBeUnique", {"column": "interaction_id"}, "warning"),
        Check("question length", "ExpectColumnValuesToBeBetween", {"column": "input_chars", **length}, "warning"),
        Check("last turn asks", "ExpectColumnValuesToBeInSet", _in("last_role", "user", "tool"), "warning"),
        Check(
            "no personal data", "ExpectColumnValuesToBeInSet", _in("holds_pii", 0) | {"mostly": SOME_PII}, "critical"
        ),
        Check("answer fits schema", "ExpectColumnValuesToBeInSet", _in("answer_fits", 1), "info"),
        Check("enough rows", "ExpectTableRowCountToBeBetween", {"min_value": params.min_rows}, "critical"),
        Check("some feedback", "ExpectColumnMaxToBeBetween", {"column": "n_feedback", "min_value": 1}, "critical"),
        Check(
            "no loud user", "ExpectColumnMaxToBeBetween", {"column": "user_share", "max_value": LOUD_USER}, "warning"
        ),
    ]
    return checks + [_of_contract(term) for term in contract]


def run_checks(facts: pd.DataFrame, checks: Sequence[Check]) -> list[Outcome]:
    """Check each expectation by itself, so that one that raises says nothing about the others.

    Raises:
        SettingsInvalid: an expectation cannot be made of its arguments.
    """
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # read when the library is imported
    import great_expectations as gx  # takes four seconds
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("rows").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": facts})
    outcomes = []
    for check in checks:
        try:
            expectation = getattr(gx.expectations, check.expectation)(**check.kwargs, severity=check.severity)
        except ValueError as error:
            raise SettingsInvalid(f"the expectation '{check.name}' cannot be made: {error}") from error
        found = batch.validate(expectation, result_format={"result_format": "COMPLETE"}).to_json_dict()
        outcomes.append(_outcome(check, found, n_rows=len(facts)))
    return outcomes


def _of_contract(term: Term) -> Check:
    kwargs = {"column": term.column} | {"mostly": term.mostly} | term.kwargs
    return Check(term.title, term.expect, {k: v for k, v in kwargs.items() if v is not None}, term.severity)


def _outcome(check: Check, found: Mapping[str, Any], *, n_rows: int) -> Outcome:
    details = found.get("result") or {}
    is_unknown = check.is_row_check and n_rows > 0 and details.get("unexpected_count") is None
    raised = is_unknown or _raised(found.get("exception_info"))
    rows = details.get("unexpected_index_list") or () if check.is_row_check else ()
    return Outcome(check, bool(found["success"]) and not raised, np.array(rows, np.int64), raised)


def _raised(info: Any) -> bool:
    """Whether a check raised: the facts may stand one level deeper, by the id of a metric."""
    if not isinstance(info, Mapping):
        return False
    return bool(info.get("raised_exception")) or any(_raised(value) for value in info.values())


def _in(column: str, *values: Any) -> dict[str, Any]:
    return {"column": column, "value_set": list(values)}
