"""tasks.report.picture: every interval lies where its numbers say, and what does not fit says so."""

from __future__ import annotations

import pytest

from ratchet.stats import Difference
from tasks.report.facts import slice_table
from tasks.report.picture import WIDTH, Interval, Kept, forest, interval_bars, intervals, steps
from tests.tasks.report_facts import evaluated, gate_facts, score_row, sealed_facts


def test_bars_leave_out_what_was_not_scored_and_keep_a_low_of_zero() -> None:
    bars = interval_bars(evaluated(), gate_facts())
    assert [bar.name for bar in bars] == ["arm sft", "anchor", "champion", "candidate"]
    assert bars[0].low == 0.0 and bars[0].x == (0.0, 360.0, 400.0)


def test_no_interval_of_a_sealed_look_is_pictured() -> None:
    assert intervals(sealed_facts(), []) == [] and forest([]) is None


def test_objective_corrected_gain_anchor_guards_and_slices_are_pictured() -> None:
    guards = {"tokens": {"n": 9, "estimate": 0.0, "low": -0.1, "high": 0.1, "margin": 0.2}, "few": {"n": 1}}
    slices = slice_table([score_row(i, 1.0, float(i % 2), "x") for i in range(8)] + [score_row(9, 0.0, 1.0, "tiny")])
    anchor = {"estimate": 0.3, "low": 0.2, "high": 0.4}
    found = intervals(gate_facts(guards=guards, anchor_difference=anchor), slices)
    assert [i.name for i in found] == [
        "quality, as measured", "quality, corrected for selection", "against the anchor", "tokens", "x",
    ]  # fmt: skip


def test_an_anchor_that_is_the_champion_is_not_pictured_twice() -> None:
    same = {"release_id": "rel_champion", "score": None}
    anchor = {"estimate": 0.3, "low": 0.2, "high": 0.4}
    assert len(intervals(gate_facts(anchor=same, anchor_difference=anchor), [])) == 2


@pytest.mark.parametrize(
    ("ends", "margin", "at"),
    [
        ((0.1, 0.3), None, "better"),
        ((-0.3, -0.1), None, "worse"),
        ((-0.1, 0.2), None, "open"),
        ((-0.3, -0.1), 0.2, "open"),
    ],
)
def test_a_line_is_coloured_by_what_its_interval_says(ends: tuple[float, float], margin: float | None, at: str) -> None:
    found = forest([Interval("q", "decides", 9, sum(ends) / 2, *ends, margin)])
    assert found is not None and found.lines[0].at == at


def test_lines_lie_on_one_axis_and_long_ones_end_in_an_arrow() -> None:
    found = forest([Interval("q", "decides", 9, 0.1, 0.0, 0.2), Interval("s", "slices", 5, 0.0, -0.9, 0.9, 0.1)])
    assert found is not None and found.reach == 60.0
    middle, (first, second) = WIDTH / 2, found.lines
    assert first.x == pytest.approx((middle, middle * (1 + 10 / 60), middle * (1 + 20 / 60)), abs=0.1)
    assert second.x == (0.0, middle, WIDTH) and second.is_cut == (True, True) and first.is_cut == (False, False)
    assert second.margin_x == pytest.approx(middle * (1 - 10 / 60), abs=0.1)


def test_an_interval_that_reaches_minus_one_does_not_shrink_the_rest() -> None:
    found = forest([Interval("q", "decides", 9, 0.1, 0.05, 0.15), Interval("c", "decides", 9, 0.02, -1.0, 0.15)])
    assert found is not None and found.reach < 50 and found.lines[1].is_cut == (True, False)


def test_the_history_is_pictured_where_there_is_a_number() -> None:
    kept = Kept("rel_1", None, "promoted", Difference(0.1, 0.0, 0.2), None, (0, 0))
    found = steps([kept, kept._replace(promised=None)])
    assert found is not None and len(found.steps) == 1
    assert found.steps[0].promised == (200.0, 300.0, 400.0) and found.steps[0].realised is None
    assert steps([]) is None
