"""The report of one cycle: a self-contained HTML page (no script, nothing fetched), and Markdown for approvers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from ratchet.files import read_json, write_whole
from ratchet.records import Rejected, read_jsonl
from ratchet.runs import Run

TEMPLATE = "report.html.j2"
HEADLINES = {
    "accept": "Better: the candidate may go live",
    "reject": "Worse: the candidate stays out",
    "inconclusive": "Not proven: nothing changes",
}
SEALED_HEADLINE = "Not shown to be better: the candidate stays out"
STAGES = ("snapshot", "validate", "curate")
TEXT_KEYS = ("text", "champion", "candidate", "expected")
MOST_SHOWN = 20
WIDTH = 400  # of a picture, in its own units
MARKDOWN_SIGNS = {c: f"\\{c}" for c in "\\`*_{}[]()#+-.!|~$:@"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


class Bar(NamedTuple):
    """One line of the table of scores; `x` holds low, score and high in picture units."""

    name: str
    split: str
    n: int
    score: float
    low: float
    high: float
    x: tuple[float, float, float]


class SliceRow(NamedTuple):
    """One label of the holdout with both mean scores."""

    name: str
    n: int
    champion: float
    candidate: float


class Changed(NamedTuple):
    """Answers of the showcase that changed: those shown, and how many there are of how many."""

    rows: list[dict[str, str]]
    changed: int
    asked: int


class DifferencePicture(NamedTuple):
    """The interval in picture units; the picture goes from -`reach` to `reach`."""

    low: float
    estimate: float
    high: float
    reach: float


def write_report(
    outputs: Path, gate: Mapping[str, Any], evaluated: Mapping[str, Any], scores: Sequence[Mapping[str, Any]]
) -> None:
    """Write report.html from what the stages before wrote. Equal inputs give equal bytes.

    Args:
        outputs: data/<feature>.
        gate: metrics/gate.json.
        evaluated: metrics/evaluate.json.
        scores: the rows of evaluation/scores.jsonl.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"points": _points, "p": p_text}
    page = environment.get_template(TEMPLATE).render(
        headline=SEALED_HEADLINE if gate["sealed"] and gate["verdict"] == "reject" else HEADLINES[gate["verdict"]],
        gate=gate,
        bars=interval_bars(evaluated, gate),
        validated=next((s for a in evaluated["arms"].values() if (s := a.get("champion_score")) is not None), None),
        picture=difference_picture(gate),
        slices=slice_table(scores),
        changed=changed_answers(outputs / "evaluation" / "showcase.jsonl"),
        stages=rows_by_stage(outputs / "metrics"),
        width=WIDTH,
    )
    write_whole(outputs / "report.html", page)


def interval_bars(evaluated: Mapping[str, Any], gate: Mapping[str, Any]) -> list[Bar]:
    """One bar per arm (validation) and release (holdout); what has no score, or a sealed one, has none."""
    found = [(f"arm {name}", "validation", arm) for name, arm in sorted(evaluated["arms"].items())]
    found += [(role, "holdout", gate[role]) for role in ("anchor", "champion", "candidate")]
    return [_bar(name, split, scored) for name, split, scored in found if scored.get("score") is not None]


def difference_picture(gate: Mapping[str, Any]) -> DifferencePicture | None:
    """Where the difference lies in a picture that is just wide enough; None where nothing was scored."""
    found = gate.get("difference")
    if not found:
        return None
    reach = max(0.1, math.ceil(10 * max(abs(found["low"]), abs(found["high"]))) / 10)
    low, estimate, high = (round((found[k] / reach + 1) * WIDTH / 2, 1) for k in ("low", "estimate", "high"))
    return DifferencePicture(low, estimate, high, reach)


def slice_table(scores: Sequence[Mapping[str, Any]]) -> list[SliceRow]:
    """Champion's and candidate's mean score per label of the holdout, largest loss first; none for free text."""
    slices: dict[str, list[tuple[float, float]]] = {}
    for row in scores:
        if row.get("slice") is not None and row["champion"] is not None and row["candidate"] is not None:
            slices.setdefault(str(row["slice"]), []).append((row["champion"], row["candidate"]))
    table = [
        SliceRow(name, len(pairs), sum(a for a, _ in pairs) / len(pairs), sum(b for _, b in pairs) / len(pairs))
        for name, pairs in slices.items()
    ]
    return sorted(table, key=lambda row: (row.candidate - row.champion, row.name))


def changed_answers(showcase: Path) -> Changed:
    """Showcase messages whose answer changed; never an item of the holdout."""
    rows = [row for _, row in read_jsonl(showcase) if not isinstance(row, Rejected)] if showcase.is_file() else []
    changed = [row for row in rows if row["champion"] != row["candidate"]]
    shown = [
        {key: _visible(str(row[key] if row[key] is not None else "")) for key in TEXT_KEYS}
        for row in changed[:MOST_SHOWN]
    ]
    return Changed(shown, len(changed), len(rows))


def rows_by_stage(metrics: Path) -> list[tuple[str, list[tuple[str, int]]]]:
    """The counts that each stage wrote: rows in = used + quarantined + set aside + rejected, with reasons."""
    found = []
    for stage in STAGES:
        path = metrics / f"{stage}.json"
        if path.is_file():
            found.append((stage, _counts(read_json(path))))
    return found


def approval_markdown(run: Run, gate: Mapping[str, Any]) -> str:
    """What an approver reads in the form: numbers and sentences, no user text; words from outside are escaped."""
    assert run.release_id is not None
    lines = [f"**The last answer was refused: {_markdown(run.refusal)}**", ""] if run.refusal else []
    lines += [f"### {HEADLINES[gate['verdict']]}", "", *(f"- {_markdown(reason)}" for reason in gate["reasons"]), ""]
    lines += ["| release | score | 95 % | items | tokens per answer |", "| --- | --- | --- | --- | --- |"]
    for role in ("champion", "candidate"):
        found = gate[role]
        interval = "unscored" if found["score"] is None else f"{found['low']:.3f} to {found['high']:.3f}"
        score = "-" if found["score"] is None else f"{found['score']:.3f}"
        lines.append(f"| {role} | {score} | {interval} | {found['n']} | {found.get('tokens_per_answer') or '-'} |")
    lines += ["", f"Feature {_markdown(run.feature)}, arm {_markdown(str(gate['chosen_arm']))}"]
    for stage, counts in run.rows.items():
        few = {key: value for key, value in counts.items() if key != "labels"}
        told = ", ".join(f"{_markdown(name)} {count}" for name, count in _counts(few))
        lines.append(f"- {_markdown(stage)}: {told}")
    lines += ["", f"Release digest: `{run.release_id.removeprefix('rel_')}`", ""]
    lines += ["Fill in your name, the digest's first 8 or more characters, your one-time code, and a reason."]
    return "\n".join(lines)


def _bar(name: str, split: str, scored: Mapping[str, Any]) -> Bar:
    score = float(scored["score"])
    low, high = (float(scored[end]) if scored.get(end) is not None else score for end in ("low", "high"))
    low_x, score_x, high_x = (round(value * WIDTH, 1) for value in (low, score, high))
    return Bar(name, split, int(scored["n"]), score, low, high, (low_x, score_x, high_x))


def _counts(document: Mapping[str, Any], prefix: str = "") -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for key, value in document.items():
        name = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(value, int) and not isinstance(value, bool):
            found.append((name, value))
        elif isinstance(value, Mapping):
            found += _counts(value, f"{name}: ")
    return sorted(found)


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"


def p_text(value: float) -> str:
    """A p-value as people read it."""
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}"


def _visible(text: str) -> str:
    """Text without control and direction signs, which could make a page read otherwise than it is written."""
    return "".join(c if c.isprintable() or c in "\n\t" else " " for c in text)


def _markdown(text: str) -> str:
    """Text in which Markdown and HTML find nothing to act on."""
    plain = " ".join(_visible(text).split())
    return "".join(MARKDOWN_SIGNS.get(c, c) for c in plain)
