"""Stage evaluate: champion, anchor and the chosen candidate answer the same holdout through the same server.

Command line: python -m tasks.evaluate
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ratchet.answers import answer_log, judge_log
from ratchet.base_models import resolve_base_model
from ratchet.errors import BadInput, HoldoutTouched, RatchetError
from ratchet.features import Feature, load_feature
from ratchet.files import canonical_json, read_json, sha256_file, sha256_text, write_json
from ratchet.judge import labels_file, read_labels
from ratchet.llm import model_server
from ratchet.params import Params, load_params
from ratchet.process import die_with_parent
from ratchet.progress import ProgressLine
from ratchet.questions import normalise, question_text
from ratchet.records import Message, read_holdout
from ratchet.scorers import judge_of
from ratchet.scorers.catalogue import is_judge
from ratchet.settings import Settings
from tasks.contenders import (
    Served,
    check_base_model,
    p95_latency_ms,
    read_contender,
    stored_contender,
)
from tasks.guards import OBJECTIVES
from tasks.regions import SCORES, find_regions
from tasks.trial import ROLES, RoleResult, Trial, answer_trial, score_trial, write_evaluation, write_times


def choose_arm(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """The arm whose candidate meets the holdout: the best validation score.

    On a tie the champion's own family, then fewer tokens per answer, then the name. An arm that had nothing to learn
    from comes after every other. An arm that does no better than the champion may be chosen: the gate decides.

    Args:
        reports: report.json of each arm; at least one.

    Raises:
        BadInput: there is no report.
    """
    if not reports:
        raise BadInput("no arm has written a report; params.yaml names the arms")

    def order(arm: str) -> tuple[bool, float, bool, float, str]:
        report = reports[arm]
        score = (report.get("validation") or {}).get("score")
        tokens = report.get("tokens_per_answer")
        return (
            bool(report.get("skipped")),
            -score if score is not None else 1.0,
            report.get("champion_family") != arm,
            tokens if tokens is not None else float("inf"),
            arm,
        )

    return min(reports, key=order)


def metrics_of(
    trial: Trial, results: Mapping[str, RoleResult], reports: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """The stage's metrics: numbers and ids only, and no score of the holdout (`tasks.trial.write_evaluation`)."""
    metrics: dict[str, Any] = {
        "feature": trial.feature.name,
        "scorer": trial.feature.scorer.metric,
        "chosen_arm": choose_arm(reports),
        "arms": {arm: _arm_metrics(report) for arm, report in reports.items()},
        "candidate_equals_champion": results["candidate"].release_id == results["champion"].release_id,
    }
    for role, result in results.items():
        metrics[role] = {
            "release_id": result.release_id,
            "unscored": sum(score is None for score in result.scores),
        }
    return metrics


def counts_latency(feature: Feature) -> bool:
    """Whether the gate weighs times: then all are asked anew, as times of different days cannot be compared."""
    return "latency_ms" in {*feature.gate.margins, OBJECTIVES[feature.gate.objective]}


def holdout_digest(folder: Path) -> str:
    """The digest of the holdout's items; the showcase beside it may change without a new holdout."""
    return sha256_text(canonical_json({"holdout.jsonl": sha256_file(folder / "holdout.jsonl")}))


def evaluate(params: Params, settings: Settings) -> dict[str, Any]:
    """Run the stage in the current folder, the root of a worktree; return the metrics that were written.

    Raises:
        BadInput: the holdout is missing or empty, or an arm's report is.
        HoldoutTouched: a release was shown an item of the holdout.
    """
    began = time.monotonic()
    reports = _read_reports(params)
    trial = _read_trial(params, settings, choose_arm(reports))
    refuse_shown_items(trial)
    model = resolve_base_model(params.base_model, settings)
    check_base_model(trial.contenders["champion"], model, params.inputs / "champion.json")
    if trial.repeats > 1:
        _tell_who_is_asked_once(trial)
    line = ProgressLine("champion, anchor and candidate on the holdout")
    with model_server(settings, params.base_model, model.path) as url:
        log = answer_log(settings, recalls=not counts_latency(trial.feature))
        served = Served(url, settings.modelserver_key, params.evaluate.concurrency, log)
        answers = answer_trial(trial, served, line.show)
    results = score_trial(trial, answers)
    metrics = metrics_of(trial, results, reports) | {"holdout_digest": holdout_digest(params.inputs / "holdout")}
    write_evaluation(params.outputs / "evaluation", trial, results, answers)
    write_json(params.outputs / "metrics" / "evaluate.json", metrics)
    write_times(params.outputs / "timings", trial, results)
    is_sealed = counts_latency(trial.feature)  # then times are scores of the holdout
    latencies = {} if is_sealed else {role: p95_latency_ms(result.flat) for role, result in results.items()}
    timings = {"seconds": round(time.monotonic() - began, 3), "p95_latency_ms": latencies}
    write_json(params.outputs / "timings" / "evaluate.json", timings)
    return metrics


def main() -> int:
    """Run the stage; a bad input is one line on standard error and its exit code."""
    try:
        die_with_parent()
        metrics = evaluate(load_params(), Settings.from_env())
    except RatchetError as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return error.exit_code
    unscored = ", ".join(f"{role} {metrics[role]['unscored']}" for role in ROLES)
    print(f"evaluate: arm {metrics['chosen_arm']}; unscored items: {unscored}", file=sys.stderr)
    return 0


def refuse_shown_items(trial: Trial) -> None:
    """Refuse a holdout of which a release holds items as demonstrations: it would be asked what it was told.

    Curate keeps training examples and demonstrations away from the holdout that it knows; a holdout that came later may
    hold what was learned from before.

    Raises:
        HoldoutTouched: with the release and the items.
    """
    held = {_question(item.messages): item.item_id for item in trial.holdout}
    for role, contender in trial.contenders.items():
        shown = {normalise(demonstration.input) for demonstration in contender.release.prompt.demonstrations}
        if known := sorted(held[text] for text in shown & held.keys()):
            told = f"{len(known)} items of the holdout are demonstrations in the {role}'s prompt"
            raise HoldoutTouched(f"{told}, such as {', '.join(known[:3])}: take them out of the holdout")


def _question(messages: Sequence[Message]) -> str:
    return normalise(question_text([message.model_dump() for message in messages], {}))


def _read_reports(params: Params) -> dict[str, dict[str, Any]]:
    reports: dict[str, dict[str, Any]] = {}
    for arm in params.arms:
        path = params.outputs / "candidates" / arm / "report.json"
        if not path.is_file():
            raise BadInput(f"{path} is missing: run the stage tune@{arm} first (`dvc repro tune@{arm}`)")
        reports[arm] = dict(read_json(path))
    return reports


def _read_trial(params: Params, settings: Settings, arm: str) -> Trial:
    feature = load_feature(Path(), params.feature)
    folder = params.inputs / "holdout"
    holdout = read_holdout(folder / "holdout.jsonl", feature)
    if not holdout:
        raise BadInput(f"{folder}/holdout.jsonl is empty; fill it with `ratchet holdout add {feature.name} FILE`")
    showcase = folder / "showcase.jsonl"
    contenders = {
        "champion": stored_contender(params.inputs / "champion.json", settings),
        "anchor": stored_contender(params.inputs / "anchor.json", settings),
        "candidate": read_contender(params.outputs / "candidates" / arm),
    }
    shown = read_holdout(showcase, feature) if showcase.is_file() else []
    judges = [spec.metric for spec in feature.metrics if is_judge(spec)]
    labels = {name: read_labels(path) for name in judges if (path := folder / labels_file(name)).is_file()}
    return Trial(
        feature=feature,
        contenders=contenders,
        holdout=holdout,
        showcase=shown,
        seed=params.evaluate.seed,
        repeats=params.evaluate.repeats,
        judge=judge_of(settings, log=judge_log(settings)),
        labels=labels,
        regions=find_regions(params.outputs / "candidates" / arm / SCORES),
    )


def _tell_who_is_asked_once(trial: Trial) -> None:
    once = [role for role in ROLES if trial.repeats_of(trial.contenders[role]) == 1]
    if once:
        print(
            f"evaluate: temperature 0, so asked once and not {trial.repeats} times: {', '.join(once)}", file=sys.stderr
        )


def _arm_metrics(report: Mapping[str, Any]) -> dict[str, Any]:
    own, champion = report.get("validation") or {}, report.get("champion_validation") or {}
    return {
        "n": own.get("n", 0),
        "score": own.get("score"),
        "low": own.get("low"),
        "high": own.get("high"),
        "champion_score": champion.get("score"),
        "champion_low": champion.get("low"),
        "champion_high": champion.get("high"),
        "champion_tokens_per_answer": report.get("champion_tokens_per_answer"),
        "tokens_per_answer": report.get("tokens_per_answer"),
    }


if __name__ == "__main__":
    sys.exit(main())
