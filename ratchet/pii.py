"""Personal data in texts, found by patterns and replaced by keyed pseudonyms such as `<EMAIL_1f3a>`.

What each type looks like is in ratchet/pii_patterns.py; names of people need a model and are found in harvest
(tasks/ner.py). A pseudonym is the beginning of an HMAC and no number that counts up (`<PERSON_1>`): numbers would need
a memory of the conversation, and a partition that is written anew, or one day alone, would number people differently.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ratchet.pii_address import fold
from ratchet.pii_patterns import RECOGNISERS, Recogniser

RULES = 2  # raise it when a pattern changes: harvest then writes every partition anew
PURPOSE = b"ratchet/pii-pseudonym"
PATTERNS = ("CREDENTIALS", "EMAIL", "IBAN", "CARD", "SSN", "IP", "ID", "BIRTHDAY", "PHONE", "ADDRESS")
WIDER_PATTERNS = ("URL", "AGE", "DATE")  # found where a feature asks for them: answers need links, dates and ages
NAMES = ("PERSON", "LOCATION", "ORGANIZATION", "NRP")  # a model finds these (DATE too), in harvest only
ENTITIES = (*PATTERNS, *WIDER_PATTERNS, *NAMES)
PLACEHOLDER = re.compile(rf"<({'|'.join(ENTITIES)})_[0-9a-f]{{4}}>")
PASSES = 8  # an ordinary text needs two
SMALLEST_NUMBER = 10**8  # a shorter JSON number is no phone, card or account
DIGIT = re.compile(r"\d")
OWN_ID = re.compile(r"[a-z]{1,8}_[0-9a-f]{16,64}")  # our ids and pseudonyms of ids: no pattern finds a thing in them

Pieces = list[tuple[int, str]]


class Span(NamedTuple):
    """Where personal data stands: `text[start:end]`."""

    type: str
    start: int
    end: int


class Scrubbed(NamedTuple):
    """A text without personal data, and what was replaced (places in the original text)."""

    text: str
    replaced: list[Span]


@dataclass(frozen=True)
class Selection:
    """Which types are looked for, and which data (whole, in any case) stay all the same."""

    entities: frozenset[str] = frozenset(PATTERNS)
    allow: frozenset[str] = frozenset()

    @classmethod
    def of(cls, entities: Iterable[str], allow: Iterable[str] = ()) -> Selection:
        """From the lists of a policy."""
        return cls(frozenset(entities), frozenset(literal.casefold() for literal in allow))


EVERYWHERE = Selection()


def scrub_text(text: str, *, key: bytes, scope: str, selection: Selection = EVERYWHERE) -> Scrubbed:
    """Replace personal data by pseudonyms; scrubbing the result again changes nothing.

    Args:
        text: what a person may have written.
        key: the secret that pseudonyms are derived from; without it they cannot be guessed from candidates.
        scope: where a pseudonym stays the same (a conversation); elsewhere the same datum gets another one.
        selection: what counts as personal data.
    """
    found = find_pii(text, selection)
    return Scrubbed(replace_spans(text, found, key=key, scope=scope), found)


def mask_text(text: str) -> str:
    """The text with the kind alone for each datum or pseudonym, so that texts of two scopes can be compared."""
    return PLACEHOLDER.sub(r"<\1>", _replace(text, find_pii(text), lambda span: f"<{span.type}>"))


def replace_spans(
    text: str,
    spans: Iterable[Span],
    *,
    key: bytes,
    scope: str,
    same_as: Callable[[str], str] | None = None,
) -> str:
    """The text with a pseudonym in the place of each span.

    Args:
        text: the original text.
        spans: places in it, in order, without overlap.
        key: as for `scrub_text`.
        scope: as for `scrub_text`.
        same_as: asked in order, for a person's name in lower case, for the name whose pseudonym it gets
            ("anna" -> "anna kowalska").
    """

    def mark(span: Span) -> str:
        datum = _datum(span.type, text[span.start : span.end])
        if span.type == "PERSON" and same_as:
            datum = same_as(datum)
        return f"<{span.type}_{_digest(key, scope, span.type, datum)[:4]}>"

    return _replace(text, spans, mark)


def rewrite(value: Any, change: Callable[[str], str]) -> Any:
    """The JSON value with every text, key and long number changed; a number that changes becomes a text."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(str(k)): rewrite(v, change) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [rewrite(v, change) for v in value]
    if _is_long_number(value):
        written = str(value)
        changed = change(written)
        return value if changed == written else changed
    return value


def holds_pii(value: Any, selection: Selection = EVERYWHERE) -> bool:
    """Whether any text, long number or key inside a JSON value holds personal data."""
    if isinstance(value, str):
        return bool(find_pii(value, selection))
    if isinstance(value, dict):
        return any(holds_pii(str(k), selection) or holds_pii(v, selection) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return any(holds_pii(v, selection) for v in value)
    return _is_long_number(value) and bool(find_pii(str(value), selection))


def pseudonym(value: str, *, key: bytes, kind: str) -> str:
    """A person's, agent's or session's id as `<kind>_` and 16 hex digits: the same wherever the id stands."""
    return f"{kind}_{_digest(key, 'id', kind, value)[:16]}"


def key_id(key: bytes) -> str:
    """Eight hex digits that tell keys apart and say nothing about them."""
    return hashlib.sha256(b"key-id" + _derive(key)).hexdigest()[:8]


def find_pii(text: str, selection: Selection = EVERYWHERE) -> list[Span]:
    """Where personal data stands, in order, without overlap; pseudonyms are none."""
    if OWN_ID.fullmatch(text):
        return []
    pieces = _outside_pseudonyms(text) if "<" in text else [(0, text)]
    digits = sum(len(DIGIT.findall(piece)) for _, piece in pieces)
    folded = fold(text)
    worth_a_look = [r for r in _recognisers(selection.entities) if r.is_worth(folded, digits)]
    if not worth_a_look:
        return []
    found: list[Span] = []
    for _ in range(
        PASSES
    ):  # what is taken out makes new edges: a second scrub would find more if we did not look again
        n_pieces, n_found = len(pieces), len(found)
        for recogniser in worth_a_look:
            pieces = _take_out(recogniser, pieces, found, selection.allow)
        if len(pieces) == n_pieces:
            return sorted(found, key=lambda span: span.start)
    return _cut_short(text, found, n_found)


@lru_cache(maxsize=64)
def _recognisers(entities: frozenset[str]) -> tuple[Recogniser, ...]:
    return tuple(r for r in RECOGNISERS if r.type in entities)


def _cut_short(text: str, found: list[Span], n_settled: int) -> list[Span]:
    """Data without a gap, over and over: from the first of the last pass on, the rest is taken for one datum."""
    last_pass = found[n_settled:]
    if not last_pass:  # only allowed literals, cut out one by one
        return sorted(found, key=lambda span: span.start)
    first = min(last_pass, key=lambda span: span.start)
    before = [span for span in found if span.end <= first.start]
    return [*sorted(before, key=lambda span: span.start), Span(first.type, first.start, len(text))]


def _replace(text: str, spans: Iterable[Span], replacement: Callable[[Span], str]) -> str:
    parts: list[str] = []
    cursor = 0
    for span in spans:
        parts += [text[cursor : span.start], replacement(span)]
        cursor = span.end
    return "".join([*parts, text[cursor:]])


def _datum(kind: str, written: str) -> str:
    """What is the same for one datum written with other spaces, dashes or case."""
    folded = written.casefold()
    if kind in ("EMAIL", "IP", "CREDENTIALS", "URL"):
        return folded
    if kind in NAMES:
        return " ".join(folded.split())
    return "".join(c for c in folded if c.isalnum())


def _digest(key: bytes, *parts: str) -> str:
    message = b"\0".join(part.encode("utf-8", "surrogatepass") for part in parts)
    return hmac.new(_derive(key), message, hashlib.sha256).hexdigest()


@lru_cache(maxsize=4)
def _derive(key: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=PURPOSE).derive(key)


def _is_long_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) >= SMALLEST_NUMBER


def _outside_pseudonyms(text: str) -> Pieces:
    pieces, cursor = [], 0
    for match in PLACEHOLDER.finditer(text):
        pieces.append((cursor, text[cursor : match.start()]))
        cursor = match.end()
    return [*pieces, (cursor, text[cursor:])]


def _take_out(recogniser: Recogniser, pieces: Pieces, found: list[Span], allow: frozenset[str]) -> Pieces:
    """The pieces without what the recogniser finds in them; what is allowed is cut out too, but is no finding."""
    rest: Pieces = []
    for offset, piece in pieces:
        cursor = 0
        for start, end in recogniser.find(piece) if piece else ():
            if start < cursor:
                continue
            if not allow or piece[start:end].casefold() not in allow:
                found.append(Span(recogniser.type, offset + start, offset + end))
            rest.append((offset + cursor, piece[cursor:start]))
            cursor = end
        rest.append((offset + cursor, piece[cursor:]))
    return rest
