"""Scorers that look at the letters alone: same text, shared words, a pattern, a length."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from typing import Literal

from ratchet.features import Feature
from ratchet.scorers.item import Item, Score

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)
NOTHING_EXPECTED = Score(None, "nothing is expected")


def exact_match(output: str, expected: str, feature: Feature | None = None) -> float | None:
    """1.0 where both texts agree after Unicode (NFKC), case and white space are evened out, else 0.0.

    None where nothing is expected.
    """
    wanted = even_out(expected)
    return float(even_out(output) == wanted) if wanted else None


def token_f1(output: str, expected: str, feature: Feature | None = None) -> float | None:
    """Harmonic mean of the precision and recall of words, as bags.

    The F1 of SQuAD (Rajpurkar et al. 2016, section 6.1): lower case, without punctuation and English articles. Checked
    by hand-worked cases in tests/ratchet/scorers/test_text.py. None where nothing is expected.
    """
    given, wanted = _words(output), _words(expected)
    if not wanted:
        return None
    shared = sum((Counter(given) & Counter(wanted)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(given), shared / len(wanted)
    return 2 * precision * recall / (precision + recall)


def match(item: Item, *, normalise: bool = True) -> Score:
    """1 where the answer is the expected text; letter by letter with `normalise` false."""
    if not item.expected:
        return NOTHING_EXPECTED
    score = exact_match(item.output, item.expected) if normalise else float(item.output == item.expected)
    return Score(score, "the same text" if score else "another text") if score is not None else NOTHING_EXPECTED


def shared_words(item: Item) -> Score:
    """The F1 of the words that answer and expected text share."""
    score = token_f1(item.output, item.expected or "")
    return Score(score, "words shared with the expected text") if score is not None else NOTHING_EXPECTED


def regex(item: Item, *, pattern: re.Pattern[str], found: bool = True) -> Score:
    """1 where the pattern is found in the answer; with `found` false, where it is not."""
    is_found = pattern.search(item.output) is not None
    return Score(float(is_found == found), "the pattern is found" if is_found else "the pattern is not found")


def length(
    item: Item,
    *,
    least: int = 1,
    most: int | None = None,
    unit: Literal["words", "characters", "sentences"] = "words",
) -> Score:
    """1 where the answer has at least `least` and at most `most` words, characters or sentences."""
    counts = {"words": len(item.output.split()), "characters": len(item.output)}
    n = counts[unit] if unit in counts else len(sentences(item.output))
    is_within = n >= least and (most is None or n <= most)
    return Score(float(is_within), f"{n} {unit}")


def even_out(text: str) -> str:
    """The text in NFKC and lower case, with single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def sentences(text: str) -> list[str]:
    """The sentences of a text, split at end marks that a space or a line break follows; list items are their own."""
    return [part.strip() for part in re.split(r"(?<=[.!?])(?<!\b[A-Za-z]\.)\s+|\n+", text) if part.strip(" \t-*•")]


def _words(text: str) -> list[str]:
    plain = unicodedata.normalize("NFKC", text).lower().translate(PUNCTUATION)
    return ARTICLES.sub(" ", plain).split()
