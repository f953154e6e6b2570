"""Postal addresses in a text, by their shape: a street with a number, a box, a unit, and the lines that follow it.

A street looks like many other things, so a beginning needs two signs (a street word and a number, a cue and a number);
what follows it - unit, town, postal code - needs one. Every repetition is bounded, so the time is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

CAPITAL = "".join(chr(c) for c in range(0x41, 0x530) if chr(c).isupper())  # Latin, Greek, Cyrillic, Armenian
WORD = r"[^\W\d_][\w'’.-]{0,30}+"
NAME = rf"[{CAPITAL}][\w'’.-]{{0,30}}+"
NUMBER = r"\d{1,5}[A-Za-z]?(?!\w)"
# Behind the name: Main Street 5. Before it: Rue de la Gare 5. Grown together with it: Hauptstraße 5.
STREET = (
    r"Street|Str|St|Road|Rd|Avenue|Ave|Av|Lane|Ln|Drive|Dr|Court|Ct|Boulevard|Blvd|Way|Place|Pl|Square|Sq|Terrace|"
    r"Close|Crescent|Cres|Parkway|Pkwy|Highway|Hwy|Circle|Trail|Gardens|Grove|Mews|Row|Walk|Hill|Loop|Alley|Route|"
    r"Squares|Streets|Flats?|Pass|Gateway|Mall|Path"
)
PLAIN_STREET = r"street|str|road|avenue|lane|boulevard|drive|st\."
BEFORE = (
    r"Rue|Via|Viale|Vicolo|Piazza|Corso|Calle|Carrer|Avenida|Avda\.?|Av\.?|Avenue|Rua|Plaza|Paseo|Camino|Travessa|Praça|"
    r"[Uu]l\.?|Ulica|Aleja|Strada|Chemin|Boulevard|Place|Allée|Quai"
)
GROWN = (
    r"stra(?:ß|ss)e|str\.|gasse|weg|platz|allee|damm|ufer|vej|gade|stræde|gatan|vägen|gränd|gata|vegen|veien|veg|katu|"
    r"kuja|tie|polku|utca|straat|laan|plein|kade|braut|vegur|bakken|krogen"
)
APART = r"u\.|utca|út|útja|tér|rkp\.|krt\.|trg|gate|gata|vei|vej|tie|gatan|nám\."
LINK = r"(?:(?:de|du|des|la|le|les|della|del|dei|da|do|dos|das|d'|l')\ ){0,2}"
UNIT = r"(?:apt|apartment|suite|ste|unit|flat|floor|fl|room|rm|apto)\b\.? ?\#?[A-Za-z]?\d{1,5}[A-Za-z]?(?!\w)"
CODE = (
    r"(?:[A-Z]{1,2}-)?\d{4,6}(?:-\d{3,4})?(?![\w-])|\d{2,3}[ -]\d{2,3}(?![\w-])"
    r"|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}(?!\w)|[A-Z]\d[A-Z] ?\d[A-Z]\d(?!\w)"
)
CUE = (
    r"address(?:\sof\s(?:[\w&,'’.-]{1,30}\s){1,6}?is|\sis|:|\sto)?|(?:live|lives|living|lived|located|office\sis|arrived|resides?|staying|stop|off|moved)\s"
    r"(?:on|at|to)|(?:return|sent?|deliver(?:ed)?|ship(?:ped)?|post(?:ed)?|mail(?:ed)?)\s(?:\w{1,12}\s){0,3}to|enter\son|"
    r"side\sof|corner\sof"
)
# A text that holds none of these holds no CUE; looking for words is ten times cheaper than the pattern.
CUE_WORDS = (
    *("address", "liv", "located", "office", "arrived", "resid", "staying", "stop", "off", "moved", "return", "sen"),
    *("deliver", "ship", "post", "mail", "enter", "side", "corner"),
)
NO_STREET = (
    r"(?!(?:in|on|at|the|of|to|for|and|minutes?|hours?|days?|people|from|with|my|your|their|his|her|this|that|down|across|"
    r"more|per|since|until|by|is|are|was|has)\b)"
)

BEGIN = re.compile(
    rf"""(?<![\w.,\#$£€/-])(?:
      (?:P\.?\ ?O\.?\ ?Box|PSC|Postfach|Apartado)\ \d{{1,6}}(?:,?\ Box\ \d{{1,6}})?
    | Unit\ \d{{1,6}},?\ Box\ \d{{1,6}}
    | (?:APO|FPO|DPO),?\ A[AEP]\ \d{{5}}(?:-\d{{4}})?
    | {NUMBER}\ (?:{NAME}\ ){{1,4}}(?:{STREET})\b\.?                                 # 12 Old Mill Road
    | (?i:\d{{1,5}}[a-z]?\ (?:{NO_STREET}{WORD}\ ){{1,3}}(?:{PLAIN_STREET}))(?!\w)    # 12 old mill road
    | {NUMBER},?\ (?:{BEFORE})\ {LINK}(?:{NAME}\ ?){{1,4}}                            # 20 Rue de la Gare
    | (?:{BEFORE})\ {LINK}(?:[\w'’.-]{{1,30}}+\ ){{1,5}}{NUMBER}                       # Via dei Fiori 17
    | [^\W\d_][\w-]{{1,30}}(?:{GROWN})\ {NUMBER}                                      # Hauptstraße 12
    | {WORD}\ (?:{APART})\ {NUMBER}\.?                                                # Király u. 15.
    | (?i:apt|apartment)\b\.?\ ?\#?\d{{1,5}}[A-Za-z]?(?!\w)
    | (?i:suite)\ \#?\d{{3,5}}(?!\w)
    )""",
    re.VERBOSE,
)
BEGIN_OF_LINE = re.compile(rf"(?m)^[ \t>?*-]{{0,8}}(?P<at>\d{{2,5}} (?:{NAME} ){{1,4}}{NUMBER})")
AFTER_CUE = re.compile(
    rf"""(?i:\b(?:{CUE}))\s{{1,4}}(?:(?:on|at|to|the|corner)\s){{0,4}}
    (?P<at>
      (?:\d{{1,6}}[A-Za-z]?,?\ )?(?:{NO_STREET}{WORD}\ ){{1,5}}{NUMBER}\.?
    | \d{{1,6}}[A-Za-z]?,?\ (?:{NAME}\ ?){{2,5}}
    )""",
    re.VERBOSE,
)
STEP = re.compile(rf"(?P<gap>[ \t,\n>?]{{1,10}})(?:(?P<unit>(?i:{UNIT}))|(?P<code>{CODE})|(?P<name>{NAME}))")
NUMBER_BEFORE = re.compile(r"(?<![\w.,#$£€/-])\d{1,6},? $")
CODE_CUE = re.compile(rf"(?i:\b(?:zip|postal|post)\s?code(?:\sis|:)?\s{{1,2}})(?P<at>{CODE})")
STATE_CODE = re.compile(r"(?<=, )[A-Z]{2} \d{5}(?:-\d{4})?(?!\w)")
NOT_A_TOWN = """
thanks thank please best regards phone email e-mail tel telephone website web mobile fax i my it the this that and in on
at we you he she they when where what how can could do is are kind sincerely cheers hi hello dear
"""
ENDS = frozenset(NOT_A_TOWN.split())
STEPS = 12
SAME_LETTERS = str.maketrans({0x130: "i", 0x131: "i", 0x17F: "s", 0x212A: "k"})  # of other scripts, to IGNORECASE


def fold(text: str) -> str:
    """The text in lower case, as a pattern that ignores case sees its Latin letters."""
    return text.lower() if text.isascii() else text.translate(SAME_LETTERS).lower()


def find_addresses(text: str) -> Iterator[tuple[int, int]]:
    """Where postal addresses stand, in order; a part of a longer one is taken up in it."""
    end_of_last = -1
    for start, end in sorted(_beginnings(text)):
        if start >= end_of_last:
            before = NUMBER_BEFORE.search(text, max(end_of_last, start - 8, 0), start)
            end_of_last = _extend(text, end)
            end_of_last -= text[end_of_last - 1] == "."
            yield (before.start() if before else start), end_of_last


def _beginnings(text: str) -> Iterator[tuple[int, int]]:
    for match in BEGIN.finditer(text):
        yield match.start(), match.start() + len(match.group().rstrip(" "))
    folded = fold(text)
    cues = [AFTER_CUE] if any(word in folded for word in CUE_WORDS) else []
    for pattern in [BEGIN_OF_LINE, *cues, *([CODE_CUE] if "code" in folded else [])]:
        for match in pattern.finditer(text):
            yield match.start("at"), match.start("at") + len(match.group("at").rstrip(" "))
    for match in STATE_CODE.finditer(text):
        yield match.span()


def _extend(text: str, end: int) -> int:
    """The end of the address that has its street, box or unit before `end`: units, towns and a postal code follow."""
    best = at = end
    is_open = False  # whether the last word taken may go on: the second word of a town
    for _ in range(STEPS):
        step = STEP.match(text, at)
        if step is None:
            break
        if step["name"] is None:
            best = at = step.end()
            is_open = True
            if step["code"]:
                break
            continue
        word = step["name"].rstrip(".")
        if word.casefold() in ENDS:
            break
        at = step.start("name") + len(word)
        is_open = is_open or "," in step["gap"] or "\n" in step["gap"]
        if is_open:
            best = at
        if at < step.end():  # a full stop
            break
    return best
