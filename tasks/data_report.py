"""The report on a batch of data: one self-contained HTML page of numbers (no script, nothing fetched, no user text)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from ratchet.files import read_json, write_whole
from tasks.drift import Lengths, Profile

TEMPLATE = "data_report.html.j2"
MOST_SHOWN = 14  # labels and languages; the rest is one line
WIDTH, HEIGHT = 400, 72  # of a picture, in its own units
HINTS = {
    "no personal data": "Rows with personal data came through harvest: look at privacy in feature.yaml, and harvest "
    "again. The rows are left out until then.",
    "last turn asks": "Conversations end with an answer: the application logs one turn too many.",
    "answer fits schema": "Answers outside the schema: they stay in, as they may have been corrected; many of them say "
    "that the prompt or the model no longer keeps to it.",
    "enough rows": "Collect more traffic first, or lower validate.min_rows in params.yaml.",
    "some feedback": "Nobody said anything about these answers: see that the application sends feedback with its "
    "receipt.",
    "no loud user": "One user is most of the batch: a load test, or a script? Curate caps what one user moves.",
    "volume": "Compare the number of requests with the application's own count: logging may have been cut off, or "
    "doubled.",
    "labels": "The mix of labels moved: add recent messages to the holdout, so that the gate judges today's traffic.",
    "question length": "Questions are empty, too long (params.yaml: validate.max_input_chars), or of other "
    "lengths than before: a new entry form, or a logging fault?",
    "answer length": "Answers are longer or shorter than before: a new release, prompt or model explains it, "
    "or a fault.",
    "language": "The mix of languages moved: see that the holdout has them too.",
    "main language": "The language of the questions changed: traffic of another market, or text that was mangled.",
}


class Segment(NamedTuple):
    """A part of a bar: its name, count, share in percent, and where it lies in picture units."""

    name: str
    n: int
    percent: float
    x: float
    width: float


class Pair(NamedTuple):
    """A value's share before (None: no reference) and now."""

    name: str
    then: float | None
    now: float

    @property
    def longest(self) -> float:
        """The larger of the two."""
        return max(self.now, self.then or 0.0)


class Column(NamedTuple):
    """A bin of a histogram in picture units; `then_y` is the height of the reference's line from the top."""

    name: str
    x: float
    width: float
    y: float
    height: float
    then_y: float | None


def write_data_report(
    outputs: Path, feature: str, metrics: Mapping[str, Any], new: Profile, reference: Profile
) -> None:
    """Write data_report.html. Equal inputs give equal bytes.

    Args:
        outputs: data/<feature>; metrics/snapshot.json in it tells what became of the lines.
        metrics: metrics/validate.json.
        new: the profile of what is new.
        reference: what it is compared with.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["span"] = span
    taken = read_json(outputs / "metrics" / "snapshot.json")
    page = environment.get_template(TEMPLATE).render(
        feature=feature,
        metrics=metrics,
        taken=taken,
        bars=row_bars(taken, metrics),
        new=new,
        reference=reference if reference.rows else None,
        drift={drift["name"]: drift for drift in metrics["drift"]},
        labels=share_pairs(new.labels, reference.labels),
        languages=share_pairs(new.languages, reference.languages),
        lengths={
            "question length": histogram(new.input_chars, reference.input_chars),
            "answer length": histogram(new.output_chars, reference.output_chars),
        },
        quantiles={
            "question length": quantile_pairs(new.input_chars, reference.input_chars),
            "answer length": quantile_pairs(new.output_chars, reference.output_chars),
        },
        steps=next_steps(feature, taken, metrics),
        width=WIDTH,
        height=HEIGHT,
    )
    write_whole(outputs / "data_report.html", page)


def row_bars(taken: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[tuple[str, list[Segment]]]:
    """Where the lines and where the interactions went; the parts of a bar add up to what came in."""
    lines = {"interactions": taken["interactions"], "feedback": taken["feedback"], "rejected": taken["rejected"]}
    rows = {"used": metrics["used"], "quarantined": metrics["quarantined"]}
    return [("lines read", _segments(lines)), ("interactions", _segments(rows))]


def share_pairs(now: Mapping[str, int], then: Mapping[str, int]) -> list[Pair]:
    """The shares of each value, most frequent first; beyond MOST_SHOWN they are one line."""
    total, before = sum(now.values()), sum(then.values())
    if not total:
        return []
    names = sorted({*now, *then}, key=lambda name: (-max(now.get(name, 0) / total, _share(then, name)), name))
    told = [Pair(name, _share(then, name) if before else None, now.get(name, 0) / total) for name in names[:MOST_SHOWN]]
    if rest := names[MOST_SHOWN:]:
        was = sum(_share(then, name) for name in rest) if before else None
        told.append(Pair(f"{len(rest)} others", was, sum(now.get(name, 0) for name in rest) / total))
    return told


def histogram(now: Lengths, then: Lengths) -> list[Column]:
    """One column per bin from the shortest to the longest that either has; empty ones between are kept."""
    total, before = sum(now.bins.values()), sum(then.bins.values())
    edges = sorted({int(edge) for edge in (*now.bins, *then.bins)})
    if not total or not edges:
        return []
    tallest = max(*(_share(now.bins, str(e)) for e in edges), *(_share(then.bins, str(e)) for e in edges))
    width = WIDTH / len(edges)
    columns = []
    for number, edge in enumerate(edges):
        height = HEIGHT * _share(now.bins, str(edge)) / tallest
        then_y = _round(HEIGHT - HEIGHT * _share(then.bins, str(edge)) / tallest) if before else None
        name = f"{edge} and more" if number == len(edges) - 1 else f"{edge} to {edges[number + 1] - 1}"
        columns.append(
            Column(name, _round(number * width), _round(width), _round(HEIGHT - height), _round(height), then_y)
        )
    return columns


def quantile_pairs(now: Lengths, then: Lengths) -> list[tuple[str, float | None, float]]:
    """Each quantile before and now."""
    return [(name[1:], then.quantiles.get(name), value) for name, value in now.quantiles.items()]


def span(days: float) -> str:
    """A length of time in the unit that suits it."""
    if days >= 2:
        return f"{days:.1f} days"
    return f"{24 * days:.1f} hours" if 24 * days >= 2 else f"{24 * 60 * days:.0f} minutes"


def next_steps(feature: str, taken: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    """What a person may do now, the most pressing first; failures that nobody foresaw have their name alone."""
    failed = [check["name"] for check in metrics["checks"] if not check["holds"]]
    failed += [drift["name"] for drift in metrics["drift"] if drift["holds"] is False]
    steps = [HINTS[name] for name in dict.fromkeys(failed) if name in HINTS]
    own = [name for name in dict.fromkeys(failed) if name not in HINTS]
    if own:
        steps.append(f"The contract in features/{feature}/feature.yaml is not met: {', '.join(own)}.")
    if metrics["quarantined"]:
        steps.append(f"data/{feature}/quarantine.jsonl names the rows that are left out, by id and reason.")
    if taken["rejected"]:
        steps.append(f"data/{feature}/rejected.jsonl names the lines that are no records, by place and reason.")
    if metrics["verdict"] == "block":
        steps.append(f"When it is mended, start the run of {feature} again: nothing was learned from this batch.")
    return steps or ["Nothing: go on."]


def _segments(parts: Mapping[str, int]) -> list[Segment]:
    total = sum(parts.values())
    found, x = [], 0.0
    for name, count in parts.items():
        share = count / total if total else 0.0
        found.append(Segment(name, count, 100 * share, _round(x), _round(WIDTH * share)))
        x += WIDTH * share
    return found


def _share(counts: Mapping[str, int], name: str) -> float:
    total = sum(counts.values())
    return counts.get(name, 0) / total if total else 0.0


def _round(value: float) -> float:
    return round(value, 2)
