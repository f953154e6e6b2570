"""tasks.compare: the gate on anyone's paired scores."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from ratchet.errors import BadInput, BadRecord
from tasks.compare import ComparePolicy, Decision, compare, read_pairs

Rows = list[dict[str, Any]]


def rows(metric: str, old: list[Any], new: list[Any], **more: list[Any]) -> Rows:
    return [
        {"id": str(i), "metric": metric, "champion": a, "candidate": b, **{k: v[i] for k, v in more.items()}}
        for i, (a, b) in enumerate(zip(old, new, strict=True))
    ]


def decide(tmp_path: Path, given: Rows, **policy: Any) -> Decision:
    path = tmp_path / "scores.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")
    return compare(read_pairs(path), ComparePolicy(**policy))


BETTER = ([0] * 40 + [1] * 60, [1] * 30 + [0] * 10 + [1] * 60)
SAME = ([0, 1] * 50, [0, 1] * 50)


def test_better_is_accepted_worse_rejected_and_equal_is_neither(tmp_path: Path) -> None:
    assert decide(tmp_path, rows("q", *BETTER)).verdict == "accept"
    assert decide(tmp_path, rows("q", *BETTER[::-1])).verdict == "reject"
    assert decide(tmp_path, rows("q", *SAME)).verdict == "inconclusive"


def test_every_decision_says_that_nobody_counts(tmp_path: Path) -> None:
    assert "not under reuse" in decide(tmp_path, rows("q", *BETTER)).reasons[-1]


def test_cheaper_wins_on_cost_where_quality_holds(tmp_path: Path) -> None:
    cost = rows("cost", [0.01] * 100, [0.004 + 0.00001 * i for i in range(100)])
    same = decide(tmp_path, rows("q", *SAME) + cost, objective="cost", lower={"cost"}, margins={"q": 0.05})
    assert same.verdict == "accept"
    dearer = decide(tmp_path, rows("q", *SAME) + cost, objective="cost")
    assert dearer.verdict == "reject"


def test_a_guard_that_got_worse_keeps_a_better_candidate_out(tmp_path: Path) -> None:
    safe = rows("safe", [1] * 100, [0] * 30 + [1] * 70)
    found = decide(tmp_path, rows("q", *BETTER) + safe, objective="q")
    assert found.verdict == "reject" and any(r.startswith("safe:") and "worse" in r for r in found.reasons)


def test_a_guard_without_evidence_leaves_it_open(tmp_path: Path) -> None:
    few = rows("safe", [1] * 5, [1] * 5)
    assert decide(tmp_path, rows("q", *BETTER) + few, objective="q").verdict == "inconclusive"


def test_a_slice_that_is_harmed_is_named(tmp_path: Path) -> None:
    slices = ["de"] * 20 + ["en"] * 120
    old, new = [1] * 20 + [0] * 120, [0] * 20 + [1] * 90 + [0] * 30
    found = decide(tmp_path, rows("q", old, new, slice=slices))
    assert found.verdict == "accept" and set(found.facts["harmed_slices"]) == {"q / de"}
    assert any("Worse in slice q / de" in reason for reason in found.reasons)


def test_items_of_one_session_are_one_piece_of_evidence(tmp_path: Path) -> None:
    old, new = [0] * 100, [1] * 100
    together = decide(tmp_path, rows("q", old, new, session=["s"] * 50 + ["t"] * 50))
    assert together.verdict == "inconclusive" and together.facts["metrics"]["q"]["sessions"] == 2
    assert decide(tmp_path, rows("q", old, new)).verdict == "accept"


def test_nan_and_null_are_unscored_and_too_many_of_them_decide_nothing(tmp_path: Path) -> None:
    old, new = list(BETTER[0]), list(BETTER[1])
    found = decide(tmp_path, rows("q", old, [math.nan] * 4 + [math.inf] + new[5:]))
    assert found.facts["metrics"]["q"]["n"] == 95 and found.verdict == "accept"
    assert decide(tmp_path, rows("q", old, [None] * 20 + new[20:])).verdict == "inconclusive"


def test_an_undecided_comparison_says_what_it_could_have_found(tmp_path: Path) -> None:
    found = decide(tmp_path, rows("q", [0, 1] * 30, [1, 0] * 30))
    assert "would be found four times in five" in found.reasons[0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"metric": "q", "champion": 1, "candidate": 1}, 'needs "id"'),
        ({"id": "1", "metric": "q", "champion": 1}, 'needs "candidate"'),
        ({"id": "1", "metric": "q", "champion": "high", "candidate": 1}, "champion is a finite number"),
        ({"id": "1", "metric": "q", "champion": 1, "candidate": [1]}, "candidate is a finite number"),
        ({"id": "1", "metric": "q", "champion": 1, "candidate": 1, "session": 3}, '"session" and "slice" are texts'),
    ],
)
def test_a_malformed_row_is_refused_by_line(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRecord, match=message) as raised:
        decide(tmp_path, [*rows("q", [1], [1])[:1], {**row, "id": row.get("id") and "x"} if "id" in row else row])
    assert str(raised.value).startswith("scores.jsonl:2")


def test_the_same_item_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRecord, match="stands twice"):
        decide(tmp_path, rows("q", [1], [1]) * 2)


def test_what_cannot_be_asked_is_told(tmp_path: Path) -> None:
    both = rows("q", *SAME) + rows("ms", [100.0] * 100, [90.0] * 100)
    with pytest.raises(BadInput, match="name the one that must improve"):
        decide(tmp_path, both)
    with pytest.raises(BadInput, match="no row has metric 'safety'"):
        decide(tmp_path, both, objective="safety")
    with pytest.raises(BadInput, match="say which loss is tolerated: --margin ms=NUMBER"):
        decide(tmp_path, both, objective="q")
    with pytest.raises(BadInput, match="no such file"):
        read_pairs(tmp_path / "none.jsonl")
