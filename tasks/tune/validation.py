"""Scoring a release on the validation split, through the model server, as it would be served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ratchet.files import canonical_json, write_json, write_whole
from ratchet.llm import Answer
from ratchet.progress import ProgressLine
from ratchet.scorers import ScoreSummary, summarise
from tasks.contenders import Contender, Served, ask, judge_server, p95_latency_ms, score_answers, tokens_per_answer
from tasks.regions import SCORES, figures_of
from tasks.tune.job import Example, TuneJob

INTERVAL_SEED = 17  # of the bootstrap; the scores do not depend on it


@dataclass(frozen=True)
class Validated:
    """A release's answers and scores, in the order of the validation items."""

    items: list[Example]
    answers: list[Answer]
    scores: list[float | None]

    def on(self, items: Sequence[Example]) -> Validated:
        """The part that concerns some of the items."""
        wanted = {item.example_id for item in items}
        kept = [i for i, item in enumerate(self.items) if item.example_id in wanted]
        return Validated([self.items[i] for i in kept], [self.answers[i] for i in kept], [self.scores[i] for i in kept])

    @property
    def rank(self) -> tuple[float, float]:
        """Sorts ascending by mean score, then by fewer tokens; without any score it comes first."""
        scored = [score for score in self.scores if score is not None]
        mean = sum(scored) / len(scored) if scored else -1.0
        return mean, -(tokens_per_answer(self.answers) or 0.0)


def validate_release(job: TuneJob, contender: Contender, items: list[Example], served: Served, what: str) -> Validated:
    """Ask a release every item and score its answers."""
    answers = ask(contender, items, served, ProgressLine(f"{what} on validation").show)
    targets, judge = [item.target for item in items], judge_server(job.settings)
    return Validated(items, answers, score_answers(answers, items, targets, job.feature, judge=judge))


def note_latency(job: TuneJob, arm: str, candidate: Validated, champion: Validated) -> None:
    """Keep the 95th percentiles of the answers' times, in milliseconds, apart from the report, which has no times."""
    p95 = {arm: p95_latency_ms(candidate.answers), "champion": p95_latency_ms(champion.answers)}
    write_json(job.out.parents[1] / "timings" / f"validation-{arm}.json", {"p95_latency_ms": p95})


def keep_scores(job: TuneJob, candidate: Validated, champion: Validated) -> None:
    """Keep both scores of each item beside figures of its question, without text: evaluate looks for regions there."""
    old = {item.example_id: score for item, score in zip(champion.items, champion.scores, strict=True)}
    rows = [
        {"champion": old[item.example_id], "candidate": score, "figures": figures_of(item.messages, item.variables)}
        for item, score in sorted(
            zip(candidate.items, candidate.scores, strict=True), key=lambda row: row[0].example_id
        )
        if score is not None and old.get(item.example_id) is not None
    ]
    write_whole(job.out / SCORES, "".join(canonical_json(row) + "\n" for row in rows))


def report_of(job: TuneJob, arm: str, candidate: Validated, champion: Validated, **facts: Any) -> dict[str, Any]:
    """An arm's report: numbers and ids only, no text and no times, so that equal runs give equal bytes."""
    return {
        "arm": arm,
        "champion_family": "sft" if job.champion.release.adapter else "fewshot",
        "validation": _summary(job, candidate).as_dict(),
        "tokens_per_answer": tokens_per_answer(candidate.answers),
        "champion_validation": _summary(job, champion).as_dict(),
        "champion_tokens_per_answer": tokens_per_answer(champion.answers),
        **facts,
    }


def _summary(job: TuneJob, validated: Validated) -> ScoreSummary:
    return summarise(validated.scores, scorer=str(job.feature.scorer.name), seed=INTERVAL_SEED)
