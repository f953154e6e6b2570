"""Scores a file of anyone's answers: a row out for each row in, and a summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ratchet.errors import BadInput
from ratchet.features import Feature, ScorerSpec
from ratchet.records import Rejected, read_jsonl
from ratchet.scorers import BINARY_SCORERS, Item, JudgeServer, Score, parse_item, score_items, summarise
from ratchet.scorers.catalogue import options_of
from ratchet.scorers.corpus import Labelled, PairedScore, bias, calibration_error, confusion, macro_f1
from ratchet.scorers.structure import label_of

Facts = dict[str, Any]
SEED = 0
MOST_LABELS = 50  # a confusion of more is a wall of numbers, and of text where the labels are free


class Line(NamedTuple):
    """One row of the file: the row itself, and what of it can be scored."""

    number: int
    row: Facts
    item: Item | Rejected


@dataclass(frozen=True)
class Scored:
    """`rows`: one per row of the file and scorer, in the file's order; `summary`: by the scorer's metric name."""

    rows: list[Facts]
    summary: dict[str, Facts]


def score_file(
    path: Path,
    specs: Sequence[ScorerSpec],
    feature: Feature | None = None,
    *,
    repo: Path = Path(),
    judge: JudgeServer | None = None,
    on_progress: Callable[[str, int, int], None] = lambda metric, done, total: None,
) -> Scored:
    """Score every row of a JSONL file with every scorer.

    A row that cannot be read is unscored with its reason; it stops nothing.

    Args:
        path: rows {"messages"?, "output", "contexts"?, "expected"?, "variables"?, "id"?, "confidence"?, "pair"?,
            "group"?}.
        specs: the scorers, with different metric names.
        feature: whose schema is meant.
        repo: the clone, for a scorer of the team's own.
        judge: who answers an LLM-judge scorer.
        on_progress: told the metric and how many of how many items it has scored.

    Raises:
        BadInput: the file is missing or has no row, two scorers share a name, or one cannot be used.
    """
    names = [spec.metric for spec in specs]
    if len(set(names)) < len(names):
        raise BadInput(f"two scorers are called {Counter(names).most_common(1)[0][0]}; name one by `:as=`")
    if not path.is_file():
        raise BadInput(f"{path} is no file; give JSONL with a row per answer")
    lines = list(_read(path))
    if not lines:
        raise BadInput(f"{path} has no row")
    items = [line.item for line in lines if isinstance(line.item, Item)]
    by_metric: dict[str, list[Score]] = {}
    for spec in specs:

        def show(done: int, total: int, metric: str = spec.metric) -> None:
            on_progress(metric, done, total)

        scores = iter(score_items(spec, items, feature, repo=repo, judge=judge, on_progress=show))
        by_metric[spec.metric] = [
            Score(None, line.item.reason) if isinstance(line.item, Rejected) else next(scores) for line in lines
        ]
    rows = [_row(line, metric, by_metric[metric][i]) for i, line in enumerate(lines) for metric in names]
    return Scored(rows, {spec.metric: _summary(spec, lines, by_metric[spec.metric], feature) for spec in specs})


def _read(path: Path) -> Iterator[Line]:
    for where, row in read_jsonl(path):
        number = int(where.rpartition(":")[2])
        if isinstance(row, Rejected):
            yield Line(number, {}, row)
        else:
            yield Line(number, row, parse_item(row, where))


def _row(line: Line, metric: str, score: Score) -> Facts:
    named = {"id": line.row["id"]} if isinstance(line.row.get("id"), str | int) else {}
    return {"line": line.number, **named, "scorer": metric, "score": score.score, "reason": score.reason}


def _summary(spec: ScorerSpec, lines: Sequence[Line], scores: Sequence[Score], feature: Feature | None) -> Facts:
    values = [score.score for score in scores]
    is_binary = all(value in (0.0, 1.0) for value in values if value is not None)
    facts: Facts = dict(summarise(values, scorer="exact_match" if is_binary else spec.metric, seed=SEED).as_dict())
    facts["reasons"] = dict(Counter(score.reason for score in scores).most_common(20))
    facts |= _labels(spec, lines, feature) if spec.name == "label_accuracy" else {}
    sure = [(_confidence(line), v) for line, v in zip(lines, values, strict=True)]
    known = [(c, v) for c, v in sure if c is not None and v is not None]
    if known and spec.name in BINARY_SCORERS:
        facts["ece"] = _rounded(calibration_error([c for c, _ in known], [v for _, v in known]))
        facts["ece_n"] = len(known)
    pairs = [_paired(line, v) for line, v in zip(lines, values, strict=True) if "pair" in line.row]
    return facts | ({"bias": bias([p for p in pairs if p is not None], seed=SEED)} if any(pairs) else {})


def _labels(spec: ScorerSpec, lines: Sequence[Line], feature: Feature | None) -> Facts:
    schema = options_of(spec, feature)["schema"]
    labelled = []
    for line in lines:
        wanted = label_of(line.item.expected or "", schema) if isinstance(line.item, Item) else None
        if wanted is not None and isinstance(line.item, Item):
            labelled.append(Labelled(wanted, label_of(line.item.output, schema)))
    known = {row.expected for row in labelled}
    table = {"confusion": confusion(labelled)} if len(known) <= MOST_LABELS else {}
    return {"macro_f1": _rounded(macro_f1(labelled)), "labels": len(known), **table}


def _confidence(line: Line) -> float | None:
    """How sure an answer was, where its row says so."""
    given = line.row.get("confidence")
    if isinstance(given, bool) or not isinstance(given, int | float):
        return None
    return float(given) if 0 <= given <= 1 else None


def _paired(line: Line, score: float | None) -> PairedScore | None:
    pair, group = line.row.get("pair"), line.row.get("group")
    if not isinstance(pair, str) or not isinstance(group, str) or not isinstance(line.item, Item):
        return None
    return PairedScore(pair, group, "\n".join(m.content for m in line.item.messages), score)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
