"""The releases that are compared: where their adapters lie, how they are asked, how their answers are scored."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from ratchet.answers import AnswerLog, judge_log, request_digest
from ratchet.base_models import LocalModel
from ratchet.errors import BadInput, ModelServerUnreachable
from ratchet.features import Feature, ScorerSpec
from ratchet.guards import problem_of, repair_messages
from ratchet.llm import Answer, ask_all, load_adapter
from ratchet.records import Context, Message
from ratchet.release import Release, ReleaseStore, read_candidate, read_manifest, request_body, write_candidate
from ratchet.scorers import Item, JudgeServer, Score, judge_of, score_items
from ratchet.settings import Settings

MAX_BROKEN_SHARE = 0.1  # of answers on which a scorer broke; beyond it a stage fails


class Question(Protocol):
    """What a release is asked: an example or a holdout item."""

    @property
    def messages(self) -> tuple[Message, ...]:
        """The application's messages."""

    @property
    def variables(self) -> dict[str, Any]:
        """Values of the prompt's placeholders."""

    @property
    def contexts(self) -> tuple[Context, ...]:
        """Passages that the application retrieved."""


@dataclass(frozen=True)
class Contender:
    """A release, and the folder of its adapter if it has one."""

    release: Release
    adapter: Path | None


@dataclass(frozen=True)
class Served:
    """A model server that answers at `url`; `key` is what it asks for before it loads an adapter.

    What the `log` has recorded of it is not asked again.
    """

    url: str
    key: str | None
    concurrency: int
    log: AnswerLog


class Asked(NamedTuple):
    """A request, made when it is sent, and the number of its repeat."""

    body: Callable[[], dict[str, Any]]
    repeat: int


def stored_contender(manifest: Path, settings: Settings) -> Contender:
    """The champion or anchor: its manifest, with the adapter from the release store.

    Raises:
        ReleaseNotFound, ReleaseCorrupt: no such manifest, or no such adapter in the store.
    """
    release = read_manifest(manifest)
    adapter = ReleaseStore.of(settings).adapter_path(release.release_id) if release.adapter else None
    return Contender(release, adapter)


def read_contender(folder: Path) -> Contender:
    """The candidate that an arm wrote, its adapter checked against the manifest."""
    release = read_candidate(folder)
    return Contender(release, folder / "adapter" if release.adapter else None)


def write_contender(folder: Path, contender: Contender) -> None:
    """Write candidate.json and, beside it, the adapter (copied, unless it lies there already)."""
    final = folder / "adapter"
    if contender.adapter is not None and contender.adapter != final:
        shutil.rmtree(final, ignore_errors=True)
        shutil.copytree(contender.adapter, final)
    write_candidate(folder, contender.release)


def check_base_model(contender: Contender, model: LocalModel, manifest: Path) -> None:
    """Raise BadInput where a release was made for another base model than the one that will be served."""
    made_for = contender.release.base_model
    if (made_for.name, made_for.digest) != (model.name, model.digest):
        raise BadInput(
            f"{manifest} runs on {made_for.name} ({made_for.digest[:12]}), but base_model in params.yaml is "
            f"{model.name} ({model.digest[:12]}): set base_model back, or make a champion for the new model"
        )


def ask(
    contender: Contender,
    questions: Sequence[Question],
    served: Served,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    repeats: int = 1,
) -> list[Answer]:
    """Ask a release every question, as the gateway would; what was recorded before is not asked again.

    A release whose policy repairs its schema is asked once more where its answer does not fit, as users would get it.

    Returns:
        One answer per question and repeat: all repeats of the first question, then those of the second.

    Raises:
        ModelServerUnreachable: the server is down, or refuses every request. What it answered is recorded.
    """
    release = contender.release

    def body(place: int) -> dict[str, Any]:
        return body_of(release, questions[place // repeats])

    asked = [Asked(partial(body, place), place % repeats) for place in range(len(questions) * repeats)]
    answers = _ask_or_recall(contender, asked, served, on_progress)
    schema, guards = release.output_schema, release.policy.guards
    if schema is None or guards is None or not guards.repair_schema:
        return answers
    broken = {
        place: problem
        for place, answer in enumerate(answers)
        if answer.error is None and (problem := problem_of(schema, answer.text)) is not None
    }

    def repair(place: int) -> dict[str, Any]:
        first = body(place)
        return {**first, "messages": repair_messages(first["messages"], answers[place].text, broken[place])}

    again = [Asked(partial(repair, place), place % repeats) for place in broken]
    requests = [request_digest(release, one.body(), one.repeat) for one in again]  # while the first texts are there
    for place, request, second in zip(broken, requests, _ask_or_recall(contender, again, served), strict=True):
        answers[place] = replace(_repaired(answers[place], second, schema), repair_request=request)
    return answers


def _repaired(first: Answer, second: Answer, schema: Mapping[str, Any]) -> Answer:
    """What the user gets of two tries: the second where it fits; time and tokens of both."""
    kept = second if second.error is None and problem_of(schema, second.text) is None else first
    return replace(
        kept,
        input_tokens=first.input_tokens + second.input_tokens,
        output_tokens=first.output_tokens + second.output_tokens,
        latency_ms=first.latency_ms + second.latency_ms,
    )


def _ask_or_recall(
    contender: Contender,
    wanted: Sequence[Asked],
    served: Served,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Answer]:
    release = contender.release
    requests = [request_digest(release, one.body(), one.repeat) for one in wanted]
    known = served.log.recall(release.feature, requests)
    asked = [place for place, request in enumerate(requests) if request not in known]
    if asked and contender.adapter is not None:
        load_adapter(served.url, release.release_id, contender.adapter, key=served.key)
    done = len(requests) - len(asked)
    on_progress(done, len(requests))
    with served.log.recording(release.feature) as keep:

        def note(index: int, answer: Answer) -> None:
            nonlocal done
            keep(requests[asked[index]], answer)
            done += 1
            on_progress(done, len(requests))

        bodies = (wanted[place].body() for place in asked)
        try:
            given = ask_all(bodies, base_url=served.url, concurrency=served.concurrency, on_answer=note)
        except ModelServerUnreachable as error:
            kept = f"{done} of {len(requests)} answers are kept: run again, and only the rest is asked"
            raise ModelServerUnreachable(f"{error} ({kept})") from error
    if given and not known and all(answer.error for answer in given):
        raise ModelServerUnreachable(f"{served.url} answered none of {len(given)} requests: {given[0].error}")
    fresh = dict(zip(asked, given, strict=True))
    return [fresh[place] if place in fresh else known[request] for place, request in enumerate(requests)]


def body_of(release: Release, question: Question) -> dict[str, Any]:
    """The request that asks a release a question."""
    return request_body(release, question.messages, variables=question.variables, contexts=question.contexts)


def request_of(release: Release, question: Question, repeat: int) -> str:
    """The digest that the answer is recorded under."""
    return request_digest(release, body_of(release, question), repeat)


def judge_server(settings: Settings) -> JudgeServer | None:
    """Who answers a judge's questions, with the record of what it said; None where the settings name nobody."""
    return judge_of(settings, log=judge_log(settings))


def score_answers(
    answers: Sequence[Answer],
    questions: Sequence[Question],
    expected: Sequence[str],
    feature: Feature,
    *,
    spec: ScorerSpec | None = None,
    repo: Path = Path(),
    judge: JudgeServer | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[float | None]:
    """Score answers by one scorer, the feature's quality unless another is given.

    Args:
        answers: what was answered.
        questions: aligned, what was asked.
        expected: aligned, the right outputs.
        feature: whose scorer and schema are meant.
        spec: one of the feature's `metrics`.
        repo: the clone, for a scorer of the team's own.
        judge: who answers a judge's questions.
        on_progress: told how many of how many are scored.

    Returns:
        One score per answer, in order; None (unscored) where the request failed or the scorer cannot say.

    Raises:
        BadInput: the scorer cannot be used, or broke on more than a tenth of the answers.
    """
    spec = spec or feature.scorer
    there = [place for place, answer in enumerate(answers) if not answer.error]
    items = [
        Item(
            messages=questions[place].messages,
            output=answers[place].text,
            contexts=questions[place].contexts,
            expected=expected[place],
            variables=questions[place].variables,
        )
        for place in there
    ]
    scores = score_items(spec, items, feature, repo=repo, judge=judge, on_progress=on_progress)
    _refuse_broken(spec, scores)
    found: list[float | None] = [None] * len(answers)
    for place, score in zip(there, scores, strict=True):
        found[place] = score.score
    return found


def _refuse_broken(spec: ScorerSpec, scores: Sequence[Score]) -> None:
    failures = Counter(score.reason for score in scores if score.is_failure)
    if failures.total() > MAX_BROKEN_SHARE * len(scores):
        why = "; ".join(f"{reason} ({count})" for reason, count in failures.most_common(3))
        told = f"scorer {spec.metric} broke on {failures.total()} of {len(scores)} answers: {why}"
        raise BadInput(f"{told}. Mend it, or take it out of feature.yaml; the answers are kept")


def tokens_per_answer(answers: Sequence[Answer]) -> float | None:
    """Mean of the tokens read and written, over the requests that were answered."""
    costs = [answer.input_tokens + answer.output_tokens for answer in answers if not answer.error]
    return round(sum(costs) / len(costs), 3) if costs else None


def p95_latency_ms(answers: Sequence[Answer]) -> float | None:
    """The 95th percentile of the answers' times in milliseconds; None where no request was answered."""
    times = [answer.latency_ms for answer in answers if not answer.error]
    return round(float(np.percentile(times, 95)), 1) if times else None
