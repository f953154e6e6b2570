"""Personal data in text: patterns with checksums, replaced by keyed, typed pseudonyms."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Callable
from typing import NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PURPOSE = b"pii-pseudonym"


class Span(NamedTuple):
    """What was replaced: its type and its place in the input, in characters, end exclusive."""

    type: str
    start: int
    end: int


class Scrubbed(NamedTuple):
    """A text without personal data, and what was replaced."""

    text: str
    replaced: tuple[Span, ...]


def derive_key(secret: str) -> bytes:
    """The key of this purpose, derived from the machine's secret by HKDF (RFC 5869)."""
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=PURPOSE).derive(secret.encode())


def key_id(key: bytes) -> str:
    """A name for a key that says nothing about it."""
    return hashlib.sha256(b"key id\n" + key).hexdigest()[:8]


def scrub_text(text: str, *, key: bytes, scope: str) -> Scrubbed:
    """Replace e-mail addresses, IBANs, card numbers, phone numbers, IP addresses, SSNs and passwords in URLs.

    The same value has the same pseudonym inside a scope (a conversation) and another one elsewhere. Scrubbing a
    scrubbed text changes nothing. Names and postal addresses are not found by patterns.
    """
    spans = find_spans(text)
    parts: list[str] = []
    end = 0
    for span in spans:
        parts += [text[end : span.start], pseudonym(span.type, text[span.start : span.end], key=key, scope=scope)]
        end = span.end
    return Scrubbed("".join([*parts, text[end:]]), spans)


def find_spans(text: str) -> tuple[Span, ...]:
    """Personal data in a text, in order and without overlap; where two overlap the earlier pattern's is taken."""
    taken: list[Span] = []
    for kind, pattern, is_valid in PATTERNS:
        for match in pattern.finditer(text):
            start, end = match.span("it") if "it" in pattern.groupindex else match.span()
            is_free = all(end <= span.start or start >= span.end for span in taken)
            if is_free and is_valid(text[start:end]):
                taken.append(Span(kind, start, end))
    return tuple(sorted(taken, key=lambda span: span.start))


def pseudonym(kind: str, value: str, *, key: bytes, scope: str) -> str:
    """`<EMAIL_1a2b3c>`: typed, keyed, stable inside a scope."""
    message = "\n".join((scope, kind, re.sub(r"[\s-]", "", value).casefold())).encode()
    return f"<{kind}_{hmac.new(key, message, hashlib.sha256).hexdigest()[:6]}>"


def pseudonymous_id(value: str, *, key: bytes) -> str:
    """A user's id as training data knows it: stable over conversations, not to be reversed without the key."""
    return "u_" + hmac.new(key, b"user id\n" + value.encode(), hashlib.sha256).hexdigest()[:16]


def _is_iban(value: str) -> bool:
    """ISO 13616: moved to the end and read as a number, the first four characters make the rest 1 modulo 97."""
    plain = re.sub(r"[\s-]", "", value).upper()
    if not 15 <= len(plain) <= 34:
        return False
    return int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def _is_card(value: str) -> bool:
    """Luhn (ISO/IEC 7812-1)."""
    digits = [int(c) for c in value if c.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    doubled = [d if i % 2 == 0 else (d * 2 - 9 if d > 4 else d * 2) for i, d in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def _is_phone(value: str) -> bool:
    return 7 <= sum(c.isdigit() for c in value) <= 15


def _is_ip(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def _always(_: str) -> bool:
    return True


PATTERNS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("PASSWORD", re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{1,100}:(?P<it>[^\s/@]{1,100})@", re.I), _always),
    ("EMAIL", re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,6}"), _always),
    ("IBAN", re.compile(r"\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){11,30}\b", re.I), _is_iban),
    ("CARD", re.compile(r"(?<![\w-])\d(?:[ -]?\d){12,18}(?![\w-])"), _is_card),
    ("SSN", re.compile(r"(?<![\w-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])"), _always),
    (
        "IP",
        re.compile(r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{1,4})(?![\w:])", re.I),
        _is_ip,
    ),
    (
        "PHONE",
        re.compile(
            r"(?<![\w.,£$€-])(?:\+|00)\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){1,4}(?![\w-])"
        ),
        _is_phone,
    ),
    ("PHONE", re.compile(r"(?<![\w.,£$€-])(?:\(\d{3}\) ?|\d{3}[ .-])?\d{3}[.-]\d{4}(?![\w-])"), _is_phone),
    ("PHONE", re.compile(r"(?<![\w.,£$€-])0\d{2,4}[ -]\d{3,4}[ -]?\d{3,4}(?![\w-])"), _is_phone),
)
