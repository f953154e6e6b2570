"""One trial: the releases that are compared, the questions they are asked, their answers, scores and files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ratchet.errors import BadInput
from ratchet.features import Feature
from ratchet.files import write_json, write_whole
from ratchet.llm import Answer
from ratchet.records import HoldoutItem, Rejected, read_jsonl
from ratchet.scorers import summarise
from tasks.contenders import Contender, Served, ask, score_answers

Scores = Mapping[str, float | None]
ROLES = ("champion", "anchor", "candidate")
TEXTS = ("item_id", "release_id", "role", "output", "finish_reason")
ANSWER_COLUMNS = ("item_id", "release_id", "role", "output", "input_tokens", "output_tokens", "finish_reason")


@dataclass(frozen=True)
class Trial:
    """What is compared on what; `contenders` by role, a role that shares a release with another is asked once."""

    feature: Feature
    contenders: dict[str, Contender]
    holdout: list[HoldoutItem]
    showcase: list[HoldoutItem]
    seed: int


@dataclass(frozen=True)
class RoleResult:
    """One role's answers and scores, in the order of the holdout."""

    release_id: str
    answers: list[Answer]
    scores: list[float | None]


def answer_trial(
    trial: Trial, served: Served, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, list[Answer]]:
    """Ask each release the holdout, champion and candidate the showcase too.

    Returns:
        By release id, one answer per holdout item, then (not for the anchor alone) one per showcase item.
    """
    ids = {role: contender.release.release_id for role, contender in trial.contenders.items()}
    shown = {ids["champion"], ids["candidate"]}
    todo = {ids[role]: trial.contenders[role] for role in ROLES}
    questions = {i: trial.holdout + (trial.showcase if i in shown else []) for i in todo}
    total = sum(len(asked) for asked in questions.values())
    answers: dict[str, list[Answer]] = {}
    for release_id, contender in todo.items():
        before = sum(len(given) for given in answers.values())

        def show(done: int, _: int, before: int = before) -> None:
            on_progress(before + done, total)

        answers[release_id] = ask(contender, questions[release_id], served, show)
    return answers


def score_trial(trial: Trial, answers: Mapping[str, list[Answer]]) -> dict[str, RoleResult]:
    """Score each role's answers to the holdout."""
    expected = [item.expected for item in trial.holdout]
    results = {}
    for role in ROLES:
        release_id = trial.contenders[role].release.release_id
        given = answers[release_id][: len(trial.holdout)]
        results[role] = RoleResult(release_id, given, score_answers(given, expected, trial.feature))
    return results


def write_evaluation(
    folder: Path, trial: Trial, results: Mapping[str, RoleResult], answers: Mapping[str, list[Answer]]
) -> None:
    """Write answers.parquet, scores.jsonl, summary.json and showcase.jsonl.

    What the holdout says stands in this folder alone, which is data: the gate decides what of it may leave.
    """
    scorer = trial.feature.scorer
    summaries = {role: summarise(results[role].scores, scorer=scorer, seed=trial.seed).as_dict() for role in ROLES}
    write_json(folder / "summary.json", summaries)
    write_whole(folder / "answers.parquet", _answers_parquet(trial, results))
    quality = {role: results[role].scores for role in ROLES}
    tokens = {role: [_tokens(answer) for answer in results[role].answers] for role in ROLES}
    write_whole(folder / "scores.jsonl", _score_rows(trial, "quality", quality) + _score_rows(trial, "tokens", tokens))
    skipped = len(trial.holdout)
    champion = answers[results["champion"].release_id][skipped:]
    candidate = answers[results["candidate"].release_id][skipped:]
    shown = [
        {"text": item.messages[-1].content, "champion": a.text, "candidate": b.text, "expected": item.expected}
        for item, a, b in zip(trial.showcase, champion, candidate, strict=True)
    ]
    write_whole(folder / "showcase.jsonl", _jsonl(shown))


def write_latencies(path: Path, trial: Trial, results: Mapping[str, RoleResult]) -> None:
    """Write each answer's time in milliseconds, in the form of scores.jsonl; no two runs give the same."""
    times = {role: [None if a.error else a.latency_ms for a in results[role].answers] for role in ROLES}
    write_whole(path, _score_rows(trial, "latency_ms", times))


def read_scores(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Read evaluation/scores.jsonl. Returns the rows by metric; None is unscored.

    Raises:
        BadInput: a line is malformed, lacks a role, repeats an item, or has a score outside 0 to 1.
    """
    table: dict[str, list[dict[str, Any]]] = {}
    seen = set()
    for where, row in read_jsonl(path) if path.is_file() else ():
        if isinstance(row, Rejected):
            raise BadInput(f"{where}: {row.reason}")
        key = (row.get("metric"), row.get("item_id"))
        if not {"item_id", "metric", *ROLES} <= row.keys() or key in seen:
            raise BadInput(
                f"{where}: lacks item_id, metric or a release's score, or repeats an item; run evaluate again"
            )
        seen.add(key)
        for role in ROLES:
            row[role] = _parse_score(row[role], where, most=1.0 if row["metric"] == "quality" else math.inf)
        table.setdefault(str(row["metric"]), []).append(row)
    return table


def _parse_score(value: Any, where: str, most: float) -> float | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most or value == math.inf:
        raise BadInput(f"{where}: a score is a number from 0 to 1 (tokens and times: 0 or more), or null without one")
    return float(value)


def _score_rows(trial: Trial, metric: str, scores: Mapping[str, Sequence[float | None]]) -> str:
    rows = [
        {
            "item_id": item.item_id,
            "metric": metric,
            "slice": trial.feature.label_of(item.expected),
            **{role: scores[role][i] for role in ROLES},
        }
        for i, item in enumerate(trial.holdout)
    ]
    return _jsonl(rows)


def _tokens(answer: Answer) -> float | None:
    return None if answer.error else float(answer.input_tokens + answer.output_tokens)


def _answers_parquet(trial: Trial, results: Mapping[str, RoleResult]) -> bytes:
    rows = [
        {
            "item_id": item.item_id,
            "release_id": results[role].release_id,
            "role": role,
            "output": None if answer.error else answer.text,
            "input_tokens": answer.input_tokens,
            "output_tokens": answer.output_tokens,
            "finish_reason": answer.finish_reason,
        }
        for role in ROLES
        for item, answer in zip(trial.holdout, results[role].answers, strict=True)
    ]
    columns = [(name, pa.string() if name in TEXTS else pa.int64()) for name in ANSWER_COLUMNS]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(columns)), sink)
    return bytes(sink.getvalue().to_pybytes())


def _jsonl(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, sort_keys=True, ensure_ascii=False) + "\n" for row in rows)
