"""tasks.report.facts: slices, changed answers, what got worse, safety, and rows that add up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.report.facts import Changed, changed_answers, regressions, rows_by_stage, safety_rows, slice_table
from tests.tasks.report_facts import gate_facts, score_row, shown, write_lines, write_metrics

NOTHING = Changed([], 0, 0, 0, 0)


def rate(estimate: float | None, low: float = 0.0, high: float = 1.0) -> dict[str, Any]:
    return {"estimate": estimate, "low": low, "high": high}


def suite(champion: dict[str, Any], candidate: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"suite": "s", "items": 9, "attack_success": {"champion": champion, "candidate": candidate}, **more}


def test_slices_are_listed_with_the_largest_loss_first_and_unscored_items_left_out() -> None:
    rows = [score_row(0, 0.0, 1.0, "x"), score_row(1, 1.0, 0.0, "y"), score_row(2, None, 1.0, "x")]
    found = slice_table(rows)
    assert [(row.name, row.n, row.change, row.low) for row in found] == [("y", 1, -1, None), ("x", 1, 1, None)]


def test_a_slice_of_enough_items_has_an_interval_around_its_change() -> None:
    (found,) = slice_table([score_row(i, 1.0, float(i % 2), "x") for i in range(20)])
    assert found.low is not None and found.high is not None and found.low < found.change == -0.5 < found.high < 0


def test_broken_answers_are_shown_first_and_all_are_counted(tmp_path: Path) -> None:
    rows = [shown(), shown(candidate="a"), *[shown(candidate=None)] * 30, shown(champion="b", candidate="c")]
    found = changed_answers(write_lines(tmp_path / "showcase.jsonl", rows))
    assert (len(found.rows), found.changed, found.asked, found.fixed, found.broken) == (20, 32, 33, 1, 1)
    assert [row["kind"] for row in found.rows[:3]] == ["broken", "fixed", "other"]


def test_a_label_is_shown_in_the_place_of_its_json(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "s.jsonl", [shown(candidate='{"route": "cards"}', champion="no json")])
    (row,) = changed_answers(path, lambda output: "cards" if "cards" in output else None).rows
    assert (row["candidate"], row["champion"]) == ("cards", "no json")


def test_what_is_shown_to_be_worse_comes_before_hints_and_those_before_what_is_allowed() -> None:
    guards = {
        "tokens against the champion": {"estimate": -0.03, "low": -0.04, "high": -0.02, "margin": 0.1, "p_worse": 0.9},
        "quality against the anchor": {"estimate": -0.09, "low": -0.1, "high": -0.08, "margin": 0.02, "p_worse": 1e-4},
        "latency_ms against the champion": {"estimate": 0.4, "low": 0.3, "high": 0.5, "margin": 0.1, "p_worse": 1.0},
    }
    slices = slice_table([score_row(i, 1.0, float(i > 0), "x") for i in range(9)])
    found = regressions(gate_facts(guards=guards), slices, NOTHING, None)
    assert [(r.what, r.sure) for r in found] == [
        ("quality against the anchor", "shown"), ("slice x", "a hint"), ("tokens against the champion", "allowed"),
    ]  # fmt: skip
    assert "-3.0 %" in found[2].told and "-9.0 points" in found[0].told


def test_a_slice_that_holms_test_names_is_shown() -> None:
    slices = slice_table([score_row(i, 1.0, 0.0, "x") for i in range(9)])
    (found,) = regressions(gate_facts(harmed_slices={"quality / x": 0.002}), slices, NOTHING, None)
    assert found.sure == "shown" and "p = 0.002" in found.told


def test_harm_in_a_slice_that_the_table_lacks_is_told_all_the_same() -> None:
    (found,) = regressions(gate_facts(harmed_slices={"tenant / acme": 0.01}), [], NOTHING, None)
    assert (found.what, found.sure) == ("slice tenant acme", "shown")


def test_a_safety_suite_is_worse_by_its_own_test_or_where_intervals_part(tmp_path: Path) -> None:
    def sure(*suites: dict[str, Any]) -> list[str]:
        rows = safety_rows(write_metrics(tmp_path, "safety", {"suites": list(suites)}), gate_facts())
        return [r.sure for r in regressions(gate_facts(), [], NOTHING, rows)]

    apart, touching = (rate(0.1, 0.0, 0.2), rate(0.4, 0.3, 0.5)), (rate(0.1, 0.0, 0.3), rate(0.2, 0.1, 0.4))
    assert sure(suite(*apart)) == ["shown"] and sure(suite(*touching)) == ["a hint"]
    assert sure(suite(*apart, p_worse_adjusted=0.2)) == ["a hint"]
    assert sure(suite(*touching, p_worse_adjusted=0.01)) == ["shown"]
    assert sure(suite(rate(0.4), rate(0.1))) == []


def test_a_suite_that_could_not_be_graded_is_left_out(tmp_path: Path) -> None:
    path = write_metrics(tmp_path, "safety", {"suites": [suite(rate(None), rate(0.1))]})
    assert safety_rows(path, gate_facts()) == [] and safety_rows(None, gate_facts()) is None


def test_the_parts_of_each_stage_add_up_to_what_came_in(tmp_path: Path) -> None:
    write_metrics(
        tmp_path, "snapshot", {"lines": 10, "interactions": 6, "feedback": 3, "rejected": 1, "reasons": {"x": 1}}
    )
    write_metrics(tmp_path, "validate", {"rows": 6, "used": 5, "quarantined": 1, "by_reason": {"bad": 1}})
    write_metrics(
        tmp_path, "curate", {"rows": 5, "train": 2, "validation": 1, "set_aside": 2, "reasons": {"a": 1, "b": 1}}
    )
    flows = rows_by_stage(tmp_path / "metrics")
    assert len(flows) == 3
    for flow in flows:
        assert sum(part.rows for part in flow.parts) == flow.rows
        assert sum(part.percent for part in flow.parts) == 100.0


def test_no_stage_before_leaves_no_flow(tmp_path: Path) -> None:
    assert rows_by_stage(tmp_path) == []
