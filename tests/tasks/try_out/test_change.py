"""tasks.try_out.change: what a change did, how sure that is, and when nobody can tell."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.try_out.change import Marked, interval_by_user, unpaired_interval
from tasks.try_out.counts import Rate
from tests.tasks.try_out.logs import asked, said, tried


def changes(folder: Path, *served: tuple[str, bool], **changes: Any) -> tuple[Marked, ...]:
    rows: list[dict[str, Any]] = []
    for i, (release, good) in enumerate(served):
        rows += [asked(i, f"question {i}", release_id=release, **changes), said(i, "thumb", good)]
    return tried(folder, *rows).changes


def test_newcombe_interval_of_a_known_case() -> None:
    """56 of 70 against 48 of 80: Newcombe (1998), example (a) of table II, method 10: 0.0524 to 0.3339."""
    found = unpaired_interval(Rate(48, 80), Rate(56, 70))
    assert (found.low, found.high) == (pytest.approx(0.0524, abs=1e-4), pytest.approx(0.3339, abs=1e-4))


def test_the_interval_by_user_is_that_of_resampled_users() -> None:
    rng = np.random.default_rng(4)
    answers = rng.integers(0, 6, size=(400, 2))
    leaning = rng.beta(1, 4, size=400)
    bad = rng.binomial(answers, leaning[:, None])
    users = np.stack([bad[:, 0], answers[:, 0], bad[:, 1], answers[:, 1]], axis=1).astype(float)
    drawn = (rng.multinomial(400, np.full(400, 1 / 400), size=4000) @ users).T
    low, high = np.quantile(drawn[2] / drawn[3] - drawn[0] / drawn[1], [0.025, 0.975])
    found = interval_by_user(users)
    assert (found.low, found.high) == (pytest.approx(low, abs=0.004), pytest.approx(high, abs=0.004))


def test_a_newer_release_is_held_against_the_one_before_it_in_calendar_order(tmp_path: Path) -> None:
    (found,) = changes(tmp_path, *[("b", i % 2 == 0) for i in range(60)], *[("a", i % 10 != 0) for i in range(60)])
    assert found.change is not None
    assert (found.change.old.name, found.change.new.name, found.change.design) == ("b", "a", "before and after")
    assert found.change.difference.estimate == pytest.approx(-0.4)
    assert found.change.difference.high < 0


def test_versions_served_at_the_same_time_are_random_only_where_the_log_says_so(tmp_path: Path) -> None:
    served = [("ab"[i % 2], i % 3 > 0) for i in range(60)]
    (beside,), (drawn,) = changes(tmp_path, *served), changes(tmp_path, *served, propensity=0.5)
    assert beside.change is not None and drawn.change is not None
    assert (beside.change.design, drawn.change.design) == ("side by side", "random")


def test_answers_of_few_users_widen_the_interval(tmp_path: Path) -> None:
    served = [("a", i % 20 < 10) for i in range(200)] + [("b", i % 20 < 12) for i in range(200)]
    rows = [
        [asked(i, f"q{i}", release_id=r, user_id=f"u{i % n}"), said(i, "thumb", ok)]
        for n in (20, 400)
        for i, (r, ok) in enumerate(served)
    ]
    alike, apart = (tried(tmp_path, *chain.from_iterable(part)).changes[0].change for part in (rows[:400], rows[400:]))
    assert alike is not None and apart is not None
    assert alike.by_user == 20
    assert alike.difference.high - alike.difference.low >= apart.difference.high - apart.difference.low


@pytest.mark.parametrize(
    ("served", "why"),
    [
        ([("a", True)] * 20, "only one version"),
        ([("a", True)] * 200 + [("b", True)], "only one version"),
    ],
)
def test_where_there_is_one_version_nothing_is_identifiable(
    tmp_path: Path, served: list[tuple[str, bool]], why: str
) -> None:
    (found,) = changes(tmp_path, *served)
    assert found.change is None and found.why_not is not None and why in found.why_not


def test_without_feedback_on_one_side_nothing_is_identifiable(tmp_path: Path) -> None:
    rows = [asked(i, f"q{i}", model="ab"[i // 10]) for i in range(20)]
    (found,) = tried(tmp_path, *rows, *(said(i, "thumb", True) for i in range(10))).changes
    assert (found.mark, found.why_not) == ("model", "too few answers were judged, 10 of a and 0 of b")


def test_without_marks_there_is_nothing_to_compare(tmp_path: Path) -> None:
    assert tried(tmp_path, asked(1, "a"), said(1, "thumb", True)).changes == ()


def test_a_prompt_version_of_another_tool_is_a_mark(tmp_path: Path) -> None:
    rows = [asked(i, f"q{i}", prompt_version=f"v{i // 10}") for i in range(20)]
    assert [m.mark for m in tried(tmp_path, *rows, *(said(i, "thumb", True) for i in range(20))).changes] == ["prompt"]


def test_a_version_name_is_one_bounded_line_without_direction_signs(tmp_path: Path) -> None:
    (found,) = changes(tmp_path, *[("v1\n\u202eevil" + "x" * 200, True)] * 3)
    assert found.versions[0].name == "v1  evil" + "x" * 72
