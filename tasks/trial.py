"""One trial: the releases that are compared, the questions they are asked, their answers, scores and files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ratchet.errors import BadInput
from ratchet.features import Feature, ScorerSpec
from ratchet.files import write_json, write_whole
from ratchet.judge import PEOPLE, AnswerPair, JudgedAnswer, Label, check_labels, said_by_people
from ratchet.llm import Answer
from ratchet.progress import ProgressLine
from ratchet.records import HoldoutItem, Rejected, read_jsonl
from ratchet.scorers import JudgeServer, summarise
from ratchet.scorers.catalogue import is_judge
from tasks.contenders import Contender, Served, ask, request_of, score_answers, tokens_per_answer
from tasks.regions import Bounds
from tasks.slices import slices_of

Scores = Mapping[str, float | None]
ROLES = ("champion", "anchor", "candidate")
LESS_IS_BETTER = frozenset({"tokens", "latency_ms"})  # other metrics are scores from 0 to 1
JUDGED = "judged_"  # and a judge's metric: the files of answers that people may label
AGAINST_ANCHOR = "_anchor"  # and a judge's scores of anchor and candidate, the anchor in the champion's place
UNLABELLED = dict.fromkeys(PEOPLE)
ANSWER_COLUMNS = {
    "item_id": pa.string(),
    "release_id": pa.string(),
    "role": pa.string(),
    "repeat": pa.int64(),
    "output": pa.string(),
    "input_tokens": pa.int64(),
    "output_tokens": pa.int64(),
    "finish_reason": pa.string(),
    "request": pa.string(),
    "repair_request": pa.string(),  # the second request of an answer that was repaired; tokens and time are of both
}
Given = list[tuple[Answer, ...]]  # an item's answers, one per repeat


@dataclass(frozen=True)
class Trial:
    """What is compared on what; `contenders` by role, a role that shares a release with another is asked once.

    `judge` answers the feature's judges; `labels` are what people said of answers that a judge scored, by its metric;
    `regions` where the candidate lost on validation.
    """

    feature: Feature
    contenders: dict[str, Contender]
    holdout: list[HoldoutItem]
    showcase: list[HoldoutItem]
    seed: int
    repeats: int = 1
    judge: JudgeServer | None = None
    labels: Mapping[str, Mapping[str, Label]] = field(default_factory=dict)
    regions: Mapping[str, Bounds] = field(default_factory=dict)

    def repeats_of(self, contender: Contender) -> int:
        """How often a release is asked each question: once where it answers the same each time (temperature 0)."""
        return self.repeats if contender.release.decoding.temperature > 0 else 1


@dataclass(frozen=True)
class RoleResult:
    """One role's answers and scores, in the order of the holdout; a score is the mean over an item's repeats.

    `metrics` are the scores of the feature's other metrics.
    """

    release_id: str
    answers: Given
    scores: list[float | None]
    metrics: dict[str, list[float | None]]

    @property
    def flat(self) -> list[Answer]:
        """The answers of all items and repeats."""
        return [answer for given in self.answers for answer in given]


def judged_metrics(feature: Feature) -> list[str]:
    """What people label answers for: each judge, and for one that is the feature's quality the anchor's answers too."""
    own = [feature.scorer.metric, feature.scorer.metric + AGAINST_ANCHOR] if is_judge(feature.scorer) else []
    return own + [spec.metric for spec in feature.metrics if is_judge(spec)]


def answer_trial(
    trial: Trial, served: Served, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, Given]:
    """Ask each release the holdout, champion and candidate the showcase too.

    Returns:
        By release id, the answers to each holdout item, then (not for the anchor alone) to each showcase item.
    """
    ids = {role: contender.release.release_id for role, contender in trial.contenders.items()}
    shown = {ids["champion"], ids["candidate"]}
    todo = {ids[role]: trial.contenders[role] for role in ROLES}
    questions = {i: trial.holdout + (trial.showcase if i in shown else []) for i in todo}
    repeats = {release_id: trial.repeats_of(contender) for release_id, contender in todo.items()}
    total, before = sum(len(questions[i]) * repeats[i] for i in todo), 0
    answers: dict[str, Given] = {}
    for i, contender in todo.items():

        def show(done: int, _: int, before: int = before) -> None:
            on_progress(before + done, total)

        flat = ask(contender, questions[i], served, show, repeats=repeats[i])
        answers[i] = [tuple(flat[at : at + repeats[i]]) for at in range(0, len(flat), repeats[i])]
        before += len(flat)
    return answers


def score_trial(trial: Trial, answers: Mapping[str, Given]) -> dict[str, RoleResult]:
    """Score each role's answers to the holdout, by the feature's scorer and by its other metrics.

    Raises:
        BadInput: a scorer broke on too many answers (`tasks.contenders.score_answers`).
    """
    specs = trial.feature.metrics
    ids = {role: trial.contenders[role].release.release_id for role in ROLES}
    given = {release_id: answers[release_id][: len(trial.holdout)] for release_id in ids.values()}
    quality = {release_id: _score(trial, trial.feature.scorer, found) for release_id, found in given.items()}
    more = {i: {spec.metric: _score(trial, spec, found) for spec in specs} for i, found in given.items()}
    return {role: RoleResult(i, given[i], quality[i], more[i]) for role, i in ids.items()}


def _score(trial: Trial, spec: ScorerSpec, given: Given) -> list[float | None]:
    """An item's mean score over its repeats; a judge, whose scores people's labels put right, is given the first."""
    counted = [repeats[:1] if is_judge(spec) else repeats for repeats in given]
    items = [item for item, repeats in zip(trial.holdout, counted, strict=True) for _ in repeats]
    flat = [answer for repeats in counted for answer in repeats]
    told = ProgressLine(f"scorer {spec.metric}") if is_judge(spec) else None
    scores = iter(
        score_answers(
            flat,
            items,
            [item.expected for item in items],
            trial.feature,
            spec=spec,
            judge=trial.judge,
            on_progress=told.show if told else lambda done, total: None,
        )
    )
    return [mean([next(scores) for _ in repeats]) for repeats in counted]


def write_evaluation(
    folder: Path, trial: Trial, results: Mapping[str, RoleResult], answers: Mapping[str, Given]
) -> None:
    """Write answers.parquet, scores.jsonl, summary.json, showcase.jsonl, and what each judge scored.

    What the holdout says stands in this folder alone, which is data: the gate decides what of it may leave.
    """
    write_json(folder / "summary.json", {role: _summary(trial, results[role]) for role in ROLES})
    write_whole(folder / "answers.parquet", _parquet(_answer_rows(trial, results), ANSWER_COLUMNS))
    quality = {role: results[role].scores for role in ROLES}
    tokens = {role: [_tokens(given) for given in results[role].answers] for role in ROLES}
    rows = [
        row | {"slices": slices}
        for row, slices in zip(
            _metric_rows(folder, trial, results, trial.feature.scorer, "quality", quality),
            slices_of(trial.holdout, trial.regions),
            strict=True,
        )
    ]
    if is_judge(trial.feature.scorer) and results["anchor"].release_id != results["champion"].release_id:
        rows += _anchor_rows(folder, trial, results, quality)
    rows += _score_rows(trial, "tokens", tokens)
    for spec in trial.feature.metrics:
        found = {role: results[role].metrics[spec.metric] for role in ROLES}
        rows += _metric_rows(folder, trial, results, spec, spec.metric, found)
    write_whole(folder / "scores.jsonl", _jsonl(rows))
    skipped = len(trial.holdout)
    champion = answers[results["champion"].release_id][skipped:]
    candidate = answers[results["candidate"].release_id][skipped:]
    shown = [
        {"text": item.messages[-1].content, "champion": a.text, "candidate": b.text, "expected": item.expected}
        for item, (a, *_), (b, *_) in zip(trial.showcase, champion, candidate, strict=True)
    ]
    write_whole(folder / "showcase.jsonl", _jsonl(shown))


def _metric_rows(
    folder: Path,
    trial: Trial,
    results: Mapping[str, RoleResult],
    spec: ScorerSpec,
    metric: str,
    scores: Mapping[str, Sequence[float | None]],
) -> list[dict[str, Any]]:
    """A metric's rows; what a judge scored is written for people to label, and what they said stands in the rows."""
    if not is_judge(spec):
        return _score_rows(trial, metric, scores)
    judged = judged_answers(trial.holdout, results, scores)
    lines = [answer.model_dump(mode="json") for pair in judged for answer in pair]
    write_whole(folder / f"{JUDGED}{spec.metric}.jsonl", _jsonl(lines))
    return _score_rows(trial, metric, scores, said_by_people(judged, trial.labels.get(spec.metric, {})))


def _anchor_rows(
    folder: Path, trial: Trial, results: Mapping[str, RoleResult], quality: Mapping[str, Sequence[float | None]]
) -> list[dict[str, Any]]:
    """Of a judge that is the feature's quality: the same for the anchor, which takes the champion's place."""
    turned, scores = {**results, "champion": results["anchor"]}, {**quality, "champion": quality["anchor"]}
    spec = trial.feature.scorer
    named = spec.model_copy(update={"as_": spec.metric + AGAINST_ANCHOR})
    return _metric_rows(folder, trial, turned, named, "quality" + AGAINST_ANCHOR, scores)


def judged_answers(
    holdout: Sequence[HoldoutItem], results: Mapping[str, RoleResult], scores: Mapping[str, Sequence[float | None]]
) -> list[AnswerPair]:
    """Champion's and candidate's answers to the items that a judge scored for both, as `ratchet judge draw` reads."""
    pairs = []
    for i, item in enumerate(holdout):
        asked = {"item_id": item.item_id, "messages": item.messages, "contexts": item.contexts}
        both = [
            JudgedAnswer.model_validate(
                asked | {"role": role, "output": results[role].answers[i][0].text, "judge": score}
            )
            for role in ("champion", "candidate")
            if (score := scores[role][i]) is not None
        ]
        if len(both) == 2:
            pairs.append(AnswerPair(*both))
    return pairs


def write_times(folder: Path, trial: Trial, results: Mapping[str, RoleResult]) -> None:
    """Write each item's time in milliseconds (latencies.jsonl, in the form of scores.jsonl), and answers.parquet again
    with each answer's time in it; no two runs that ask give the same times."""
    times = {role: [_latency_ms(given) for given in results[role].answers] for role in ROLES}
    write_whole(folder / "latencies.jsonl", _jsonl(_score_rows(trial, "latency_ms", times)))
    rows = _answer_rows(trial, results)
    answers = [answer for role in ROLES for answer in results[role].flat]
    timed = [row | {"latency_ms": answer.latency_ms} for row, answer in zip(rows, answers, strict=True)]
    write_whole(folder / "answers.parquet", _parquet(timed, ANSWER_COLUMNS | {"latency_ms": pa.float64()}))


def mean(numbers: Sequence[float | None]) -> float | None:
    """The mean of the numbers that are there; None without any."""
    found = [number for number in numbers if number is not None]
    return sum(found) / len(found) if found else None


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
        check_labels(row, where)
        for role in ROLES:
            row[role] = _parse_score(row[role], where, most=math.inf if row["metric"] in LESS_IS_BETTER else 1.0)
        table.setdefault(str(row["metric"]), []).append(row)
    return table


def _parse_score(value: Any, where: str, most: float) -> float | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most or value == math.inf:
        raise BadInput(f"{where}: a score is a number from 0 to 1 (tokens and times: 0 or more), or null without one")
    return float(value)


def _score_rows(
    trial: Trial,
    metric: str,
    scores: Mapping[str, Sequence[float | None]],
    said: Mapping[str, Mapping[str, float | None]] | None = None,
) -> list[dict[str, Any]]:
    """A row for each item of the holdout; `said` is what people say of a judged item, by its id."""
    return [
        {
            "item_id": item.item_id,
            "metric": metric,
            "slice": trial.feature.label_of(item.expected),
            **({"session": item.session} if item.session else {}),
            **{role: scores[role][i] for role in ROLES},
            **(said.get(item.item_id, UNLABELLED) if said is not None else {}),
        }
        for i, item in enumerate(trial.holdout)
    ]


def _summary(trial: Trial, result: RoleResult) -> dict[str, Any]:
    # A mean over repeats has no Wilson interval, although each of them is 0 or 1.
    name = str(trial.feature.scorer.name) if trial.repeats == 1 else "mean"
    found: dict[str, Any] = summarise(result.scores, scorer=name, seed=trial.seed).as_dict()
    if is_judge(trial.feature.scorer):
        found |= dict.fromkeys(("score", "low", "high"))  # its plain mean is no estimate of anything
    found["tokens_per_answer"] = tokens_per_answer(result.flat)
    return found | {
        "metrics": {
            metric: summarise(scores, scorer="mean", seed=trial.seed).as_dict()
            for metric, scores in result.metrics.items()
        }
    }


def _tokens(given: Sequence[Answer]) -> float | None:
    return mean([None if a.error else float(a.input_tokens + a.output_tokens) for a in given])


def _latency_ms(given: Sequence[Answer]) -> float | None:
    return mean([None if a.error else a.latency_ms for a in given])


def _answer_rows(trial: Trial, results: Mapping[str, RoleResult]) -> list[dict[str, Any]]:
    return [
        {
            "item_id": item.item_id,
            "release_id": results[role].release_id,
            "role": role,
            "repeat": repeat,
            "output": None if answer.error else answer.text,
            "input_tokens": answer.input_tokens,
            "output_tokens": answer.output_tokens,
            "finish_reason": answer.finish_reason,
            "request": request_of(trial.contenders[role].release, item, repeat),
            "repair_request": answer.repair_request,
        }
        for role in ROLES
        for item, given in zip(trial.holdout, results[role].answers, strict=True)
        for repeat, answer in enumerate(given)
    ]


def _parquet(rows: list[dict[str, Any]], columns: Mapping[str, pa.DataType]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(list(columns.items()))), sink)
    return bytes(sink.getvalue().to_pybytes())


def _jsonl(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, sort_keys=True, ensure_ascii=False) + "\n" for row in rows)
