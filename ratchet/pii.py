"""Personal data in texts, found by patterns and replaced by keyed pseudonyms such as `<EMAIL_1f3a>`.

Patterns only: e-mail, phone, IBAN, card number, IP address, credentials in a URL, social security number. Names and
postal addresses have no pattern and stay.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

RULES = 1  # raise it when a pattern changes: harvest then writes every partition anew
PURPOSE = b"ratchet/pii-pseudonym"
PLACEHOLDER = re.compile(r"<(EMAIL|PHONE|IBAN|CARD|IP|SSN|CREDENTIALS)_[0-9a-f]{4}>")
SMALLEST_NUMBER = 10**8  # a shorter JSON number is no phone, card or account

Pieces = list[tuple[int, str]]
Finder = Callable[[str], Iterator[tuple[int, int]]]


class Span(NamedTuple):
    """Where personal data stands: `text[start:end]`."""

    type: str
    start: int
    end: int


class Scrubbed(NamedTuple):
    """A text without personal data, and what was replaced (places in the original text)."""

    text: str
    replaced: list[Span]


def scrub_text(text: str, *, key: bytes, scope: str) -> Scrubbed:
    """Replace personal data by pseudonyms; scrubbing the result again changes nothing.

    Args:
        text: what a person may have written.
        key: the secret that pseudonyms are derived from; without it they cannot be guessed from candidates.
        scope: where a pseudonym stays the same (a conversation); elsewhere the same datum gets another one.
    """
    return _replace(text, lambda span: f"<{span.type}_{_mark(text, span, key, scope)}>")


def mask_text(text: str) -> str:
    """The text with the kind alone for each datum or pseudonym, so that texts of two scopes can be compared."""
    return PLACEHOLDER.sub(r"<\1>", _replace(text, lambda span: f"<{span.type}>").text)


def scrub_value(value: Any, *, key: bytes, scope: str) -> Any:
    """Scrub every text, long number and key inside a JSON value."""
    if isinstance(value, str):
        return scrub_text(value, key=key, scope=scope).text
    if isinstance(value, dict):
        scrubbed = {k: scrub_value(v, key=key, scope=scope) for k, v in value.items()}
        return {scrub_text(str(k), key=key, scope=scope).text: v for k, v in scrubbed.items()}
    if isinstance(value, (list, tuple)):
        return [scrub_value(v, key=key, scope=scope) for v in value]
    if _is_long_number(value):
        found = scrub_text(str(value), key=key, scope=scope)
        return found.text if found.replaced else value
    return value


def holds_pii(value: Any) -> bool:
    """Whether any text, long number or key inside a JSON value holds personal data."""
    if isinstance(value, str):
        return bool(find_pii(value))
    if isinstance(value, dict):
        return any(holds_pii(str(k)) or holds_pii(v) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return any(holds_pii(v) for v in value)
    return _is_long_number(value) and bool(find_pii(str(value)))


def pseudonym(value: str, *, key: bytes, kind: str) -> str:
    """A person's, agent's or session's id as `<kind>_` and 16 hex digits: the same wherever the id stands."""
    return f"{kind}_{_digest(key, 'id', kind, value)[:16]}"


def key_id(key: bytes) -> str:
    """Eight hex digits that tell keys apart and say nothing about them."""
    return hashlib.sha256(b"key-id" + _derive(key)).hexdigest()[:8]


def find_pii(text: str) -> list[Span]:
    """Where personal data stands, in order, without overlap; pseudonyms are none."""
    found: list[Span] = []
    pieces = _outside_pseudonyms(text)
    while True:  # what is taken out makes new edges: look until nothing is found, or a second scrub would find more
        before = len(found)
        for kind, finder in FINDERS:
            pieces = _take_out(kind, finder, pieces, found)
        if len(found) == before:
            return sorted(found, key=lambda span: span.start)


def _replace(text: str, replacement: Callable[[Span], str]) -> Scrubbed:
    found = find_pii(text)
    parts: list[str] = []
    cursor = 0
    for span in found:
        parts += [text[cursor : span.start], replacement(span)]
        cursor = span.end
    return Scrubbed("".join([*parts, text[cursor:]]), found)


def _mark(text: str, span: Span, key: bytes, scope: str) -> str:
    """Four hex digits; the same for one datum written with other spaces, dashes or case."""
    written = text[span.start : span.end].casefold()
    datum = written if span.type in ("EMAIL", "IP", "CREDENTIALS") else "".join(c for c in written if c.isalnum())
    return _digest(key, scope, span.type, datum)[:4]


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


def _take_out(kind: str, finder: Finder, pieces: Pieces, found: list[Span]) -> Pieces:
    rest: Pieces = []
    for offset, piece in pieces:
        cursor = 0
        for start, end in finder(piece) if piece else ():
            if start < cursor:
                continue
            found.append(Span(kind, offset + start, offset + end))
            rest.append((offset + cursor, piece[cursor:start]))
            cursor = end
        rest.append((offset + cursor, piece[cursor:]))
    return rest


# Every repetition below has a bound, so that the time is linear in the text whatever is in it.
CREDENTIALS = re.compile(r"(?<=://)[^\s/@:]{1,200}:[^\s/@]{1,200}(?=@)")
EMAIL = re.compile(r"[\w.+%'-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
IBAN = re.compile(r"(?<![A-Za-z0-9_])(?=([A-Za-z]{2}\d{2}(?: ?[A-Za-z0-9]){11,30}))")
# Not inside a word: one in a few hundred hex ids has thirteen digits in a row that pass the checksum.
CARD = re.compile(r"(?<!\w)(?=([2-6](?:[ .-]?\d){12,18})(?!\w))")
SSN = re.compile(
    r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])|(?<!\w)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D](?!\w)"
)
IPV6 = re.compile(r"(?<![\w:.])(?=[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:)[0-9A-Fa-f:.]{3,45}(?!\w)")
IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)")
PHONE = re.compile(
    r"(?<![\w+.,])(?:\+|00 ?)[1-9](?:[ ./()-]{0,2}\d){6,14}(?!\d)"  # with a country code
    r"|(?<![\w.,+/-])(?!\d{1,2}[./-]\d{1,2}[./-](?:19|20)\d\d(?!\d))\(?0[1-9](?:[ ./()-]{0,2}\d){7,10}(?!\d)"
    r"|(?<![\w.,+/-])(?:1[ .-]?)?\(?[2-9]\d{2}\)?[ .-]{0,2}[2-9]\d{2}[ .-]?\d{4}(?!\w|[.,-]\d)"  # North America
    r"|(?<![\w.,+/-])(?:[6-9]\d{4}[ -]\d{5}|[67]\d{2}[ -]\d{3}[ -]\d{3})(?!\w|[.,-]\d)"  # India; Spain
)


def _matches(pattern: re.Pattern[str]) -> Finder:
    return lambda text: (match.span() for match in pattern.finditer(text))


def _find_ibans(text: str) -> Iterator[tuple[int, int]]:
    for match in IBAN.finditer(text):
        if (length := _longest(match.group(1), 15, _has_iban_checksum)) is not None:
            yield match.start(), match.start() + length


def _find_cards(text: str) -> Iterator[tuple[int, int]]:
    for match in CARD.finditer(text):
        if (length := _longest(match.group(1), 13, _has_luhn_checksum)) is not None:
            yield match.start(), match.start() + length


def _find_ips(text: str) -> Iterator[tuple[int, int]]:
    for pattern in (IPV6, IPV4):
        for match in pattern.finditer(text):
            written = match.group().rstrip(".")
            try:
                address = ipaddress.ip_address(written)
            except ValueError:
                continue
            if address.version == 4 or len(written) > 3:
                yield match.start(), match.start() + len(written)


def _longest(candidate: str, shortest: int, is_valid: Callable[[str], bool]) -> int | None:
    """The length of the longest valid beginning that does not end inside a word or number."""
    for end in range(len(candidate), shortest - 1, -1):
        cuts_through = end < len(candidate) and candidate[end].isalnum()
        if not cuts_through and candidate[end - 1].isalnum():
            compact = "".join(c for c in candidate[:end] if c.isalnum())
            if len(compact) >= shortest and is_valid(compact):
                return end
    return None


def _has_iban_checksum(compact: str) -> bool:
    """ISO 13616: the remainder by 97 of the rearranged number is 1."""
    if not compact.isascii():
        return False
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1


def _has_luhn_checksum(compact: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    digits = [int(c) for c in reversed(compact)]
    return sum(digits[::2]) % 10 == -sum(sum(divmod(2 * d, 10)) for d in digits[1::2]) % 10


FINDERS: tuple[tuple[str, Finder], ...] = (
    ("CREDENTIALS", _matches(CREDENTIALS)),
    ("EMAIL", _matches(EMAIL)),
    ("IBAN", _find_ibans),
    ("CARD", _find_cards),
    ("SSN", _matches(SSN)),
    ("IP", _find_ips),
    ("PHONE", _matches(PHONE)),
)
