"""The report: a self-contained HTML page (no script, nothing fetched), and the same as Markdown without user text.

Equal inputs give equal bytes. The stage gate writes both; publish writes them again with what is known by then only.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from ratchet.features import Feature
from ratchet.files import read_json, write_json, write_whole
from ratchet.release import Release
from ratchet.runs import Run
from tasks.log_evidence import LogEvidence
from tasks.report.cost import cost_of
from tasks.report.facts import changed_answers, regressions, rows_by_stage, safety_rows, slice_table
from tasks.report.picture import WIDTH, Interval, Kept, forest, interval_bars, intervals, steps
from tasks.report.verdict import budget, headline, sentences
from tasks.slices import by_kind
from tasks.trial import read_scores
from tasks.wording import markdown, p_text, percent, points

FOLDER = Path(__file__).parent
NOT_IDENTIFIABLE = (
    "Not identifiable before a canary: the candidate's answers were never served, and no logged answer was chosen at"
    " random with a known chance. Where it is known what it would have answered, ratchet evidence tells bounds."
)


class About(NamedTuple):
    """What is known of a run once it is published, and what became of the releases before it.

    `safety` is where `ratchet safety` left its numbers; they are taken where they are of these releases. `log` is what
    the feature's own log says of the candidate, which it does where the candidate was on a canary before.
    """

    run_id: str
    commit: str
    dataset: str
    history: Sequence[Kept] = ()
    safety: Path | None = None
    log: LogEvidence | None = None


def write_report(outputs: Path, feature: Feature, about: About | None = None, to: Path | None = None) -> None:
    """Write report.html, report.md and metrics/intervals.json from what the stages before wrote.

    Args:
        outputs: data/<feature>.
        about: of the run, once it is committed.
        to: the folder that is written to; the default is `outputs`.
    """
    facts = gather(outputs, feature, about)
    folder = to or outputs
    style = (FOLDER / "page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    page = _environment(autoescape=True).get_template("page.html.j2")
    # The style is ours and autoescape would change it; the policy allows this text and no other.
    write_whole(folder / "report.html", page.render(facts, style=Markup(style), style_digest=digest))  # noqa: S704
    write_whole(folder / "report.md", _environment(autoescape=False).get_template("page.md.j2").render(facts))
    write_json(folder / "metrics" / "intervals.json", [_row(i) for i in facts["intervals"]])


def write_card(outputs: Path, feature: Feature, about: About, release: Release, folder: Path) -> str:
    """Write release_card.md: intended use, data, evaluation, risks and limits of a release; returns its text.

    The sections are those of model cards (Mitchell et al., FAT* 2019).
    """
    curated = outputs / "metrics" / "curate.json"
    facts = gather(outputs, feature, about) | {
        "release": release,
        "curated": read_json(curated) if curated.is_file() else None,
    }
    card = _environment(autoescape=False).get_template("card.md.j2").render(facts)
    write_whole(folder / "release_card.md", card)
    return card


def gather(outputs: Path, feature: Feature, about: About | None = None) -> dict[str, Any]:
    """Everything that the templates show. Of a sealed look the holdout's scores and answers are not even read."""
    gate, evaluated = read_json(outputs / "metrics" / "gate.json"), read_json(outputs / "metrics" / "evaluate.json")
    scores = {} if gate["sealed"] else read_scores(outputs / "evaluation" / "scores.jsonl")
    rows = scores.get("quality", [])
    slices = slice_table(rows)
    for kind, of_kind in by_kind(rows).items():
        slices += [row._replace(name=f"{kind} {row.name}") for row in slice_table(of_kind)]
    changed = changed_answers(outputs / "evaluation" / "showcase.jsonl", feature.label_of)
    beside = (outputs / "metrics" / "safety.json", about.safety if about else None)
    safety = safety_rows(next((p for p in beside if p is not None and p.is_file()), None), gate)
    worse = regressions(gate, slices, changed, safety)
    shown = intervals(gate, slices)
    return {
        "gate": gate,
        "feature": feature,
        "headline": headline(gate),
        "sentences": sentences(gate, feature, has_worse=any(r.sure == "shown" for r in worse)),
        "budget": budget(gate),
        "regressions": worse,
        "changed": changed,
        "cost": cost_of(outputs, gate, evaluated, feature.price),
        "bars": interval_bars(evaluated, gate),
        "validated": evaluated["arms"].get(evaluated["chosen_arm"], {}).get("champion_score"),
        "intervals": shown,
        "forest": forest(shown),
        "slices": slices,
        "safety": safety,
        "flows": rows_by_stage(outputs / "metrics"),
        "evidence": log_told(about.log if about else None),
        "about": about,
        "steps": steps(about.history) if about else None,
        "width": WIDTH,
    }


def log_told(found: LogEvidence | None) -> str:
    """What logs say of the candidate before it is served: bounds, an estimate, or why neither can be had."""
    if found is None or found.bounds is None:
        return NOT_IDENTIFIABLE
    low, high, n, differing = found.bounds
    told = f"Of {n} answers that were drawn at random while this release was on a canary, {differing} were another's."
    cases = f"Its gain lies between {points(low)} and {points(high)} points in the worst and best case."
    return f"{told} {cases} {found.told}"


def approval_markdown(run: Run, report: str) -> str:
    """What an approver reads in the form: the report, the digest to type, what is asked; no user text."""
    assert run.release_id is not None
    refused = f"**The last answer was refused: {markdown(run.refusal)}**\n\n" if run.refusal else ""
    so_far = " and ".join(said.approver for said in run.answers)
    approved = f"**Approved by {markdown(so_far)}; another person has to approve too.**\n\n" if so_far else ""
    asked = "Fill in your name, the digest's first 8 or more characters, your one-time code, and a reason."
    return f"{refused}{approved}{report}\nRelease digest: `{run.release_id.removeprefix('rel_')}`\n\n{asked}"


@functools.cache
def _environment(*, autoescape: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=autoescape,  # noqa: S701 - Markdown has an escape of its own, on whatever is put in
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=None if autoescape else _escape,
    )
    environment.filters |= {"points": _safe(points), "p": _safe(p_text), "percent": _safe(percent), "f": _number}
    environment.filters |= {"grouped": _grouped, "f_id": _digest}
    return environment


def _escape(value: Any) -> Any:
    """What comes out of an expression of the Markdown template: numbers as they are, every text without its signs."""
    return markdown(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _safe(told: Any) -> Any:
    """A filter whose text is ours: digits and signs that neither template needs to escape."""
    return lambda value: Markup(told(float(value)))  # noqa: S704


def _number(value: float, form: str) -> Markup:
    return Markup(format(float(value), form))  # noqa: S704


def _grouped(value: float) -> Markup:
    """A count with thousands apart, by a thin space that does not break."""
    return Markup(f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}"))  # noqa: S704


def _digest(value: str) -> Markup:
    """An id of ours for a code span, where no sign can be escaped: letters, digits and `_.-` only."""
    return Markup("".join(c for c in value if c.isalnum() or c in "_.-"))  # noqa: S704


def _row(interval: Interval) -> Mapping[str, Any]:
    rounded = {end: round(getattr(interval, end), 6) for end in ("estimate", "low", "high")}
    return {"what": interval.name, "group": interval.group, "n": interval.n, **rounded}
