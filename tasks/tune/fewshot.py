"""Arm fewshot: search for the demonstrations that help most, starting from the champion's prompt."""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import median
from typing import Any

from ratchet.answers import answer_log
from ratchet.llm import model_server
from ratchet.params import FewshotParams
from ratchet.prompts import Demonstration, Prompt
from tasks.contenders import Contender, Served, write_contender
from tasks.tune.job import Example, TuneJob, sample_validation
from tasks.tune.validation import keep_scores, note_latency, report_of, validate_release

ORIGIN_WEIGHT = {"correction": 2.0, "rephrase": 1.5}


def tune_fewshot(job: TuneJob) -> dict[str, Any]:
    """Score each proposed set of demonstrations and the champion itself; write the best, return the report.

    Best is the higher validation score, then the fewer tokens, so that a set that brings nothing leaves the champion.
    The search looks at a sample of at most `validation_items`; the report is on all validation items, as the other
    arms' reports are.
    """
    params = job.params.fewshot
    sample = sample_validation(job.validation, params.validation_items, params.seed)
    proposals = [with_demonstrations(job.start, shown) for shown in propose_demonstrations(job.train, params)]
    if job.start != job.champion:  # feature.yaml has changed since: that alone may be better
        proposals.insert(0, job.start)
    with model_server(job.settings, job.base_model, job.model.path) as url:
        served = Served(url, job.settings.modelserver_key, job.params.concurrency, answer_log(job.settings))
        champion = validate_release(job, job.champion, job.validation, served, "champion")
        best, winner = champion.on(sample), job.champion
        for number, contender in enumerate(proposals, start=1):
            tried = validate_release(job, contender, sample, served, f"demonstrations {number}/{len(proposals)}")
            if tried.rank > best.rank:
                best, winner = tried, contender
        if winner is job.champion:
            best = champion
        elif len(sample) < len(job.validation):
            best = validate_release(job, winner, job.validation, served, "best demonstrations")
    write_contender(job.out, winner)
    note_latency(job, "fewshot", best, champion)
    keep_scores(job, best, champion)
    return report_of(
        job,
        "fewshot",
        best,
        champion,
        sets_tried=len(proposals),
        demonstrations=len(winner.release.prompt.demonstrations),
        candidate_equals_champion=winner is job.champion,
    )


def skip_reason(job: TuneJob) -> str | None:
    """Why there is nothing to search; None where there is."""
    if job.feature.mode == "passthrough":
        return "passthrough: the application owns the prompt"
    if not job.validation:
        return "no validation examples"
    return None if any(_can_be_shown(example) for example in job.train) else "no usable examples"


def propose_demonstrations(train: Sequence[Example], params: FewshotParams) -> list[tuple[Demonstration, ...]]:
    """Draw distinct sets of demonstrations, seeded; fewer than asked for where the examples do not give more.

    Examples of higher weight, corrections and short inputs are drawn more often (a weighted draw without replacement:
    Efraimidis and Spirakis 2006, keys u ** (1 / w)). The first set goes round the labels, the others are free draws.
    """
    pool = sorted((example for example in train if _can_be_shown(example)), key=lambda example: example.example_id)
    if not pool:
        return []
    rng = random.Random(params.seed)
    middle = median(len(_question(example)) for example in pool)
    weights = [_preference(example, middle) for example in pool]
    sets: dict[tuple[Demonstration, ...], None] = {}
    for attempt in range(4 * params.candidates):
        keys = [rng.random() ** (1 / weight) for weight in weights]
        drawn = [pool[i] for i in sorted(range(len(pool)), key=lambda i: -keys[i])]
        chosen = (_round_labels(drawn) if attempt == 0 else drawn)[: params.demonstrations]
        sets[tuple(Demonstration(input=_question(e), output=e.target) for e in chosen)] = None
        if len(sets) == params.candidates:
            break
    return list(sets)


def with_demonstrations(start: Contender, shown: tuple[Demonstration, ...]) -> Contender:
    """A release with other demonstrations; its adapter, if any, is served under the new release's id."""
    prompt = Prompt(text=start.release.prompt.text, demonstrations=shown)
    return Contender(start.release.model_copy(update={"prompt": prompt}), start.adapter)


def _can_be_shown(example: Example) -> bool:
    """One question and its answer, with a weight: a conversation cannot be shown as a single turn."""
    return example.weight > 0 and [m.role for m in example.messages if m.role != "system"] == ["user"]


def _question(example: Example) -> str:
    return next(m.content for m in example.messages if m.role == "user")


def _preference(example: Example, middle: float) -> float:
    shortness = 1 / (1 + len(_question(example)) / max(1.0, middle))
    return example.weight * ORIGIN_WEIGHT.get(example.origin, 1.0) * shortness


def _round_labels(drawn: list[Example]) -> list[Example]:
    """The drawn examples, one of each label first, then a second of each, and so on."""
    seen: dict[str | None, int] = {}
    ranked = []
    for position, example in enumerate(drawn):
        seen[example.label] = seen.get(example.label, 0) + 1
        ranked.append((seen[example.label], position, example))
    return [example for _, _, example in sorted(ranked, key=lambda entry: entry[:2])]
