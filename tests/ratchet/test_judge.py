"""ratchet.judge: draws are blind, their probabilities known; malformed rows are told by line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ratchet.errors import BadInput, BadRecord
from ratchet.judge import AnswerPair, JudgedAnswer, Label, allocate, draw, draw_items, join, read_answers, write_labels


def pair(item: int, old: float, new: float, *, same: bool = False) -> AnswerPair:
    """An item's two answers."""
    return AnswerPair(
        JudgedAnswer(item_id=f"i{item}", role="champion", output=f"old {item}", judge=old),
        JudgedAnswer(item_id=f"i{item}", role="candidate", output=f"{'old' if same else 'new'} {item}", judge=new),
    )


def many(n: int = 400) -> list[AnswerPair]:
    """Items on which the judge prefers one answer now and then."""
    rng = np.random.default_rng(1)
    return [pair(i, *(rng.random(2) < 0.8).astype(float).tolist(), same=i % 5 == 0) for i in range(n)]


def test_each_item_is_drawn_as_often_as_its_inclusion_says() -> None:
    rng, n = np.random.default_rng(2), 200
    old, new = (rng.random(n) < 0.7).astype(float), (rng.random(n) < 0.8).astype(float)
    times, told = np.zeros(n), np.zeros(n)
    for _ in range(2000):
        at, inclusion = draw_items(old, new, 40, rng)
        times[at] += 1
        told[at] = inclusion
    assert np.abs(times / 2000 - told).max() < 0.05
    assert told[old != new].min() > 1.5 * told[old == new].max()


def test_weights_of_a_draw_add_up_to_all_items() -> None:
    old, new = np.array([p.champion.judge for p in many()]), np.array([p.candidate.judge for p in many()])
    _, inclusion = draw_items(old, new, 60, np.random.default_rng(3))
    assert (1 / inclusion).sum() == pytest.approx(400)


def test_allocation_by_hand() -> None:
    # 2 of each that has them, the rest by size times density: 20, 0, 80 with 4 more
    assert allocate(np.array([10, 0, 80]), np.array([2.0, 2.0, 1.0]), 8).tolist() == [2, 0, 6]
    assert allocate(np.array([3, 1, 0]), np.array([1.0, 1.0, 1.0]), 4).tolist() == [3, 1, 0]


def test_rows_are_blind_to_release_and_score_and_in_random_order() -> None:
    pairs = many()
    rows = draw(pairs, 50, seed=4)
    assert {frozenset(row) for row in rows} == {
        frozenset({"key", "inclusion", "messages", "contexts", "output", "human"})
    }
    is_old = [row["output"].startswith("old") for row in rows]
    assert 0.3 < np.mean(np.array(is_old[1:]) != np.array(is_old[:-1])) < 0.7
    assert rows == draw(pairs, 50, seed=4) != draw(pairs, 50, seed=5)


def test_equal_answers_are_labelled_once_and_count_for_both() -> None:
    pairs = [pair(i, 1.0, 1.0, same=True) for i in range(10)]
    rows = draw(pairs, 4, seed=1)
    assert len(rows) == 4
    labels = {row["key"]: Label(key=row["key"], inclusion=row["inclusion"], human=1.0) for row in rows}
    assert sorted(found.human for found in join(pairs, labels) if None not in found.human) == [(1.0, 1.0)] * 4


def test_labels_of_other_answers_are_refused() -> None:
    with pytest.raises(BadInput, match="1 labels are of other answers"):
        join(many(3), {"x": Label(key="x", inclusion=0.5, human=1.0)})


def test_labels_that_people_may_have_filled_in_are_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    write_labels(path, [{"key": "a"}])
    with pytest.raises(BadInput, match="may hold labels"):
        write_labels(path, [])
    assert path.read_text() == '{"key": "a"}\n'


GOOD = {"item_id": "i1", "role": "champion", "output": "a secret", "judge": 1}


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ({**GOOD, "item_id": "i2", "judge": 1.5}, r"a\.jsonl:2: judge: less than equal"),
        ({**GOOD, "item_id": "i2", "judge": None}, r"a\.jsonl:2: judge: float type"),
        ({**GOOD, "item_id": "i2", "role": "anchor"}, r"a\.jsonl:2: role: literal error"),
        (GOOD, r"a\.jsonl:2: the champion's answer to this item stands twice"),
        ([1], r"a\.jsonl:2: "),
    ],
)
def test_malformed_rows_are_told_by_line_without_their_text(tmp_path: Path, bad: Any, told: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n{json.dumps(bad)}\n")
    with pytest.raises(BadRecord, match=told) as raised:
        read_answers(path)
    assert "secret" not in str(raised.value)


def test_an_item_with_one_answer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(GOOD) + "\n")
    with pytest.raises(BadInput, match="1 items have one release's answer only, such as 'i1'"):
        read_answers(path)
