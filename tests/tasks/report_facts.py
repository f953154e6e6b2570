"""What the stages before leave for the report, in small."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ratchet.features import Feature

SUMMARY = {"n": 100, "unscored": 0, "score": 0.8, "low": 0.7, "high": 0.87, "tokens_per_answer": 61.5}
ROLES = ("champion", "anchor", "candidate")


def feature(**changes: Any) -> Feature:
    return Feature.model_validate(
        {"name": "routing", "intent": "route", "owners": ["a"], "scorer": "label_accuracy", **changes}
    )


def gate_facts(**changes: Any) -> dict[str, Any]:
    roles = {role: {"release_id": f"rel_{role}", **SUMMARY} for role in ROLES}
    difference = {"estimate": 0.25, "low": 0.14, "high": 0.36}
    facts = {"feature": "f", "scorer": "label_accuracy", "chosen_arm": "sft", "verdict": "accept", "reasons": ["Good."]}
    numbers = {"items": 100, "n": 100, "p_value": 1e-5, "p_worse": 1.0, "alpha": 0.05, "alpha_spent": 0.025, "looks": 1}
    means = {"paired_means": {"champion": 0.55, "candidate": 0.8}, "objective": "quality", "anchor_margin": 0.02}
    more = {"advisory": False, "sealed": False, "difference": difference, "holdout_digest": "d1", "undecidable": False}
    corrected = {"corrected_difference": {"estimate": 0.23, "low": 0.1, "high": 0.36}}
    return {**facts, **numbers, **more, **means, **corrected, **roles, **changes}


def sealed_facts(**changes: Any) -> dict[str, Any]:
    hidden = ("difference", "paired_means", "p_value", "p_worse", "corrected_difference")
    roles = {role: {"release_id": f"rel_{role}"} for role in ROLES}
    facts = {k: v for k, v in gate_facts(**roles).items() if k not in hidden}
    return facts | {"verdict": "reject", "sealed": True} | changes


def evaluated(**changes: Any) -> dict[str, Any]:
    tokens = {"champion_tokens_per_answer": 50.0, "tokens_per_answer": 60.0}
    sft = {"n": 40, "score": 0.9, "low": 0.0, "high": 1.0, "champion_score": 0.512, **tokens}
    arms = {"sft": sft, "fewshot": {"n": 0, "score": None, "champion_score": None}}
    return {"arms": arms, "chosen_arm": "sft", **changes}


def shown(**changes: Any) -> dict[str, Any]:
    return {"text": "my card", "champion": "a", "candidate": "b", "expected": "b", **changes}


def score_row(number: int, champion: float | None, candidate: float | None, slice_: str | None) -> dict[str, Any]:
    scores = {"champion": champion, "anchor": champion, "candidate": candidate}
    return {"item_id": f"i{number}", "metric": "quality", "slice": slice_, **scores}


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_metrics(folder: Path, name: str, content: Mapping[str, Any]) -> Path:
    path = folder / "metrics" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def write_answers(folder: Path, *, champion: tuple[int, int], candidate: tuple[int, int]) -> None:
    """evaluation/answers.parquet of two items and a failed one, each with as many tokens read and written."""
    (folder / "evaluation").mkdir(parents=True, exist_ok=True)
    rows = [
        {"role": role, "output": output, "input_tokens": tokens[0], "output_tokens": tokens[1]}
        for role, tokens in (("champion", champion), ("candidate", candidate))
        for output in ("x", "y")
    ]
    rows.append({"role": "candidate", "output": None, "input_tokens": 0, "output_tokens": 0})
    pq.write_table(pa.Table.from_pylist(rows), folder / "evaluation" / "answers.parquet")
