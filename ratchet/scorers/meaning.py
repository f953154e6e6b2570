"""Scorers of what an answer means: like the expected text, supported by the given passages, rightly cited.

Support is by words and numbers or by sentence vectors: a sentence that says the opposite in the same words passes, and
one that says the same in none of the words may not. An LLM judge (`judge`) reads better, and errs in its own ways.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Literal

from ratchet.scorers.item import Item, Score
from ratchet.scorers.minilm import similarities
from ratchet.scorers.text import NOTHING_EXPECTED, sentences

CITATION = re.compile(r"\[(\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\]")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
STOPWORDS = frozenset(
    re.findall(
        r"\w+",
        """a about after all also am an and any are as at be been before but by can could did do does for from
        had has have he her here hers him his how i if in into is it its itself just like may me
        might more most must my no nor not of on once one only or other our out over please shall
        she should so some such than that the their them then there these they this those to too
        under until up upon us very was we were what when where which while who whom why will with
        would yes you your yours sure thanks thank however therefore""",
    )
)


def semantic_similarity(item: Item) -> Score:
    """The cosine of answer and expected text under all-MiniLM-L6-v2, 0 where it is negative; English."""
    if not (item.expected or "").strip():
        return NOTHING_EXPECTED
    if not item.output.strip():
        return Score(0.0, "the answer is empty")
    cosine = float(similarities(item.output, [str(item.expected)])[0])
    return Score(min(1.0, max(0.0, cosine)), "cosine of sentence vectors")


def groundedness(item: Item, *, threshold: float = 0.6, by: Literal["words", "vectors"] = "words") -> Score:
    """The share of the answer's sentences that the contexts support.

    A sentence is supported where all its numbers stand in the contexts, and of its content words the share `threshold`
    stands in one context, or (by `vectors`) a sentence of the contexts has a cosine of at least `threshold` with it.
    """
    if not item.contexts:
        return Score(None, "no contexts are given")
    claims = [s for s in sentences(CITATION.sub("", item.output)) if _content(s)]
    if not claims:
        return Score(None, "the answer has no sentence to check")
    texts = [context.text for context in item.contexts]
    supported = sum(_is_supported(claim, texts, threshold, by) for claim in claims)
    return Score(supported / len(claims), f"{supported} of {len(claims)} sentences supported")


def citations(item: Item, *, threshold: float = 0.6, every_sentence: bool = True) -> Score:
    """The share of sentences whose citations `[n]` all exist and together support the sentence.

    Context n is the n-th that was given. With `every_sentence` a sentence without a citation is a wrong one; without,
    it is left out.
    """
    if not item.contexts:
        return Score(None, "no contexts are given")
    cited = [(s, _cited(s)) for s in _cited_sentences(item.output)]
    judged = [(s, numbers) for s, numbers in cited if numbers or every_sentence]
    if not judged:
        return Score(None, "the answer has no sentence to check")
    right = sum(_is_cited_rightly(s, numbers, item, threshold) for s, numbers in judged)
    return Score(right / len(judged), f"{right} of {len(judged)} sentences rightly cited")


def _is_supported(claim: str, texts: Sequence[str], threshold: float, by: str) -> bool:
    if not _numbers(claim) <= set().union(*(_numbers(text) for text in texts)):
        return False
    if by == "vectors":
        passages = [s for text in texts for s in sentences(text)]
        return bool(passages) and float(similarities(claim, passages).max()) >= threshold
    words = _content(claim)
    return max(len(words & _content(text)) for text in texts) >= threshold * len(words)


def _is_cited_rightly(sentence: str, numbers: set[int], item: Item, threshold: float) -> bool:
    if not numbers or not all(1 <= n <= len(item.contexts) for n in numbers):
        return False
    together = "\n".join(item.contexts[n - 1].text for n in sorted(numbers))
    return _is_supported(CITATION.sub("", sentence), [together], threshold, "words")


def _cited_sentences(answer: str) -> list[str]:
    """Sentences with something to support; a citation after the full stop belongs to the sentence before."""
    before_stop = re.sub(r"([.!?])\s*((?:\[[\d,; ]+\]\s*)+)", r" \2\1 ", answer)
    return [s for s in sentences(before_stop) if _content(CITATION.sub("", s))]


def _cited(sentence: str) -> set[int]:
    return {int(n) for found in CITATION.findall(sentence) for n in re.split(r"\s*[,;]\s*", found)}


def _content(text: str) -> set[str]:
    """The words that carry meaning, with plural and past endings cut, so that `cards` is `card`."""
    words = WORD.findall(unicodedata.normalize("NFKC", text).casefold().replace("’", "'"))
    return {_stem(word) for word in words if word not in STOPWORDS and len(word) > 1}


def _stem(word: str) -> str:
    for ending in ("ing", "ies", "ed", "es", "s", "'s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word.removesuffix("e") if len(word) > 3 else word


def _numbers(text: str) -> set[str]:
    """Numbers without thousands separators; a comma before one or two last digits is a decimal one."""
    found = NUMBER.findall(text)
    return {re.sub(r",(?=\d{3}(?:\D|$))", "", n).replace(",", ".").rstrip(".") for n in found}
