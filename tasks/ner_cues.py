"""Names of people by the words around them ("my name is …", "… said", "Dear …,"), where a small model is unsure.

A cue decides; the name itself is words with capitals, or up to two unusual words where the text has no capitals at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ratchet.pii_address import CAPITAL
from tasks.ner_words import GROUPS, ORDINARY

WORD = rf"[{CAPITAL}][\w'’-]{{0,30}}(?:(?<=\b\w)\.)?"  # one letter may have its full stop: Lea D. Holm
PARTICLE = r"(?:(?:van|von|der|den|de|da|di|del|della|dos|ten|ter|la|le|bin|ibn|al|el) ){0,2}"
NAME = rf"(?P<name>{WORD}(?: {PARTICLE}{WORD}){{0,3}})"
SHORT = rf"(?P<name>{WORD}(?: {WORD}){{0,2}})"
TITLE = r"(?:mr|mrs|ms|miss|dr|prof|professor|doctor|madam|sir|aunt|uncle)\b\.? "
OFFICE = (
    r"(?:president|senator|judge|officer|captain|detective|sergeant|lord|lady|coach|actor|"
    r"actress|singer|rapper|author|director|producer|writer|poet|minister|chancellor|agent|nurse|lawyer)"
)
KIN = r"(?:wife|husband|partner|son|daughter|brother|sister|mother|father|mum|mom|dad|boss|friend|colleague|child)"
SPEECH = (
    r"says?|said|asks?|asked|told|tells|writes|wrote|shouted|shouts|explains?|explained|replied|adds|added|called|lives?|"
    r"points out|began|works|paid|sent|wants|needs|had given|arrived"
)
CALLED = (  # words that a name follows, with a capital or without
    r"(?:my|his|her|their|maiden|first|last|full|family|middle|legal) name(?:'s| is| was|:)?|name is|\bname:|"
    r"(?:call|calls) (?:me|him|her)|known as|(?:last|first|full|maiden)? ?name\?|"
    r"(?:partner|wife|husband|son|daughter)'s name|name on the account\?(?: \w{1,10}:)?|my name \w{2,8},?"
)
CAPITALISED = (  # words that a name follows if it has a capital
    rf"\b{TITLE}|\b{OFFICE} |\b(?:my|his|her|our|their) {KIN},? |\b(?:(?:son|daughter|wife|husband|friend) of|"
    r"ask|tell|thank|met|meet|invited?|married|marry|dating|(?:speak|spoke|talk|talked|meeting) (?:to|with)|said|says|"
    r"asked|told|named|starring|tribute to|directed by:?|"
    r"written by|signed by|maybe it's under|under the name(?: of)?|on behalf of|speaking (?:to|with)|this is) {1,6}"
)
BEHIND = re.compile(rf"(?i:\b(?:{CALLED}|{CAPITALISED})\s{{0,3}}(?:{TITLE})?){NAME}")
BEHIND_LOW = re.compile(
    rf"(?i:\b(?:{CALLED}|{TITLE})\s{{0,3}}(?:{TITLE})?)(?<=\s)"
    r"(?P<name>[^\W\d_][\w'’-]{1,30}(?: [^\W\d_][\w'’-]{1,30})?)"
)
AHEAD = re.compile(
    rf"(?<![\w.&'’-]){NAME}(?: (?:{SPEECH})\b|,? who\b|,? whose\b"
    rf"|['’]s (?:{KIN}|killers?|parents|family|address|name|card|account|phone|number|birthday|house|email|"
    r"password|profile|wedding|funeral|lawyer|resume|cv)\b"
    rf"| as (?:an? |the |my )?(?:beneficiary|guardian|co-owner|trustee|user|contact|signatory)\b)"
)
GREETED = re.compile(rf"(?i:\b(?:hi|hello|hey|dear|thanks|thank you|cheers|sorry),?) {SHORT}(?=\s?[,.!?\n]|$)")
ADDRESSED = re.compile(
    rf"(?m)(?:^|(?<=[.!?] )){SHORT}, "
    r"(?i:can|could|would|will|please|i|i'm|i've|do|are|is|what|where|when|how|why|thank)\b"
)
SIGNED = re.compile(
    rf"(?i:regards|sincerely|cheers|thanks|thank you|best|yours),?\s{{0,3}}\n\s{{0,3}}{NAME}(?=\s*$|\s*\n)"
)
FIELD = re.compile(
    r"(?im)^[ \t>*-]{0,6}(?:from|to|cc|attn|attention|contact|customer|client|patient|employee|author|recipient|sender|"
    rf"beneficiary|owner|guest|passenger|applicant|holder|signed)[:,] {{0,3}}(?-i:{NAME})"
)
MYSELF = re.compile(rf"\b(?:I am|I'm|I’m|[Ii]t's|[Tt]his is) (?P<name>{WORD}(?: {WORD}){{1,2}})")
SPEAKER = re.compile(rf"(?m)^{SHORT}: ?[\"“]")
CUES = (BEHIND, AHEAD, GREETED, ADDRESSED, SIGNED, FIELD, MYSELF, SPEAKER)
ADDRESSEE = re.compile(
    rf"(?:^|\n|: )[ \t>?*-]{{0,8}}(?P<name>{WORD}(?: {PARTICLE}{WORD}){{1,3}})[ \t]*\n[\s>?*-]{{0,12}}$"
)
GROUP = re.compile(rf"\b(?:{'|'.join(GROUPS)})s?\b(?!['’-]?\w)")
COMPANY_WORD = (
    r"(?:Inc|LLC|Ltd|Limited|LLP|GmbH|AG|Corp|Corporation|PLC|Plc|Group|Company|Bank|Technologies|Solutions|Holdings|Partners|"
    r"Associates|Investments|Industries|Systems|Labs|Software|Foundation|Institute|University|Consulting|Insurance)\b"
)
ORGANIZATION = re.compile(
    rf"(?<![\w.&'’-])(?:[{CAPITAL}][\w&'’-]{{0,30}},? (?:and |of )?){{1,4}}{COMPANY_WORD}\.?"
    rf"|(?i:\b(?:work(?:s|ed|ing)? (?:for|at)|employed (?:by|at)) )(?P<employer>{WORD}(?: {WORD}){{0,3}})"
)
HAS_CAPITAL = re.compile(rf"[{CAPITAL}]")


def find_by_cues(text: str) -> Iterator[tuple[int, int]]:
    """Where names stand that the words around them tell, in no order; they may overlap."""
    if not HAS_CAPITAL.search(text):
        for match in BEHIND_LOW.finditer(text):
            yield from _without_ordinary(text, *match.span("name"))
        return
    for pattern in CUES:
        for match in pattern.finditer(text):
            yield from _without_ordinary(text, *match.span("name"))


def _without_ordinary(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The name between the everyday words and acronyms at its beginning and the next one, if there is one."""
    first = last = start
    for word in re.finditer(r"\S+", text[start:end]):
        is_acronym = len(word.group()) > 2 and word.group().isupper() and not text.isupper()
        if not is_acronym and not is_ordinary(word.group()):
            first = first if last > start else start + word.start()
            last = start + word.end()
        elif last > start:
            break
    if last > first:
        yield first, last - (2 if text[first:last].endswith(("'s", "’s")) else 0)


def find_addressees(text: str, addresses: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Names on the line above an address, as on an envelope; `addresses` are the places where addresses begin."""
    for start in addresses:
        if match := ADDRESSEE.search(text, max(0, start - 80), start):
            yield from _without_ordinary(text, *match.span("name"))


def find_groups(text: str) -> Iterator[tuple[int, int]]:
    """Where nationalities, religions and parties stand."""
    return (match.span() for match in GROUP.finditer(text))


def find_organizations(text: str) -> Iterator[tuple[int, int]]:
    """Names that end as companies' names do, and where somebody works."""
    return (match.span(match.lastgroup or 0) for match in ORGANIZATION.finditer(text))


def is_ordinary(word: str) -> bool:
    """Whether a word is one of everyday English, whatever its case and its ending by an apostrophe."""
    folded = word.casefold().replace("’", "'").strip(".'")
    return folded in ORDINARY or folded.partition("'")[0] in ORDINARY
