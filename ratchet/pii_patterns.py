"""Recognisers without a model: what a datum of each type looks like, with its checksum where it has one.

Every repetition has a bound, so that the time is linear in the text whatever is in it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ratchet.pii_address import find_addresses

Finder = Callable[[str], Iterator[tuple[int, int]]]

CREDENTIALS = re.compile(r"(?<=://)[^\s/@:]{1,200}:[^\s/@]{1,200}(?=@)")
EMAIL = re.compile(r"[\w.+%'-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
IBAN = re.compile(r"(?<![A-Za-z0-9_])(?=([A-Za-z]{2}\d{2}(?: ?[A-Za-z0-9]){11,30}))")
# Not inside a word: one in a few hundred hex ids has thirteen digits in a row that pass the checksum.
CARD = re.compile(r"(?<!\w)(?=([2-6](?:[ .-]?\d){11,18}(?!\w)|1800(?:[ .-]?\d){11}(?!\w)))")
SSN = re.compile(
    r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])|(?<!\w)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D](?!\w)"
)
IPV6 = re.compile(r"(?<![\w:.])(?=[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:)[0-9A-Fa-f:.]{3,45}(?!\w)")
IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)")
NO_DATE = r"(?!\d{1,2}[./-]\d{1,2}[./-](?:19|20)\d\d(?!\d))"
PHONE = re.compile(
    r"(?<![\w+.,])(?:\+|00 ?)[1-9](?:[ ./()-]{0,2}\d){6,14}(?!\d)"  # with a country code
    rf"|(?<![\w.,+/-]){NO_DATE}\(?0[1-9](?:[ ./()-]{{0,2}}\d){{7,10}}(?!\d)"
    r"|(?<![\w.,+/-])(?:1[ .-]?)?\(?[2-9]\d{2}\)?[ .-]{0,2}[2-9]\d{2}[ .-]?\d{4}(?!\w|[.,-]\d)"  # North America
    r"|(?<![\w.,+/-])(?:[6-9]\d{4}[ -]\d{5}|[67]\d{2}[ -]\d{3}[ -]\d{3})(?!\w|[.,-]\d)"  # India; Spain
    r"|(?<![\w.,+/-])\(\d{2,4}\)[ -]?\d{3,4}[ -]?\d{3,4}(?!\w|[.,-]\d)"  # an area code in brackets
    r"|(?<![\w.,+/-])\d{2}-\d{2}-\d{2}-\d{2}(?:-\d{2})?(?!\w|[.,-]\d)"  # pairs; three of them may be a sort code
)
PHONE_CUE = re.compile(
    r"(?i:\b(?:phone|telephone|tel|mobile|cell|cellphone|fax|call(?:ing)?|reach|ring|dial|whatsapp|sms|text me|"
    r"answering)\b)"
    r"(?:(?!order|ref|case|ticket|invoice|account|card)[^\d\n]){0,25}\n?"
    rf"(?P<at>{NO_DATE}\(?\d(?:[ .()/-]{{0,2}}\d){{6,12}}(?!\w|[.,-]\d))"
)
ID_CUE = re.compile(
    r"(?i:\b(?:driv(?:er|ing)(?:['’]?s)? licen[cs]e|passport|national id|identity card|id card)\b)[^\d\n]{0,20}?"
    r"(?<!\w)(?P<at>[A-Za-z]{0,3}\d(?:-?[\dA-Za-z]){5,17})(?!\w)"
)
URL = re.compile(
    r"(?i:https?|ftp)://[^\s<>\"')\]]{1,2000}|(?<![\w.@/])(?:www\.[^\s<>\"')\]]{1,500}"
    r"|(?:[A-Za-z0-9-]{1,63}\.){1,4}(?:com|org|net|edu|gov|info|biz|io|co|ai|app|dev|eu|uk|us|de|fr|es|it|nl|be|ch|at|se|no|"
    r"dk|fi|pl|cz|hu|pt|br|uy|gl|is|ie|au|nz|ca|jp|cn|in|za|tn|ru|gr|cy|si|ee)(?:/[^\s<>\"')\]]{0,500})?(?![\w@-]|\.\w))"
)
AGE = re.compile(
    r"(?i:\b(?P<before>\d{1,3})(?=(?:\s|-)?(?:years?|yrs?)[\s-]old\b|\s?(?:y/o|yo)\b)"
    r"|\b(?:aged|age of|age is|age:|my age|just turned|turn(?:ed|ing|s)|when (?:he|she|i|they) (?:was|were)|"
    r"i(?: a|['’])m)\s"
    r"(?P<behind>\d{1,3})(?!\w|[.,/:-]\d|\s?(?:%|minutes?|hours?|days?|weeks?|months?|km|miles?)))"
)
MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?"
BIRTHDAY = re.compile(
    r"(?i:\b(?:born(?: on| in)?|date of birth|birth ?da(?:te|y)|dob)(?: is| was|:)?\s{1,3}(?:the )?"
    rf"(?P<at>\d{{4}}-\d{{2}}-\d{{2}}|\d{{1,2}}[./-]\d{{1,2}}[./-](?:\d{{4}}|\d{{2}})"
    rf"|\d{{1,2}}(?:st|nd|rd|th)?(?: of)? {MONTH},? \d{{4}}|{MONTH} \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}})(?!\w|[/-]\d))"
)
DATE = re.compile(
    r"(?<![\w.,/-])(?:\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2})?(?:\.\d{1,9})?Z?)?"
    r"|\d{1,2}[./-]\d{1,2}[./-](?:\d{4}|\d{2}))(?![\w/-]|\.\d)"
    r"|(?i:\b(?:mon|tues|wednes|thurs|fri|satur|sun)day\b)|(?i:(?<=\bin )(?:19|20)\d\d(?!\w|[.,]\d))"
)


class Recogniser(NamedTuple):
    """A type, what finds it, and what a text must hold for that to be worth a look: so many digits, one of the words.

    Looking for words, in lower case, is ten times cheaper than the pattern.
    """

    type: str
    find: Finder
    digits: int = 0
    words: tuple[str, ...] = ()

    def is_worth(self, folded: str, digits: int) -> bool:
        """Whether a text with so many digits may hold such a datum; `folded` is its lower case."""
        return digits >= self.digits and (not self.words or any(word in folded for word in self.words))


def _matches(pattern: re.Pattern[str]) -> Finder:
    return lambda text: (match.span() for match in pattern.finditer(text))


def _match_groups(pattern: re.Pattern[str]) -> Finder:
    return lambda text: (match.span(match.lastgroup or 0) for match in pattern.finditer(text))


def _find_ibans(text: str) -> Iterator[tuple[int, int]]:
    for match in IBAN.finditer(text):
        if (length := _longest(match.group(1), 15, _has_iban_checksum)) is not None:
            yield match.start(), match.start() + length


def _find_cards(text: str) -> Iterator[tuple[int, int]]:
    for match in CARD.finditer(text):
        if (length := _longest(match.group(1), 12, _is_card)) is not None:
            yield match.start(), match.start() + length


def _find_ips(pattern: re.Pattern[str]) -> Finder:
    def find(text: str) -> Iterator[tuple[int, int]]:
        for match in pattern.finditer(text):
            written = match.group().rstrip(".")
            try:
                address = ipaddress.ip_address(written)
            except ValueError:
                continue
            if address.version == 4 or len(written) > 3:
                yield match.start(), match.start() + len(written)

    return find


def _find_phones(text: str) -> Iterator[tuple[int, int]]:
    found = [match.span() for match in PHONE.finditer(text)]
    yield from sorted(found + [match.span("at") for match in PHONE_CUE.finditer(text)])


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


def _is_card(compact: str) -> bool:
    """The checksum of ISO/IEC 7812-1, annex B; twelve digits are a card of Maestro's numbers (50, 56 to 69) only."""
    if len(compact) == 12 and not (compact.startswith("50") or "56" <= compact[:2] <= "69"):
        return False
    digits = [int(c) for c in reversed(compact)]
    return sum(digits[::2]) % 10 == -sum(sum(divmod(2 * d, 10)) for d in digits[1::2]) % 10


# In this order: what one has found, the next ones do not see.
RECOGNISERS: tuple[Recogniser, ...] = (
    Recogniser("CREDENTIALS", _matches(CREDENTIALS), words=("://",)),
    Recogniser("EMAIL", _matches(EMAIL), words=("@",)),
    Recogniser("IBAN", _find_ibans, digits=2),
    Recogniser("CARD", _find_cards, digits=12),
    Recogniser("SSN", _matches(SSN), digits=6),
    Recogniser("IP", _find_ips(IPV6), words=(":",)),
    Recogniser("IP", _find_ips(IPV4), digits=4, words=(".",)),
    Recogniser(
        "ID", _match_groups(ID_CUE), digits=6, words=("licen", "passport", "national id", "identity", "id card")
    ),
    Recogniser("BIRTHDAY", _match_groups(BIRTHDAY), digits=4, words=("born", "birth", "dob")),
    Recogniser("PHONE", _find_phones, digits=7),
    Recogniser("URL", _matches(URL), words=(".",)),
    Recogniser("ADDRESS", find_addresses, digits=1),
    Recogniser("AGE", _match_groups(AGE), digits=1),
    Recogniser("DATE", _matches(DATE)),
)
