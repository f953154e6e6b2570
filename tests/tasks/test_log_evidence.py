"""tasks.log_evidence: against a simulated log whose truth is known, and refusals where nothing can be known."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ratchet.errors import BadInput, BadRecord
from ratchet.records import Feedback, Interaction
from tasks.log_evidence import Logged, bound_gain, canary_log, read_log, weigh_log, weighted_gain

SERVED = np.array([0.5, 0.3, 0.2])  # the chance of each of three answers
AT = datetime(2026, 1, 2, tzinfo=UTC)


def simulate(n: int, seed: int, *, per_user: int = 1, chances: np.ndarray = SERVED) -> tuple[list[Logged], float]:
    """A log of randomly chosen answers, and the true gain of a candidate that answers by the question.

    Questions differ in how well each answer does (0.4 to 0.9), users in how content they are.
    """
    rng = np.random.default_rng(seed)
    quality = np.array([[0.9, 0.5, 0.4], [0.4, 0.8, 0.5]])
    best, rows, gains = np.array([0, 1]), [], []
    for i in range(n):
        if i % per_user == 0:
            mood = rng.uniform(-0.1, 0.1)
        kind, chosen = rng.integers(2), rng.choice(3, p=chances)
        outcome = float(rng.random() < quality[kind, chosen] + mood)
        rows.append(Logged(bool(chosen == best[kind]), outcome, float(chances[chosen]), f"u{i // per_user}"))
        gains.append(quality[kind, best[kind]] - quality[kind] @ chances)
    return rows, float(np.mean(gains))


def test_the_estimate_is_unbiased_and_its_interval_covers() -> None:
    found = [(weighted_gain(rows), truth) for rows, truth in (simulate(400, seed) for seed in range(300))]
    errors = [gain.estimate - truth for gain, truth in found if gain is not None]
    covered = np.mean([gain.low <= truth <= gain.high for gain, truth in found if gain is not None])
    assert len(errors) == 300 and abs(np.mean(errors)) < 0.006 and 0.92 <= covered <= 0.98


def test_answers_to_one_user_are_one_piece_of_evidence() -> None:
    rows, _ = simulate(400, 1, per_user=20)
    lone = [Logged(row.is_same, row.outcome, row.propensity, str(i)) for i, row in enumerate(rows)]
    bound, free = weighted_gain(rows), weighted_gain(lone)
    assert bound is not None and free is not None and bound.estimate == free.estimate
    assert bound.high - bound.low > free.high - free.low


def test_bounds_hold_the_truth_in_nearly_every_log_and_are_as_wide_as_what_differs() -> None:
    held = []
    for seed in range(200):
        rows, truth = simulate(300, seed)
        bounds = bound_gain(rows)
        assert bounds is not None
        held.append(bounds.low <= truth <= bounds.high)
    assert np.mean(held) > 0.99
    assert bounds.high - bounds.low >= bounds.differing / 300


def test_where_nothing_differs_the_gain_is_none_without_any_outcome() -> None:
    assert bound_gain([Logged(True, None, None, str(i)) for i in range(9)]) == (0.0, 0.0, 9, 0)


def test_an_unknown_outcome_can_be_anything() -> None:
    rows = [Logged(False, None, None, str(i)) for i in range(9)]
    assert bound_gain(rows) == (-1.0, 1.0, 9, 9)


def changed(rows: list[Logged], **changes: Any) -> list[Logged]:
    return [Logged(**{**vars(row), **changes}) for row in rows]


def test_a_random_log_gives_bounds_and_estimate() -> None:
    rows, truth = simulate(600, 5)
    found = weigh_log(rows)
    assert found.bounds is not None and found.gain is not None and found.gain.low <= truth <= found.gain.high
    assert "600 answers were chosen at random" in found.told


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([], "no answer was logged"),
        (changed(simulate(99, 1)[0], propensity=1.0), "99 of 99 answers were not chosen at random"),
        (changed(simulate(99, 1)[0], propensity=None), "99 of 99 answers were not chosen at random"),
        (changed(simulate(99, 1)[0], outcome=None), "of 99 of 99 answers the outcome is not known"),
        (changed(simulate(99, 1)[0], is_same=False), "never served"),
        (simulate(30, 1)[0], "are needed"),
        (changed(simulate(999, 1)[0], cluster="one"), "(some|all) of"),
    ],
)
def test_where_nothing_can_be_known_it_says_why(rows: list[Logged], why: str) -> None:
    found = weigh_log(rows)
    assert found.gain is None and found.told.startswith("Not identifiable")
    assert re.search(why, found.told)


def test_a_candidate_half_of_whose_answers_were_never_served_is_refused() -> None:
    rows, _ = simulate(900, 3)
    never = [Logged(row.is_same and i % 2 == 0, row.outcome, row.propensity, row.cluster) for i, row in enumerate(rows)]
    assert "was never served (the weights sum to too little)" in weigh_log(never).told


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_are_read_and_users_bind_them(tmp_path: Path) -> None:
    row = {"id": "1", "logged": "a", "candidate": "a", "outcome": 1, "propensity": 0.5, "user": "u"}
    found = read_log(write(tmp_path / "log.jsonl", row, {"id": "2", "logged": "a", "candidate": "b", "outcome": None}))
    assert found == [Logged(True, 1.0, 0.5, "u:u"), Logged(False, None, None, "i:2")]


@pytest.mark.parametrize(
    "changes",
    [{"id": 3}, {"logged": None}, {"outcome": 2}, {"outcome": "good"}, {"propensity": 0}],
)
def test_a_malformed_row_is_named_by_its_line(tmp_path: Path, changes: dict[str, Any]) -> None:
    row = {"id": "1", "logged": "a", "candidate": "a", "outcome": 1, "propensity": 0.5}
    with pytest.raises(BadRecord, match=r"log\.jsonl:1"):
        read_log(write(tmp_path / "log.jsonl", row | changes))


def test_an_id_twice_and_an_empty_file_are_refused(tmp_path: Path) -> None:
    row = {"id": "1", "logged": "a", "candidate": "a", "outcome": 1}
    with pytest.raises(BadRecord, match=r"log\.jsonl:2"):
        read_log(write(tmp_path / "log.jsonl", row, row))
    with pytest.raises(BadInput, match="no rows"):
        read_log(write(tmp_path / "empty.jsonl"))


def interaction(number: int, release: str, propensity: float, **changes: Any) -> Interaction:
    asked = {"messages": [{"role": "user", "content": "x"}]}
    fields = {"interaction_id": f"i{number}", "feature": "f", "at": AT + timedelta(hours=number), "input": asked}
    more = {"output": {"content": "y"}, "release_id": release, "propensity": propensity, "user_id": f"u{number}"}
    return Interaction.model_validate(fields | more | changes)


def test_of_a_features_own_log_only_canary_traffic_with_this_release_counts() -> None:
    log = [
        interaction(0, "rel_old", 1.0),
        interaction(1, "rel_old", 0.8),
        interaction(2, "rel_new", 0.2),
        interaction(3, "rel_old", 0.8),
        interaction(4, "rel_old", 0.8, fallback=True),
        interaction(5, "rel_new", 0.2),
        interaction(6, "rel_old", 0.5),
    ]
    source = {"type": "user", "id": "u"}
    said = {"feedback_id": "f1", "interaction_id": "i2", "at": AT, "kind": "thumb", "value": False, "source": source}
    found = canary_log("rel_new", log, [Feedback.model_validate(said)])
    assert [(row.is_same, row.outcome, row.propensity) for row in found] == [
        (True, 0.0, 0.2),
        (False, 1.0, 0.8),
        (True, 1.0, 0.2),
    ]
    assert canary_log("rel_other", log, []) == []
