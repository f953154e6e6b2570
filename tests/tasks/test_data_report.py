"""tasks.data_report: a page of numbers that loads nothing, tells every row and says what to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ratchet.files import read_json, write_json
from tasks.data_report import histogram, next_steps, row_bars, share_pairs, span
from tasks.drift import Lengths
from tasks.snapshot import snapshot
from tasks.validate import validate
from tests.tasks.batch import Batch, question


@pytest.fixture
def batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Batch:
    monkeypatch.chdir(tmp_path)
    found = Batch(tmp_path)
    found.correct(10)
    return found


def page(batch: Batch, *extra: str) -> str:
    batch.write_raw(extra)
    snapshot(batch.params())
    validate(batch.params(), batch.root)
    return (batch.root / "data/routing/data_report.html").read_text(encoding="utf-8")


def test_nothing_is_fetched_and_nothing_is_run(batch: Batch) -> None:
    text = page(batch)
    assert "default-src 'none'" in text
    assert not re.search(r"<script|<link|<img|https?://|@import|url\(", text)


def test_every_row_and_reason_is_told(batch: Batch) -> None:
    batch.ask("x" * 9000)
    text = page(batch, "{")
    assert "used 10 (90.9 %)" in text and "quarantined 1 (9.1 %)" in text and "rejected 1 (4.5 %)" in text
    assert "question length" in text and "malformed JSON" in text


def test_no_text_and_no_id_is_on_the_page(batch: Batch) -> None:
    batch.ask("my secret " * 900, interaction_id="id-of-mine", user_id="user-of-mine")
    text = page(batch, '{"interaction_id": "lost-id", "feature": "routing", "secret": 1}')
    assert not [word for word in ("my secret", "id-of-mine", "user-of-mine", "lost-id", "amber") if word in text]


def test_words_from_outside_are_escaped(batch: Batch) -> None:
    path = batch.root / "features/routing/feature.yaml"
    policy = read_json(path)
    policy["contract"] = [
        {"expect": "expect_column_max_to_be_between", "column": "n_turns", "kwargs": {"max_value": 9}}
    ]
    policy["contract"][0]["name"] = "<script>alert(1)</script>"
    write_json(path, policy)
    text = page(batch)
    assert "<script" not in text and "&lt;script&gt;" in text


def test_a_blocked_batch_says_so_with_what_to_do(batch: Batch) -> None:
    batch.feedback.clear()
    text = page(batch)
    assert "Not fit to learn from" in text and "Nobody said anything about these answers" in text


def test_what_the_last_run_had_is_shown_beside(batch: Batch) -> None:
    assert "No run has finished before" in page(batch)
    reference = read_json(batch.root / "data/routing/metrics/profile.json")
    write_json(batch.root / "data/demo/routing/reference.json", reference)
    batch.ask(question(500), at="2026-02-01T00:00:00Z")
    text = page(batch)
    assert "last finished run" in text and "not judged" in text
    assert read_json(batch.root / "data/routing/metrics/profile.json") == reference


def test_an_empty_batch_has_a_page(batch: Batch) -> None:
    batch.interactions.clear()
    batch.feedback.clear()
    assert "there are no interactions" in page(batch)


def test_the_parts_of_a_bar_add_up() -> None:
    taken = {"interactions": 6, "feedback": 3, "rejected": 1}
    for _, parts in row_bars(taken, {"used": 5, "quarantined": 1}):
        assert sum(part.percent for part in parts) == pytest.approx(100)


def test_many_labels_are_told_in_few_lines() -> None:
    pairs = share_pairs({f"l{n:02}": n + 1 for n in range(30)}, {"l00": 1})
    assert pairs[-1].name == "16 others" and pairs[0].name == "l00"
    assert sum(pair.now for pair in pairs) == pytest.approx(1)


def test_a_histogram_goes_from_the_shortest_to_the_longest_of_both() -> None:
    columns = histogram(Lengths(bins={"32": 1, "45": 1}), Lengths(bins={"8": 4}))
    assert [column.name for column in columns] == ["8 to 31", "32 to 44", "45 and more"]
    assert [(column.height, column.then_y) for column in columns] == [(0, 0), (36, 72), (36, 72)]


@pytest.mark.parametrize(("days", "told"), [(9.5, "9.5 days"), (1.5, "36.0 hours"), (1 / 144, "10 minutes")])
def test_a_span_is_told_in_the_unit_that_suits_it(days: float, told: str) -> None:
    assert span(days) == told


def test_a_sound_batch_needs_nothing() -> None:
    metrics: dict[str, Any] = {"checks": [], "drift": [], "quarantined": 0, "verdict": "pass"}
    assert next_steps("routing", {"rejected": 0}, metrics) == ["Nothing: go on."]
