"""Keeps training away from what releases are judged on: holdout, showcase and safety suites.

An example goes with its whole near-duplicate cluster where the cluster holds a held question, and also where its
embedding is as near to one as `embedding_cosine`. On banking77 the cosine of static embeddings says: at 0.97 the pairs
are the same words in another order or inflection ("how do i link my card", "how do i link my new card"; 4 % of the
training questions have such a test question, 97 % of the pairs share the label), all 25 known copies are found; at
0.95 other questions about the same thing begin (10 %); a paraphrase in other words (0.6 to 0.9) is not found.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ratchet.files import read_json
from ratchet.params import CurateParams
from ratchet.questions import normalise
from tasks.clusters import components, near_pairs
from tasks.embeddings import embed
from tasks.holdout_questions import questions_in, read_questions

IN_HOLDOUT = "in holdout"
IN_SAFETY = "in a safety suite"
COMPARED = 8192  # questions whose embeddings are compared at once


class Held(NamedTuple):
    """What must not be trained on: normalised questions, and why."""

    texts: list[str]
    reasons: list[str]


class Clustered(NamedTuple):
    """Of each text the cluster (the smallest position in it), and the reason it must not be trained on, if any."""

    clusters: list[int]
    barred: list[str | None]


def read_held(holdout: Path, safety: Path, feature: str) -> Held:
    """The questions of holdout and showcase, and the prompts of the safety suites: all features' and its own."""
    asked = [normalise(text) for text in read_questions(holdout, feature)]
    suites = [*sorted(safety.glob("*.jsonl")), *sorted((safety / feature).glob("*.jsonl"))]
    tried = [normalise(text) for path in suites for text in questions_in(path)]
    return Held([*asked, *tried], [IN_HOLDOUT] * len(asked) + [IN_SAFETY] * len(tried))


def cluster(texts: Sequence[str], held: Held, params: CurateParams, cache: Path) -> Clustered:
    """Near-duplicate clusters of normalised texts, and those that are held or like it. One pass over both."""
    every = [*held.texts, *texts]
    roots = components(len(every), near_pairs(every, jaccard=params.near_duplicate_jaccard, seed=params.seed))
    reasons = dict(reversed(list(zip(roots, held.reasons, strict=False))))  # of two reasons a cluster has the first
    barred = [reasons.get(root) for root in roots[len(held.texts) :]]
    alike = _near_in_meaning(texts, held, params.embedding_cosine, cache)
    return Clustered(roots[len(held.texts) :], [why or like for why, like in zip(barred, alike, strict=True)])


def count_held_elsewhere(held: Held, champion: Path, passages: Iterable[str]) -> dict[str, int]:
    """How many holdout questions stand word for word where a release could copy from: demonstrations, index.

    They are reported, not removed: the demonstrations are the champion's, the index is the application's.

    Args:
        champion: its manifest.
        passages: what the application retrieved, as far as the batch shows it.
    """
    asked = {text for text, why in zip(held.texts, held.reasons, strict=True) if why == IN_HOLDOUT and text}
    shown = {normalise(text) for text in _demonstrations(champion)}
    indexed: set[str] = set()
    for passage in passages:
        plain = f" {normalise(passage)} "
        indexed |= {text for text in asked - indexed if f" {text} " in plain}
    return {"demonstrations": len(asked & shown), "index": len(indexed)}


def _near_in_meaning(texts: Sequence[str], held: Held, cosine: float, cache: Path) -> list[str | None]:
    found: list[str | None] = [None] * len(texts)
    if not held.texts or not texts or cosine >= 1:
        return found
    avoided = embed(held.texts, cache)
    unique = list(dict.fromkeys(texts))
    like: dict[str, str] = {}
    for start in range(0, len(unique), COMPARED):
        part = unique[start : start + COMPARED]
        nearness = (embed(part, cache) @ avoided.T).round(4)  # sums differ by machine in the last digits
        for i in np.flatnonzero(nearness.max(axis=1) >= cosine):
            like[part[i]] = held.reasons[int(nearness[i].argmax())]
    return [like.get(text) for text in texts]


def _demonstrations(champion: Path) -> list[str]:
    if not champion.is_file():
        return []
    prompt = read_json(champion).get("prompt", {})
    return [str(shown["input"]) for shown in prompt.get("demonstrations", [])]
