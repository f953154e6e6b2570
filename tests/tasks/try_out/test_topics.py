"""tasks.try_out.topics: which requests go wrong, and that chance does not make one."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tasks.try_out.counts import Rate
from tasks.try_out.topics import Topics, shrink
from tests.tasks.try_out.logs import asked, said, tried

THEMES = {
    "card": "my card was {} at the {} machine",
    "loan": "the loan {} for a {} house mortgage",
    "login": "password {} when the {} login code is typed",
}
WORDS = ("stuck", "new", "late", "old", "refused", "blue", "first", "last", "broken", "small", "fast", "quiet")


def topics(folder: Path, bad: dict[str, float], users: int = 999, count: int = 180) -> Topics:
    rng = random.Random(3)
    rows: list[dict[str, Any]] = []
    for i in range(count):
        theme = list(THEMES)[i % 3]
        rows.append(asked(i, THEMES[theme].format(rng.choice(WORDS), rng.choice(WORDS)) + f" {rng.choice(WORDS)}"))
        rows[-1]["user_id"] = f"u{i % users}"
        rows.append(said(i, "thumb", rng.random() >= bad.get(theme, 0.1)))
    return tried(folder, *rows).topics


def test_the_kind_of_request_that_goes_wrong_comes_first_and_stands_out(tmp_path: Path) -> None:
    found = topics(tmp_path, {"loan": 0.7})
    assert {"loan", "mortgage", "house"} & set(found.topics[0].terms)
    assert [topic.is_worse for topic in found.topics].count(True) >= 1 and found.topics[0].is_worse
    assert 1 <= len(found.topics[0].cases) <= 3


def test_every_judged_question_is_in_one_cluster(tmp_path: Path) -> None:
    found = topics(tmp_path, {})
    assert sum(topic.questions for topic in found.topics) == sum(topic.bad.n for topic in found.topics) == 180


def test_where_all_kinds_go_equally_wrong_none_stands_out(tmp_path: Path) -> None:
    assert not any(topic.is_worse for topic in topics(tmp_path, {}).topics)


def test_the_complaints_of_two_people_are_no_kind_of_request(tmp_path: Path) -> None:
    assert not any(
        topic.is_worse for topic in topics(tmp_path, {"loan": 0.9, "card": 0.0, "login": 0.0}, users=2).topics
    )


def test_three_unlucky_answers_do_not_top_the_list() -> None:
    assert shrink(Rate(3, 3), 0.1) == pytest.approx(5 / 23)
    assert shrink(Rate(3, 3), 0.1) < shrink(Rate(20, 40), 0.1)


def test_few_questions_are_not_divided_and_what_went_wrong_is_shown_all_the_same(tmp_path: Path) -> None:
    (found,) = tried(tmp_path, *(asked(i, f"question {i}") for i in range(10)), said(3, "thumb", False)).topics.topics
    assert (found.terms, found.questions, found.bad) == ((), 10, Rate(1, 1))
    assert [case.interaction_id for case in found.cases] == ["i3"]


def test_without_verdicts_the_clusters_show_who_asked_again(tmp_path: Path) -> None:
    rows = []
    for i in range(0, 120, 2):
        text = THEMES[list(THEMES)[i % 3]].format(WORDS[i % 12], WORDS[i // 12])
        rows += [
            asked(i, text),
            asked(i + 1, f"{text} today", session_id=f"s{i}", at=asked(i, "")["at"].replace(":00:00", ":05:00")),
        ]
    found = tried(tmp_path, *rows).topics
    assert found.measure == "signals"
    assert sum(topic.bad.k for topic in found.topics) == 60
