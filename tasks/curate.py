"""Stage curate: feedback becomes examples; copies, likes of the holdout and too loud voices stay out.

Every row is accounted for: rows = used + set aside, by reason. Of the holdout only what was asked is read, never what
is expected. Command line: python -m tasks.curate
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from ratchet.errors import BadInput, RatchetError
from ratchet.examples import SetAside, bar, resolve
from ratchet.features import Feature, load_feature
from ratchet.feedback import Signal, claims_of, find_rephrased
from ratchet.files import write_json
from ratchet.params import CurateParams, Params, load_params
from ratchet.process import die_with_parent
from ratchet.questions import normalise, question_text
from ratchet.records import Feedback
from tasks.balance import Row, balance, split
from tasks.clusters import components, near_pairs
from tasks.holdout_questions import read_cut, read_questions
from tasks.snapshot import sortable
from tasks.tables import read_table, write_table

COLUMNS = {
    "example_id": "str",
    "interaction_id": "str",
    "user_id": "str",
    "session_id": "str",
    "messages": "str",
    "variables": "str",
    "contexts": "str",
    "target": "str",
    "label": "str",
    "origin": "str",
    "weight": "float",
    "feedback_at": "str",
    "cluster": "str",
}
AFTER_CUT = "after the holdout's cut"
IN_HOLDOUT = "in holdout"
NEAR_DUPLICATE = "near-duplicate"
CONFLICT = "near-duplicates disagree"


def curate(params: Params, repo: Path) -> dict[str, Any]:
    """Run the stage in the current folder; return what was written to metrics/curate.json.

    Raises:
        BadInput: validate's output or the holdout is missing.
    """
    path = params.outputs / "valid.parquet"
    if not path.is_file():
        raise BadInput(f"{path} is missing: run the stage validate first (`dvc repro validate`)")
    rows, own, held = read_table(path), params.curate, params.inputs / "holdout"
    aside: Counter[str] = Counter()
    examples = to_examples(rows, load_feature(repo, params.feature), aside)
    examples = before_cut(examples, read_cut(held), aside)
    examples = decontaminate(examples, read_questions(held, params.feature), own, aside)
    examples = one_per_cluster(examples, own, aside)
    parts = split(examples, validation_share=own.validation_share, seed=own.seed)
    used: list[Row] = []
    for name, part in (("train", parts.train), ("validation", parts.validation)):
        kept = balance(part, rehearsal_share=own.rehearsal_share, user_share=own.max_user_share, seed=own.seed)
        aside += kept.aside
        used += [{**row, "split": name} for row in kept.rows]
        write_table(params.outputs / "curated" / f"{name}.parquet", COLUMNS, kept.rows)
    if len(rows) != len(used) + aside.total():
        raise AssertionError(f"{len(rows)} rows, {len(used)} used, {aside.total()} set aside: the count is wrong")
    metrics = metrics_of(len(rows), used, aside)
    write_json(params.outputs / "metrics" / "curate.json", metrics)
    return metrics


def metrics_of(n_rows: int, used: Sequence[Row], aside: Counter[str]) -> dict[str, Any]:
    """Counts only: rows = used + set_aside, used = train + validation."""

    def count(column: str) -> dict[str, int]:
        return dict(sorted(Counter(row[column] for row in used if row[column] is not None).items()))

    return {
        "rows": n_rows,
        "used": len(used),
        "set_aside": aside.total(),
        "train": sum(row["split"] == "train" for row in used),
        "validation": sum(row["split"] == "validation" for row in used),
        "reasons": dict(sorted((+aside).items())),
        "origins": count("origin"),
        "labels": count("label"),
    }


def to_examples(rows: Sequence[Row], feature: Feature, aside: Counter[str]) -> list[Row]:
    """Resolve the feedback on each answer; what gives no example is counted by reason."""
    rephrased = find_rephrased(rows)
    examples = []
    for row in rows:
        feedbacks = [Feedback.model_validate(said) for said in json.loads(row["feedback"])]
        asked_again = rephrased.get(row["interaction_id"])
        signals = [Signal("rephrase", asked_again, 1.0)] if asked_again else []
        found = bar(row, feedbacks, signals) or resolve(row, claims_of(row, feedbacks, feature, signals), feature)
        if isinstance(found, SetAside):
            aside[found.reason] += 1
        else:
            examples.append({**asdict(found), "feedback_at": sortable(found.feedback_at)})
    return examples


def before_cut(examples: list[Row], cut: datetime | None, aside: Counter[str]) -> list[Row]:
    """What is learned was said before the holdout was labelled."""
    kept = [row for row in examples if cut is None or datetime.fromisoformat(row["feedback_at"]) < cut]
    aside[AFTER_CUT] += len(examples) - len(kept)
    return kept


def decontaminate(examples: list[Row], held: Sequence[str], params: CurateParams, aside: Counter[str]) -> list[Row]:
    """Leave out what the holdout or the showcase asks, in the same or nearly the same words."""
    texts = [normalise(text) for text in [*held, *(_question(row) for row in examples)]]
    pairs = near_pairs(texts, jaccard=params.near_duplicate_jaccard, seed=params.seed)
    like_held = {texts[j] for i, j in pairs if i < len(held) <= j}
    kept = [row for row, text in zip(examples, texts[len(held) :], strict=True) if text not in like_held]
    aside[IN_HOLDOUT] += len(examples) - len(kept)
    return kept


def one_per_cluster(examples: list[Row], params: CurateParams, aside: Counter[str]) -> list[Row]:
    """Of near-duplicates one example per target, the heaviest.

    Near-duplicates with two labels cannot both be right: the heavier source is believed, and of equals none.
    """
    ordered = sorted(examples, key=lambda row: (-row["weight"], row["example_id"]))
    texts = [normalise(_question(row)) for row in ordered]
    pairs = near_pairs(texts, jaccard=params.near_duplicate_jaccard, seed=params.seed)
    clusters: dict[int, list[Row]] = defaultdict(list)
    for row, root in zip(ordered, components(len(ordered), pairs), strict=True):
        clusters[root].append(row)
    kept: list[Row] = []
    for members in clusters.values():
        heaviest = [row for row in members if row["weight"] == members[0]["weight"]]
        believed = members
        if members[0]["label"] is not None:
            believed = heaviest if len({row["target"] for row in heaviest}) == 1 else []
        name = "cl_" + min(row["example_id"] for row in members).removeprefix("ex_")
        best = {row["target"]: row for row in reversed(believed)}  # the heaviest of each target comes last
        kept += [{**row, "cluster": name} for row in best.values()]
        outvoted = sum(row["target"] not in best for row in members)
        aside[CONFLICT] += outvoted
        aside[NEAR_DUPLICATE] += len(members) - outvoted - len(best)
    return kept


def main() -> int:
    """Run the stage; a bad input is one line on standard error and its exit code."""
    began = time.monotonic()
    try:
        die_with_parent()
        params = load_params()
        metrics = curate(params, Path())
    except RatchetError as error:
        print(f"curate: {error}", file=sys.stderr)
        return error.exit_code
    write_json(params.outputs / "timings" / "curate.json", {"seconds": round(time.monotonic() - began, 3)})
    told = f"{metrics['train']} to train on, {metrics['validation']} to validate on, {metrics['set_aside']} set aside"
    print(f"curate: {told}", file=sys.stderr)
    return 0


def _question(row: Row) -> str:
    return question_text(json.loads(row["messages"]), json.loads(row["variables"]))


if __name__ == "__main__":
    sys.exit(main())
