"""The contract of a feature: what its owner expects of the rows that are learned from, in Great Expectations' words.

    contract:
      - {expect: expect_column_values_to_be_between, column: input_chars, kwargs: {max_value: 2000}, mostly: 0.95}
      - {expect: ExpectColumnMeanToBeBetween, column: latency_ms, kwargs: {max_value: 4000}, severity: info}

Expectations look at facts about a row, never at texts. What a failure means stands at `Severity`.
"""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from ratchet.params import Section

Severity = Literal["critical", "warning", "info"]
"""critical: the batch is blocked where the expectation fails as a whole; warning: it is told; info: told in passing.

A row that fails an expectation about rows is left out, unless that is info. `mostly` is the share of rows that must
pass for the expectation to hold as a whole (default: all).
"""

FACTS: dict[str, str] = {
    "interaction_id": "str",
    "tenant": "str",
    "label": "str",  # of the answer; none where it does not fit the schema
    "language": "str",  # two letters, or "short" where a text is too short to tell
    "last_role": "str",  # who spoke last, or "none"
    "input_chars": "int",
    "output_chars": "int",
    "n_turns": "int",
    "n_contexts": "int",
    "n_feedback": "int",
    "latency_ms": "float",
    "user_share": "float",  # the share of the batch that is this user's
    "holds_pii": "int",  # 0 or 1, as the next ones
    "answer_fits": "int",
    "fallback": "int",
    "consent": "int",  # none where it was not asked for
}


class Shape(NamedTuple):
    """Of an expectation: whether it is about rows (else about the batch), and what it may be told."""

    is_row_check: bool
    kwargs: tuple[str, ...]


_RANGE = ("min_value", "max_value", "strict_min", "strict_max")
EXPECTATIONS: dict[str, Shape] = {
    "ExpectColumnValuesToBeBetween": Shape(True, _RANGE),
    "ExpectColumnValuesToBeInSet": Shape(True, ("value_set",)),
    "ExpectColumnValuesToNotBeInSet": Shape(True, ("value_set",)),
    "ExpectColumnValuesToBeNull": Shape(True, ()),
    "ExpectColumnValuesToNotBeNull": Shape(True, ()),
    "ExpectColumnValuesToBeUnique": Shape(True, ()),
    "ExpectTableRowCountToBeBetween": Shape(False, _RANGE),
    "ExpectColumnMinToBeBetween": Shape(False, _RANGE),
    "ExpectColumnMaxToBeBetween": Shape(False, _RANGE),
    "ExpectColumnMeanToBeBetween": Shape(False, _RANGE),
    "ExpectColumnMedianToBeBetween": Shape(False, _RANGE),
    "ExpectColumnStdevToBeBetween": Shape(False, _RANGE),
    "ExpectColumnSumToBeBetween": Shape(False, _RANGE),
    "ExpectColumnUniqueValueCountToBeBetween": Shape(False, _RANGE),
    "ExpectColumnProportionOfUniqueValuesToBeBetween": Shape(False, _RANGE),
    "ExpectColumnProportionOfNonNullValuesToBeBetween": Shape(False, _RANGE),
    "ExpectColumnQuantileValuesToBeBetween": Shape(False, ("quantile_ranges", "allow_relative_error")),
    "ExpectColumnDistinctValuesToBeInSet": Shape(False, ("value_set",)),
    "ExpectColumnDistinctValuesToContainSet": Shape(False, ("value_set",)),
    "ExpectColumnDistinctValuesToEqualSet": Shape(False, ("value_set",)),
    "ExpectColumnMostCommonValueToBeInSet": Shape(False, ("value_set", "ties_okay")),
}


class Term(Section):
    """One expectation of a contract."""

    expect: str
    column: str | None = None
    kwargs: dict[str, Any] = Field(default_factory=dict)
    severity: Severity = "warning"
    mostly: float | None = Field(default=None, gt=0, le=1)
    name: str = Field(default="", max_length=80)

    @field_validator("expect")
    @classmethod
    def _is_known(cls, written: str) -> str:
        name = "".join(part[:1].upper() + part[1:] for part in written.split("_"))
        if name not in EXPECTATIONS:
            raise ValueError(f"no expectation of a contract; there are: {', '.join(map(_snake, EXPECTATIONS))}")
        return name

    @model_validator(mode="after")
    def _fits(self) -> Term:
        shape = EXPECTATIONS[self.expect]
        if "Column" not in self.expect and self.column is not None:
            raise ValueError(f"{_snake(self.expect)} is about the whole table and takes no column")
        if "Column" in self.expect and self.column not in FACTS:
            raise ValueError(f"column {str(self.column)[:60]!r} is no fact about a row; there are: {', '.join(FACTS)}")
        if unknown := sorted(set(self.kwargs) - set(shape.kwargs)):
            allowed = ", ".join(shape.kwargs) or "nothing"
            raise ValueError(f"{_snake(self.expect)} takes no {', '.join(unknown)}; it takes: {allowed}")
        if self.mostly is not None and not shape.is_row_check:
            raise ValueError(f"mostly is a share of rows, and {_snake(self.expect)} is about the batch")
        return self

    @property
    def title(self) -> str:
        """Its name, or one made of the column and the expectation."""
        plain = re.sub("^expect_(column|table)_", "", _snake(self.expect)).replace("_", " ")
        return self.name or " ".join(filter(None, (self.column, plain)))


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
