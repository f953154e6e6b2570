"""Scorers: how right one answer is, from 0 to 1 (higher is better), and the summary of many scores."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from ratchet.features import Feature
from ratchet.stats import bootstrap_mean_interval, wilson_interval

Scorer = Callable[[str, str, Feature], float | None]

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def label_accuracy(output: str, expected: str, feature: Feature) -> float | None:
    """1.0 where the answer gives the expected label, else 0.0 (also for an answer that is not of the schema).

    None (unscored) where the expected output gives no label, so that nothing can be said.
    """
    wanted = feature.label_of(expected)
    if wanted is None:
        return None
    return float(feature.label_of(output) == wanted)


def exact_match(output: str, expected: str, feature: Feature) -> float | None:
    """1.0 where both texts agree after Unicode (NFKC), case and white space are evened out, else 0.0.

    None where nothing is expected.
    """
    wanted = _even_out(expected)
    return float(_even_out(output) == wanted) if wanted else None


def token_f1(output: str, expected: str, feature: Feature) -> float | None:
    """Harmonic mean of the precision and recall of words, as bags.

    The F1 of SQuAD (Rajpurkar et al. 2016, section 6.1): lower case, without punctuation and English articles. Checked
    by hand-worked cases in tests/ratchet/test_scorers.py. None where nothing is expected.
    """
    given, wanted = _words(output), _words(expected)
    if not wanted:
        return None
    shared = sum((Counter(given) & Counter(wanted)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(given), shared / len(wanted)
    return 2 * precision * recall / (precision + recall)


SCORERS: dict[str, Scorer] = {
    "label_accuracy": label_accuracy,
    "exact_match": exact_match,
    "token_f1": token_f1,
}

BINARY_SCORERS = frozenset({"label_accuracy", "exact_match"})


@dataclass(frozen=True)
class ScoreSummary:
    """The mean of `n` scores with its 95 % interval; score, low and high are None where nothing was scored."""

    n: int
    unscored: int
    score: float | None
    low: float | None
    high: float | None

    def as_dict(self) -> dict[str, float | int | None]:
        """The summary for a metrics file; six decimals, so that equal runs give equal bytes."""
        return {k: round(v, 6) if isinstance(v, float) else v for k, v in asdict(self).items()}


def summarise(scores: Sequence[float | None], *, scorer: str, seed: int) -> ScoreSummary:
    """Average the scored items; the interval is Wilson's for 0/1 scorers, a seeded bootstrap for the others."""
    scored = [score for score in scores if score is not None]
    unscored = len(scores) - len(scored)
    if not scored:
        return ScoreSummary(0, unscored, None, None, None)
    if scorer in BINARY_SCORERS:
        low, high = wilson_interval(round(sum(scored)), len(scored))
    else:
        low, high = bootstrap_mean_interval(scored, seed=seed)
    return ScoreSummary(len(scored), unscored, sum(scored) / len(scored), float(low), float(high))


def _even_out(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _words(text: str) -> list[str]:
    plain = unicodedata.normalize("NFKC", text).lower().translate(PUNCTUATION)
    return ARTICLES.sub(" ", plain).split()
