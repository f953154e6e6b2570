"""What an agent made of a suggested reply: sent as it was, edited, or thrown away."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import Literal, NamedTuple

# Of pairs of unrelated answers 99 % share fewer word pairs than this (measured on the help articles and on tau2).
UNRELATED = 0.15
SIGNATURE_LINES = 7
GREETING = re.compile(r"(?:hi|hello|hey|dear|good (?:morning|afternoon|evening))\b[^.!?]{0,60}[,!:.]?", re.I)
CLOSING = re.compile(
    r"(?:--|(?:(?:kind|best|warm|many) )?(?:regards|wishes|thanks)|thank you|sincerely|yours\b.{0,20}|cheers"
    r"|all the best)[,.!]?",
    re.I,
)


class Comparison(NamedTuple):
    """`similarity`: shared pairs of words, 0 to 1; `text`: the reply to learn from, None where there is none."""

    outcome: Literal["accepted", "edited", "unrelated"]
    similarity: float
    text: str | None


def compare_reply(suggested: str, sent: str) -> Comparison:
    """Compare a sent reply with the suggestion.

    Both are compared without a greeting line at the start and without closing words and up to six short lines
    of signature after them, case and white space evened out. The text to learn from is the sent one as it was written,
    but without greeting and signature where the suggestion has neither.
    """
    bare, body = trim_reply(suggested), trim_reply(sent)
    similarity = similarity_of(bare, body)
    if _even_out(bare) == _even_out(body):
        return Comparison("accepted", 1.0, None)
    if similarity < UNRELATED:
        return Comparison("unrelated", similarity, None)
    return Comparison("edited", similarity, body if _even_out(bare) == _even_out(suggested) else sent.strip())


def trim_reply(text: str) -> str:
    """A reply without its greeting line and its signature; the whole of it where nothing else would be left."""
    lines = [line.strip() for line in text.strip().splitlines()]
    first = 1 if lines and GREETING.fullmatch(lines[0]) else 0
    last = len(lines)
    for number in range(max(first + 1, last - SIGNATURE_LINES), last):
        if CLOSING.fullmatch(lines[number]) and all(len(line) <= 80 for line in lines[number:]):
            last = number
            break
    return "\n".join(lines[first:last]).strip() or text.strip()


def similarity_of(one: str, other: str) -> float:
    """The share of pairs of neighbouring words that two texts have in common (Dice's coefficient), 0 to 1."""
    ours, theirs = _word_pairs(one), _word_pairs(other)
    total = sum(ours.values()) + sum(theirs.values())
    return round(2 * sum((ours & theirs).values()) / total, 4) if total else 1.0


def _word_pairs(text: str) -> Counter[tuple[str, ...]]:
    words = re.findall(r"\w+", _even_out(text))
    return Counter(tuple(words[i : i + 2]) for i in range(max(1, len(words) - 1))) if words else Counter()


def _even_out(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
