"""Personal data: recall and precision by type and rows per second, against Presidio as it comes, on marked sentences.

python -m benchmarks.bench_pii [--quick] [--json]

Rows of one template are alike: the rules were written on the templates whose digest is even and are judged on the
others (`held_out`); `all` is given too. A marked datum is found (`any`) where a finding of whatever type overlaps it,
and found as what it is (`typed`) where one of its own type does. Precision: the share of findings of a type that
overlap a datum of that type. Presidio has no type for addresses and calls streets LOCATION, so streets, postal codes
and towns count as one type, PLACE, when precision is compared, and LOCATION is right for a street.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.report import Result, arguments, say
from ratchet.features import Privacy
from ratchet.pii import ENTITIES, PATTERNS, find_pii, replace_spans
from tasks.ner import LABELS, MODEL, Detector, find_all, light_imports, load_detector, may_hold_names

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
ROUNDS, QUICK_ROUNDS, QUICK_ROWS = 3, 1, 300
Row = Mapping[str, Any]
Finding = tuple[str, int, int]


class Kind(NamedTuple):
    """A type of the data: what Presidio and we call it; the name of its group for precision; is it PII by default."""

    theirs: frozenset[str]
    ours: frozenset[str]
    group: str
    is_default: bool


def kind(theirs: str, ours: str, group: str, *, is_default: bool) -> Kind:
    """A Kind from words."""
    return Kind(frozenset(theirs.split()), frozenset(ours.split()), group, is_default)


KINDS = {
    "PERSON": kind("PERSON", "PERSON", "PERSON", is_default=True),
    "STREET_ADDRESS": kind("LOCATION", "ADDRESS LOCATION", "PLACE", is_default=True),
    "ZIP_CODE": kind("LOCATION", "ADDRESS LOCATION", "PLACE", is_default=True),
    "PHONE_NUMBER": kind("PHONE_NUMBER", "PHONE", "PHONE", is_default=True),
    "CREDIT_CARD": kind("CREDIT_CARD", "CARD", "CARD", is_default=True),
    "EMAIL_ADDRESS": kind("EMAIL_ADDRESS", "EMAIL", "EMAIL", is_default=True),
    "IBAN_CODE": kind("IBAN_CODE", "IBAN", "IBAN", is_default=True),
    "US_SSN": kind("US_SSN", "SSN", "SSN", is_default=True),
    "IP_ADDRESS": kind("IP_ADDRESS", "IP", "IP", is_default=True),
    "US_DRIVER_LICENSE": kind("US_DRIVER_LICENSE", "ID", "ID", is_default=True),
    "GPE": kind("LOCATION", "LOCATION ADDRESS", "PLACE", is_default=False),
    "ORGANIZATION": kind("ORGANIZATION", "ORGANIZATION", "ORGANIZATION", is_default=False),
    "NRP": kind("NRP", "NRP", "NRP", is_default=False),
    "DATE_TIME": kind("DATE_TIME", "DATE BIRTHDAY", "DATE", is_default=False),
    "AGE": kind("AGE", "AGE", "AGE", is_default=False),
    "DOMAIN_NAME": kind("URL", "URL", "URL", is_default=False),
    "TITLE": kind("PERSON", "PERSON", "TITLE", is_default=False),
}


def main() -> int:
    """Measure and print."""
    options = arguments(__doc__)
    result = Result("bench_pii", options.quick)
    rows = [json.loads(line) for line in (DATA / "pii" / "synth_v2.jsonl").open(encoding="utf-8")]
    rows = rows[:QUICK_ROWS] if result.quick else rows
    texts = [row["text"] for row in rows]
    say("loading Presidio and our detectors")
    analyze, analyze_batch = load_presidio()
    default, everything = load_detector(Privacy()), load_detector(Privacy(entities=ENTITIES))
    contenders: dict[str, Callable[[], Any]] = {
        "presidio_one_at_a_time": lambda: [analyze(text) for text in texts],
        "presidio_batches": lambda: analyze_batch(texts),
        "ours_default_types": lambda: find_all(default, texts),
        "ours_every_type": lambda: find_all(everything, texts),
        "ours_patterns_only": lambda: [find_pii(text) for text in texts],
    }
    speed, outputs = race(contenders, len(texts), QUICK_ROUNDS if result.quick else ROUNDS)
    result.figures["rows"] = len(rows)
    result.figures["rows_per_cpu_second"] = speed
    found = {
        "presidio": outputs["presidio_one_at_a_time"],
        "ours": [[tuple(span) for span in spans] for spans in outputs["ours_every_type"]],
        "ours_default_types": [[tuple(span) for span in spans] for spans in outputs["ours_default_types"]],
    }
    for part in ("held_out", "all"):
        chosen = [i for i, row in enumerate(rows) if part == "all" or not is_for_development(row)]
        result.figures[part] = compare(rows, found, chosen)
    result.figures["gate"] = gate_loss(rows, default)
    result.figures["second_scrub_finds_more_in"] = found_again(texts, default)
    result.figures["banking77"] = on_support_questions(default, result.quick)
    judge(result)
    result.finish(as_json=options.json)
    return 0


def is_for_development(row: Row) -> bool:
    """Whether the rules may have been written with an eye on this row's template."""
    return hashlib.sha256(f"pii {row['template_id']}".encode()).digest()[0] % 2 == 0


def load_presidio() -> tuple[Callable[[str], list[Finding]], Callable[[Sequence[str]], list[Any]]]:
    """Presidio with its default recognisers on the same spaCy model: one text at a time, and in batches of 64."""
    with light_imports():
        import tldextract
        from presidio_analyzer import AnalyzerEngine, BatchAnalyzerEngine
        from presidio_analyzer.nlp_engine import NlpEngineProvider

        tldextract.extract = tldextract.TLDExtract(suffix_list_urls=())  # or it asks the network for a list
        models = [{"lang_code": "en", "model_name": MODEL}]
        nlp = NlpEngineProvider(nlp_configuration={"nlp_engine_name": "spacy", "models": models}).create_engine()
        engine = AnalyzerEngine(nlp_engine=nlp, supported_languages=["en"])
    batches = BatchAnalyzerEngine(engine)
    return (
        lambda text: [(r.entity_type, r.start, r.end) for r in engine.analyze(text, language="en")],
        lambda texts: list(batches.analyze_iterator(texts, language="en", batch_size=64)),
    )


def race(
    contenders: Mapping[str, Callable[[], Any]], n_texts: int, rounds: int
) -> tuple[dict[str, float], dict[str, Any]]:
    """Texts per second of one core (process time: other programs on the machine do not count), median of the rounds."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    outputs: dict[str, Any] = {}
    for number in range(rounds):
        for name, run in contenders.items():
            began = time.process_time()
            outputs[name] = run()
            taken[name].append(time.process_time() - began)
            say(f"round {number + 1}: {name}: {n_texts / taken[name][-1]:.0f} rows/s")
    return {name: round(n_texts / statistics.median(seconds), 1) for name, seconds in taken.items()}, outputs


def compare(rows: Sequence[Row], found: Mapping[str, Sequence[Sequence[Finding]]], chosen: Iterable[int]) -> Any:
    """Recall by type of the data and precision by group, for each contender."""
    chosen = list(chosen)
    recall: dict[str, Any] = {}
    for name, known in KINDS.items():
        spans = [(i, s["start"], s["end"]) for i in chosen for s in rows[i]["spans"] if s["type"] == name]
        if spans:
            recall[name] = {"n": len(spans), "pii_by_default": known.is_default}
            for who, findings in found.items():
                labels = known.theirs if who == "presidio" else known.ours
                over = [{f[0] for f in findings[i] if f[1] < end and start < f[2]} for i, start, end in spans]
                typed = sum(bool(hit & labels) for hit in over) / len(spans)
                masked = sum(bool(hit) for hit in over) / len(spans)
                recall[name][who] = {"typed": round(typed, 3), "any": round(masked, 3)}
    precision: dict[str, Any] = {}
    for group in sorted({known.group for known in KINDS.values()} - {"TITLE"}):
        members = {name: known for name, known in KINDS.items() if known.group == group}
        right = {*members, "TITLE"} if group == "PERSON" else set(members)
        for who, findings in found.items():
            labels = frozenset[str]().union(*(k.theirs if who == "presidio" else k.ours for k in members.values()))
            mine = [(i, f) for i in chosen for f in findings[i] if f[0] in labels]
            hits = [{s["type"] for s in rows[i]["spans"] if s["start"] < f[2] and f[1] < s["end"]} for i, f in mine]
            typed = sum(bool(hit & right) for hit in hits)
            share = round(typed / len(mine), 3) if mine else None
            precision.setdefault(group, {})[who] = {"found": len(mine), "typed": share}
    return {"recall": recall, "precision": precision}


def gate_loss(rows: Sequence[Row], detector: Detector) -> dict[str, Any]:
    """What the model is not asked about: the share of texts, and of the names those that it would have found there."""
    skipped = [row for row in rows if not may_hold_names(row["text"])]
    lost = 0
    for row, doc in zip(skipped, detector.nlp.pipe([row["text"] for row in skipped]), strict=True):
        told = [(e.start_char, e.end_char) for e in doc.ents if LABELS.get(e.label_) == "PERSON"]
        people = [s for s in row["spans"] if s["type"] == "PERSON"]
        lost += sum(any(s["start"] < end and start < s["end"] for start, end in told) for s in people)
    n_people = sum(s["type"] == "PERSON" for row in rows for s in row["spans"])
    return {"skipped_share": round(len(skipped) / len(rows), 3), "names_lost": lost, "names": n_people}


def found_again(texts: Sequence[str], detector: Detector) -> dict[str, Any]:
    """The share of texts in which a second scrub replaces more, by patterns (never, by construction) and with names."""
    shares = {}
    for name, used in (("patterns", Detector(detector.selection)), ("with_names", detector)):
        once = [
            replace_spans(text, spans, key=b"k" * 32, scope="s")
            for text, spans in zip(texts, find_all(used, texts), strict=True)
        ]
        shares[name] = round(sum(map(bool, find_all(used, once))) / len(texts), 4)
    return shares


def on_support_questions(detector: Detector, quick: bool) -> dict[str, Any]:
    """Real questions to a bank without personal data: what is found all the same, and how fast."""
    lines = (DATA / "banking77" / "train.jsonl").open(encoding="utf-8")
    texts = [json.loads(line)["text"] for line in lines][: QUICK_ROWS if quick else None]
    began = time.process_time()
    for text in texts:
        find_pii(text)
    patterns_s = time.process_time() - began
    began = time.process_time()
    found = find_all(detector, texts)
    with_names_s = time.process_time() - began
    return {
        "rows": len(texts),
        "rows_with_a_pattern": sum(any(span.type in PATTERNS for span in spans) for spans in found),
        "rows_with_a_name": sum(any(span.type == "PERSON" for span in spans) for spans in found),
        "share_the_model_reads": round(sum(map(may_hold_names, texts)) / len(texts), 3),
        "rows_per_cpu_second_patterns": round(len(texts) / patterns_s),
        "rows_per_cpu_second_with_names": round(len(texts) / with_names_s),
    }


def judge(result: Result) -> None:
    """The aims: on no type less recall or precision than Presidio, more where it is below 1, three times its speed."""
    speed = result.figures["rows_per_cpu_second"]
    for base in ("one_at_a_time", "batches"):
        ratio = speed["ours_default_types"] / speed[f"presidio_{base}"]
        result.aim(f"times the speed of plain Presidio, {base}", aim=3, got=round(ratio, 2), met=ratio >= 3)
    for part in ("held_out", "all"):
        figures = result.figures[part]
        for what, table in figures.items():
            behind = []
            for name, told in table.items():
                theirs, ours = told["presidio"]["typed"] or 0.0, told["ours"]["typed"]
                if (
                    name == "TITLE" or ours is None
                ):  # a type that Presidio does not give; nothing found and nothing wrong
                    continue
                if ours < theirs or ours == theirs < 1:
                    behind.append(name)
            aim = f"types with less {what} than Presidio, or as little ({part}): {', '.join(behind) or 'none'}"
            result.aim(aim, aim=0, got=len(behind), met=not behind)


if __name__ == "__main__":
    sys.exit(main())
