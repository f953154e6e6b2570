"""tasks.regions: where a candidate lost on validation becomes a slice of the holdout."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from ratchet.records import Message
from tasks.regions import figures_of, find_regions, region_of


def figures(words: int, digits: int = 0) -> dict[str, float]:
    text = " ".join(["word"] * words) + "7" * digits
    return figures_of((Message(role="user", content=text),), {})


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(words: int, champion: float, candidate: float, digits: int = 0) -> dict[str, Any]:
    return {"figures": figures(words, digits), "champion": champion, "candidate": candidate}


def test_the_region_of_a_planted_loss_is_found_and_said_in_words(tmp_path: Path) -> None:
    draw = random.Random(3)
    rows = [row(draw.randint(1, 10), 0.0, float(draw.random() < 0.3), draw.randint(0, 3)) for _ in range(100)]
    rows += [row(draw.randint(21, 40), 1.0, float(draw.random() < 0.3), draw.randint(0, 3)) for _ in range(100)]
    regions = find_regions(write(tmp_path / "v.jsonl", rows))
    assert region_of(figures(30), regions) is not None and region_of(figures(5), regions) is None
    assert all("above" in name or "up to" in name for name in regions)


def test_a_candidate_that_lost_nowhere_has_no_region(tmp_path: Path) -> None:
    assert find_regions(write(tmp_path / "v.jsonl", [row(i, 0.0, 1.0) for i in range(100)])) == {}


def test_too_few_scores_and_no_file_find_nothing(tmp_path: Path) -> None:
    assert find_regions(write(tmp_path / "v.jsonl", [row(i, 1.0, 0.0) for i in range(39)])) == {}
    assert find_regions(tmp_path / "none.jsonl") == {}


def test_the_order_of_the_scores_does_not_matter(tmp_path: Path) -> None:
    rows = [row(i, 1.0, float(i < 60)) for i in range(100)]
    found = [find_regions(write(tmp_path / "v.jsonl", some)) for some in (rows, rows[::-1])]
    assert found[0] == found[1] != {}
