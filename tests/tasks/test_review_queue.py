"""tasks.review_queue: one line a question, the most valuable first, without a word about who said what."""

from __future__ import annotations

import json
from typing import Any

from tasks.review_queue import Doubt, queue, suggestions, write_queue
from tests.tasks.test_reliability import claim


def doubt(number: int, cluster: int, uncertainty: float, *said: Any, reason: str = "disagreement") -> Doubt:
    row = {"interaction_id": f"i{number}", "cluster_id": cluster, "claims": [claim(*c) for c in said]}
    return Doubt(row, reason, uncertainty)


def asked(*doubts: Doubt, most: int = 10, labels_agree: bool = True) -> list[Any]:
    return list(queue(doubts, {}, most=most, labels_agree=labels_agree))


def test_the_most_undecided_comes_first_and_copies_count() -> None:
    found = asked(doubt(1, 1, 0.2), doubt(2, 2, 0.5), doubt(3, 3, 0.3), doubt(4, 3, 0.3), doubt(5, 3, 0.3))
    assert [q.interaction_id for q in found] == ["i3", "i2", "i1"]
    assert len(asked(doubt(1, 1, 0.2), doubt(2, 2, 0.5), most=1)) == 1


def test_what_was_said_about_copies_is_suggested_for_labels_only() -> None:
    told = [doubt(1, 1, 0.5, ("agent:ana", "loans")), doubt(2, 1, 0.4, ("agent:ben", "cards"))]
    assert [s["target"] for s in asked(*told)[0].suggestions] == ["cards", "loans"]
    assert [s["target"] for s in asked(*told, labels_agree=False)[0].suggestions] == ["loans"]


def test_suggestions_add_up_what_reliable_sources_said() -> None:
    said = [claim("user:a", "loans"), claim("user:b", "loans"), claim("user:liar", "cards"), claim("user:c", None)]
    found = suggestions(said, {("user", "liar"): 0.5})
    assert found == [
        {"target": "loans", "weight": 2.0, "sources": 2},
        {"target": "cards", "weight": 0.0, "sources": 1},
    ]


def test_a_line_holds_what_a_person_needs() -> None:
    texts = {"i1": {"messages": '[{"content":"q","role":"user"}]', "contexts": "[]", "output": "a"}}
    (line,) = write_queue(asked(doubt(1, 1, 0.5, ("agent:ana", "loans"))), texts).splitlines()
    row = json.loads(line)
    assert set(row) == {
        "item_id", "interaction_id", "reason", "messages", "contexts", "output", "suggestions", "uncertainty",
    }  # fmt: skip
    assert (row["messages"][0]["content"], row["uncertainty"]) == ("q", 0.5)
    assert "ana" not in line and write_queue([], {}) == ""
