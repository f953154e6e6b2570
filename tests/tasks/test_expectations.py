"""tasks.expectations: Great Expectations finds the rows, and a check that raises is not taken for one that holds."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from ratchet.params import load_params
from tasks.expectations import Check, Outcome, checks_of, run_checks

PARAMS = load_params().validate_.model_copy(update={"min_rows": 2, "max_input_chars": 100})


def fact(number: int, **changes: Any) -> dict[str, Any]:
    fields = {"interaction_id": f"i{number}", "input_chars": 10, "last_role": "user", "holds_pii": 0}
    return fields | {"answer_fits": 1, "n_feedback": 1, "user_share": 0.25} | changes


def outcomes(*facts: dict[str, Any]) -> dict[str, Outcome]:
    return {o.check.name: o for o in run_checks(pd.DataFrame(list(facts)), checks_of(PARAMS))}


def test_all_checks_hold_on_sound_rows() -> None:
    found = outcomes(*(fact(n) for n in range(4)))
    assert all(o.holds and not len(o.rows) and not o.raised for o in found.values()) and len(found) == 9


def test_each_check_names_the_rows_that_fail_it() -> None:
    bad = [{"interaction_id": None}, {"interaction_id": "i0"}, {"input_chars": 0}, {"input_chars": 101}]
    bad += [{"last_role": "assistant"}, {"holds_pii": 1}, {"answer_fits": 0}]
    found = outcomes(fact(0), *(fact(n, **changes) for n, changes in enumerate(bad, start=1)))
    assert {name: tuple(o.rows) for name, o in found.items() if len(o.rows)} == {
        "id present": (1,), "id unique": (0, 2), "question length": (3, 4), "last turn asks": (5,),
        "no personal data": (6,), "answer fits schema": (7,),
    }  # fmt: skip


def test_checks_of_the_batch_fail_as_a_whole() -> None:
    found = outcomes(fact(0, n_feedback=0, user_share=1.0))
    assert {name for name, o in found.items() if not o.holds} == {"enough rows", "some feedback", "no loud user"}


def test_a_few_rows_with_personal_data_do_not_fail_the_batch_but_a_flood_does() -> None:
    few = outcomes(*(fact(n, holds_pii=int(n == 0)) for n in range(100)))["no personal data"]
    flood = outcomes(*(fact(n, holds_pii=int(n < 5)) for n in range(100)))["no personal data"]
    assert (few.holds, len(few.rows)) == (True, 1)
    assert (flood.holds, len(flood.rows)) == (False, 5)


def test_a_check_that_raises_is_told_apart_and_stops_no_other() -> None:
    missing = Check("no such column", "ExpectColumnValuesToNotBeNull", {"column": "nothing"}, "warning")
    mixed = Check("mixed", "ExpectColumnValuesToBeBetween", {"column": "mixed", "min_value": 1}, "warning")
    sound = Check("sound", "ExpectColumnValuesToNotBeNull", {"column": "interaction_id"}, "warning")
    found = run_checks(pd.DataFrame([fact(0, mixed=1), fact(1, mixed="five")]), [missing, mixed, sound])
    assert [(o.raised, o.holds) for o in found] == [(True, False), (True, False), (False, True)]


def test_checks_are_plain_data() -> None:
    assert json.dumps([check._asdict() for check in checks_of(PARAMS)])
