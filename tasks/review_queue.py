"""What a person should look at: answers on which the evidence is undecided, and answers that nobody put right.

One line a question: near-duplicates are asked about once. Most valuable first: the more undecided the evidence and the
more answers hang on it. A decision comes back as an agent's feedback on `interaction_id`.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ratchet.examples import Reliability, weigh
from ratchet.feedback import Claim
from ratchet.files import canonical_json, sha256_text

Row = dict[str, Any]


@dataclass(frozen=True)
class Doubt:
    """A row to look at: why, and how undecided the evidence on it is (0 to 1)."""

    row: Row
    reason: str
    uncertainty: float


class Question(NamedTuple):
    """A line of the queue without the texts, which are not in memory while doubts are gathered."""

    interaction_id: str
    reason: str
    uncertainty: float
    suggestions: list[dict[str, Any]]


def queue(doubts: Iterable[Doubt], reliability: Reliability, *, most: int, labels_agree: bool) -> list[Question]:
    """The questions to a person, most valuable first.

    Args:
        doubts: their rows have `claims` and `cluster_id`.
        reliability: of the sources, for the weight of what they suggest.
        most: how many questions at most.
        labels_agree: answers to near-duplicates share what is right (labels do, free texts need not), so what is
            claimed about one is suggested for all.
    """
    groups: dict[int, list[Doubt]] = defaultdict(list)
    for doubt in doubts:
        groups[doubt.row["cluster_id"]].append(doubt)
    asked = []
    for found in groups.values():
        first = min(found, key=lambda d: (-d.uncertainty, d.row["interaction_id"]))
        told = [claim for d in (found if labels_agree else [first]) for claim in d.row["claims"]]
        value = first.uncertainty * math.log1p(len(found))
        interaction_id = first.row["interaction_id"]
        question = Question(interaction_id, first.reason, first.uncertainty, suggestions(told, reliability))
        asked.append((-round(value, 6), interaction_id, question))
    return [question for *_, question in sorted(asked, key=lambda entry: entry[:2])[:most]]


def suggestions(claims: Sequence[Claim], reliability: Reliability) -> list[dict[str, Any]]:
    """What was said to be right, the weightiest first: {"target", "weight", "sources": how many said so}."""
    said: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    for claim in claims:
        if claim.target is not None:
            weight = weigh(claim, reliability)
            said[claim.target][claim.source] = max(weight, said[claim.target].get(claim.source, 0.0))
    found = [
        {"target": target, "weight": round(sum(weights.values()), 4), "sources": len(weights)}
        for target, weights in said.items()
    ]
    return sorted(found, key=lambda s: (-float(str(s["weight"])), str(s["target"])))


def write_queue(questions: Sequence[Question], texts: Mapping[str, Row]) -> str:
    """JSONL of {"item_id", "interaction_id", "reason", "messages", "contexts", "output", "suggestions", "uncertainty"}.

    Args:
        texts: by interaction id, with messages, contexts (JSON) and output.
    """
    lines = [
        {
            "item_id": "rev_" + sha256_text(question.interaction_id)[:16],
            "interaction_id": question.interaction_id,
            "reason": question.reason,
            "messages": json.loads(texts[question.interaction_id]["messages"]),
            "contexts": json.loads(texts[question.interaction_id]["contexts"]),
            "output": texts[question.interaction_id]["output"],
            "suggestions": question.suggestions,
            "uncertainty": round(question.uncertainty, 4),
        }
        for question in questions
    ]
    return "".join(canonical_json(line) + "\n" for line in lines)
