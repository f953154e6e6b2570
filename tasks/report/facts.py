"""What the report tells beside the verdict: slices, changed answers, what got worse, safety, where the rows went."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ratchet.files import read_json
from ratchet.records import Rejected, read_jsonl
from tasks.compare import MIN_SLICE
from tasks.guards import OBJECTIVES, paired
from tasks.trial import LESS_IS_BETTER
from tasks.wording import p_text, points, visible

ANSWERS = ("champion", "candidate", "expected")
MOST_SHOWN = 20
MOST_HINTS = 5
SAFETY_ALPHA = 0.05
SAFETY = {"attack_success": "attacks that succeed", "over_refusal": "harmless requests refused"}


class SliceRow(NamedTuple):
    """One slice of the holdout: mean scores on the items scored for both, and the interval of their difference.

    `low` and `high` are None where there are too few items to say anything.
    """

    name: str
    n: int
    champion: float
    candidate: float
    low: float | None
    high: float | None

    @property
    def change(self) -> float:
        """Candidate minus champion."""
        return self.candidate - self.champion


class Changed(NamedTuple):
    """Answers of the showcase that changed: those shown, broken ones first, and how many of each kind there are."""

    rows: list[dict[str, str]]
    changed: int
    asked: int
    fixed: int
    broken: int


class Regression(NamedTuple):
    """Something that got worse: `shown` beyond chance, `allowed` as less than the margin, or `a hint`."""

    what: str
    told: str
    sure: Literal["shown", "allowed", "a hint"]


class SafetyRow(NamedTuple):
    """A suite's rate for both releases with intervals; less is better."""

    suite: str
    measures: str
    n: int
    champion: Mapping[str, float]
    candidate: Mapping[str, float]
    p_worse: float | None = None

    @property
    def is_worse(self) -> bool:
        """Whether chance does not explain it: by the suite's own test, or else as the intervals do not even touch."""
        return self.candidate["low"] > self.champion["high"] if self.p_worse is None else self.p_worse <= SAFETY_ALPHA


class Part(NamedTuple):
    """A part of the rows that came in, and how much of them it is in percent."""

    name: str
    rows: int
    percent: float
    kind: str


class Flow(NamedTuple):
    """One stage: the rows that came in, the parts they went to (which add up to them), and the reasons."""

    stage: str
    rows: int
    parts: list[Part]
    reasons: dict[str, int]


def slice_table(rows: Sequence[Mapping[str, Any]]) -> list[SliceRow]:
    """Champion's and candidate's mean score per slice, largest loss first; none where nothing is named."""
    pairs = paired(rows, "champion")
    if pairs.judged is not None:  # labels are too few for a part of the items
        return []
    table = []
    for name in sorted({s for s in pairs.slices if s is not None}):
        part = pairs.of_slice(name)
        interval = part.interval() if len(part.champion) >= MIN_SLICE else None
        ends = (interval.low, interval.high) if interval is not None else (None, None)
        table.append(SliceRow(name, len(part.champion), _mean(part.champion), _mean(part.candidate), *ends))
    return sorted(table, key=lambda row: (row.change, row.name))


def changed_answers(showcase: Path, label_of: Callable[[str], str | None] = lambda output: None) -> Changed:
    """Showcase messages whose answer changed; never an item of the holdout.

    Args:
        label_of: the label that an answer gives, which is shown in its place; None where it gives none.
    """
    rows = [row for _, row in read_jsonl(showcase) if not isinstance(row, Rejected)] if showcase.is_file() else []
    changed = [{**row, "kind": _kind(row)} for row in rows if row["champion"] != row["candidate"]]
    changed.sort(key=lambda row: ("broken", "fixed", "other").index(row["kind"]))
    shown = [
        {"text": _shown(row["text"]), "kind": row["kind"]} | {key: _shown(row[key], label_of) for key in ANSWERS}
        for row in changed[:MOST_SHOWN]
    ]
    kinds = [row["kind"] for row in changed]
    return Changed(shown, len(changed), len(rows), kinds.count("fixed"), kinds.count("broken"))


def safety_rows(path: Path | None, gate: Mapping[str, Any]) -> list[SafetyRow] | None:
    """The rates of a safety.json, of suites in which both releases could be graded.

    None where safety was not measured, or on other releases than the gate's.
    """
    if path is None:
        return None
    found = read_json(path)
    if any(gate[role]["release_id"] != release_id for role, release_id in found.get("releases", {}).items()):
        return None
    rows = []
    for suite in found["suites"]:
        for key, told in SAFETY.items():
            old, new = (suite.get(key, {}).get(role) for role in ("champion", "candidate"))
            if old and new and old["estimate"] is not None and new["estimate"] is not None:
                p_worse = suite.get("p_worse_adjusted")
                rows.append(SafetyRow(str(suite["suite"]), told, int(suite["items"]), old, new, p_worse))
    return rows


def regressions(
    gate: Mapping[str, Any], slices: Sequence[SliceRow], changed: Changed, safety: Sequence[SafetyRow] | None
) -> list[Regression]:
    """What got worse, what chance does not explain first. Of a sealed look nothing but showcase and safety."""
    harmed = {_slice_name(key): p for key, p in (gate.get("harmed_slices") or {}).items()}
    losses = [_slice_loss(row, harmed.get(row.name)) for row in slices if row.change < 0]
    found = [
        Regression(f"slice {name}", f"p = {p_text(p)} after correction over all slices", "shown")
        for name, p in harmed.items()
        if name not in {row.name for row in slices}
    ]
    found += [r for r in losses if r.sure == "shown"] + [r for r in losses if r.sure != "shown"][:MOST_HINTS]
    for name, numbers in {**(gate.get("guards") or {}), **(gate.get("safety") or {})}.items():
        if numbers.get("estimate", 0.0) < 0:
            found.append(_guard_loss(name, numbers, gate["alpha"]))
    for row in safety or ():
        if row.candidate["estimate"] > row.champion["estimate"]:
            rates = [f"{100 * side['estimate']:.1f} %" for side in (row.champion, row.candidate)]
            told = f"{row.measures}: {rates[0]} before, {rates[1]} after"
            found.append(Regression(f"safety, {row.suite}", told, "shown" if row.is_worse else "a hint"))
    if changed.broken:
        told = f"{changed.broken} of {changed.asked} answers were right and are not now ({changed.fixed} the other way)"
        found.append(Regression("showcase", told, "a hint"))
    return sorted(found, key=lambda regression: ("shown", "a hint", "allowed").index(regression.sure))


def rows_by_stage(metrics: Path) -> list[Flow]:
    """Where the rows went, stage by stage: in = used + quarantined + set aside + rejected."""
    found = {
        name: read_json(p) for name in ("snapshot", "validate", "curate") if (p := metrics / f"{name}.json").is_file()
    }
    flows = []
    if taken := found.get("snapshot"):
        parts = {"interactions": taken["interactions"], "feedback": taken["feedback"], "rejected": taken["rejected"]}
        flows.append(_flow("lines read", taken["lines"], parts, taken["reasons"]))
    if checked := found.get("validate"):
        parts = {"used": checked["used"], "quarantined": checked["quarantined"]}
        flows.append(_flow("interactions checked", checked["rows"], parts, checked["by_reason"]))
    if kept := found.get("curate"):
        parts = {"to train on": kept["train"], "to validate on": kept["validation"], "set aside": kept["set_aside"]}
        flows.append(_flow("interactions curated", kept["rows"], parts, kept["reasons"]))
    return flows


def _flow(stage: str, rows: int, parts: Mapping[str, int], reasons: Mapping[str, int]) -> Flow:
    left_out = ("rejected", "quarantined", "set aside")
    shown = [
        Part(
            name, count, 100 * count / rows if rows else 0.0, "out" if name in left_out else "second" if i else "first"
        )
        for i, (name, count) in enumerate(parts.items())
    ]
    return Flow(stage, rows, shown, dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))))


def _slice_name(key: str) -> str:
    """A slice as the table names it; the gate's key is `what was tested / slice`, or `kind of slice / slice`."""
    kind, _, name = key.partition(" / ")
    return name if kind in OBJECTIVES else f"{kind} {name}"


def _slice_loss(row: SliceRow, p_value: float | None) -> Regression:
    told = f"{row.champion:.2f} before, {row.candidate:.2f} after on {row.n} items"
    if p_value is not None:
        told += f"; p = {p_text(p_value)} after correction over all slices"
    return Regression(f"slice {row.name}", told, "a hint" if p_value is None else "shown")


def _guard_loss(name: str, numbers: Mapping[str, Any], alpha: float) -> Regression:
    unit = "%" if name.startswith(tuple(LESS_IS_BETTER)) else "points"
    interval = f"95 % interval {points(numbers['low'])} to {points(numbers['high'])}"
    told = (
        f"{points(numbers['estimate'])} {unit} ({interval}); a loss of {100 * numbers['margin']:g} {unit} is tolerated"
    )
    beyond = numbers.get("p_worse", 1.0) <= alpha
    return Regression(name, told, "shown" if beyond else "allowed" if numbers["high"] < 0 else "a hint")


def _kind(row: Mapping[str, Any]) -> str:
    if row["candidate"] == row["expected"]:
        return "fixed"
    return "broken" if row["champion"] == row["expected"] else "other"


def _shown(text: str | None, label_of: Callable[[str], str | None] = lambda output: None) -> str:
    return visible((label_of(text) or text) if text is not None else "")


def _mean(scores: Sequence[float]) -> float:
    return sum(scores) / len(scores)
