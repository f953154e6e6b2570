"""Scorers: how good one answer is, from 0 to 1 (higher is better), and the summary of many scores."""

from __future__ import annotations

from collections.abc import Callable

from ratchet.features import Feature, ScorerSpec
from ratchet.scorers.apply import score_item, score_items
from ratchet.scorers.item import Item, Score, parse_item
from ratchet.scorers.llm_judge import JudgeServer, judge_of
from ratchet.scorers.structure import label_accuracy
from ratchet.scorers.summary import BINARY_SCORERS, ScoreSummary, summarise
from ratchet.scorers.text import exact_match, token_f1

Scorer = Callable[[str, str, Feature], float | None]

SCORERS: dict[str, Scorer] = {
    "label_accuracy": label_accuracy,
    "exact_match": exact_match,
    "token_f1": token_f1,
}

__all__ = [
    "BINARY_SCORERS",
    "SCORERS",
    "Item",
    "JudgeServer",
    "Score",
    "ScoreSummary",
    "Scorer",
    "ScorerSpec",
    "exact_match",
    "judge_of",
    "label_accuracy",
    "parse_item",
    "score_item",
    "score_items",
    "summarise",
    "token_f1",
]
