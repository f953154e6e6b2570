"""ratchet.contract: what an owner may write, and what is told to one who writes something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ratchet.contract import EXPECTATIONS, FACTS
from ratchet.errors import SettingsInvalid
from ratchet.features import Feature, load_feature
from tests.routing_clone import feature_fields

BETWEEN = "expect_column_values_to_be_between"


def load(folder: Path, *contract: dict[str, Any]) -> Feature:
    path = folder / "features" / "routing" / "feature.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(feature_fields(contract=list(contract))), encoding="utf-8")
    return load_feature(folder, "routing")


@pytest.mark.parametrize("written", [BETWEEN, "ExpectColumnValuesToBeBetween"])
def test_an_expectation_is_named_as_great_expectations_names_it(tmp_path: Path, written: str) -> None:
    (term,) = load(tmp_path, {"expect": written, "column": "input_chars", "kwargs": {"max_value": 5}}).contract
    assert (term.expect, term.severity) == ("ExpectColumnValuesToBeBetween", "warning")
    assert term.title == "input_chars values to be between"


@pytest.mark.parametrize(
    ("term", "told"),
    [
        ({"expect": "expect_magic"}, "no expectation of a contract; there are: expect_column_values_to_be_between"),
        ({"expect": BETWEEN, "column": "text"}, "'text' is no fact about a row; there are: interaction_id, tenant"),
        ({"expect": BETWEEN}, "'None' is no fact about a row"),
        ({"expect": BETWEEN, "column": "label", "kwargs": {"max": 1}}, "takes no max; it takes: min_value, max_value"),
        ({"expect": "expect_table_row_count_to_be_between", "column": "label"}, "takes no column"),
        ({"expect": "expect_column_max_to_be_between", "column": "n_turns", "mostly": 0.5}, "is about the batch"),
        ({"expect": BETWEEN, "column": "label", "severity": "fatal"}, "'critical', 'warning' or 'info'"),
        ({"expect": BETWEEN, "column": "label", "colour": 1}, "unknown key"),
        ({"expect": BETWEEN, "column": "label", "mostly": 2}, "less than or equal to 1"),
    ],
)
def test_what_is_not_allowed_is_told_with_what_is(tmp_path: Path, term: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsInvalid, match=r"feature\.yaml: contract\.0") as refused:
        load(tmp_path, term)
    assert told in str(refused.value)


def test_two_expectations_of_one_name_are_refused(tmp_path: Path) -> None:
    term = {"expect": BETWEEN, "column": "input_chars", "kwargs": {"max_value": 5}}
    with pytest.raises(SettingsInvalid, match="give one another name"):
        load(tmp_path, term, term)


def test_every_expectation_is_one_of_great_expectations() -> None:
    import great_expectations as gx
    from great_expectations.expectations.expectation import ColumnMapExpectation

    for name, shape in EXPECTATIONS.items():
        known = getattr(gx.expectations, name)
        assert issubclass(known, ColumnMapExpectation) == shape.is_row_check, name
        assert set(shape.kwargs) <= set(known.__fields__), name


def test_the_columns_are_those_that_validate_gives() -> None:
    from tasks.facts import SCHEMA

    assert set(FACTS) - {"user_share"} <= set(SCHEMA.names)
