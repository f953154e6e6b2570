"""Scores items by what feature.yaml, or a command line, names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from ratchet.errors import BadInput, RatchetError
from ratchet.features import Feature, ScorerSpec
from ratchet.scorers.catalogue import CATALOGUE, is_judge, options_of
from ratchet.scorers.item import Item, Score
from ratchet.scorers.llm_judge import JudgeServer
from ratchet.scorers.outside import call_function, load_function, run_command

Progress = Callable[[int, int], None]


def score_items(
    spec: ScorerSpec,
    items: Sequence[Item],
    feature: Feature | None = None,
    *,
    repo: Path = Path(),
    judge: JudgeServer | None = None,
    on_progress: Progress = lambda done, total: None,
) -> list[Score]:
    """Score items.

    Args:
        spec: the scorer, as in `feature.metrics`.
        items: what is scored.
        feature: whose schema is meant where the scorer needs one.
        repo: the clone, for a scorer of the team's own.
        judge: who answers an LLM-judge scorer; without one its items are unscored.
        on_progress: told how many of how many are scored.

    Returns:
        One score per item, in order. An item on which a scorer raises is unscored; it stops nothing.

    Raises:
        BadInput: the scorer is not known, its options are not its own, or its program is missing.
    """
    try:
        options = options_of(spec, feature)
    except ValueError as error:
        raise BadInput(str(error)) from error
    if spec.command is not None:
        scores = run_command(spec.command, items, repo, **options)
        on_progress(len(items), len(items))
        return scores
    if is_judge(spec):
        return list(CATALOGUE[str(spec.name)].score(items, judge, on_progress, **options))
    if spec.python is not None:
        score = partial(call_function, load_function(repo, spec.python))
    else:
        score = partial(CATALOGUE[str(spec.name)].score, **options)
    scores = []
    for item in items:
        scores.append(_score_safely(score, item))
        on_progress(len(scores), len(items))
    return scores


def score_item(
    spec: ScorerSpec,
    item: Item,
    feature: Feature | None = None,
    *,
    repo: Path = Path(),
    judge: JudgeServer | None = None,
) -> Score:
    """Score one item; many at once (`score_items`) are cheaper for a command and for a judge."""
    return score_items(spec, [item], feature, repo=repo, judge=judge)[0]


def _score_safely(score: Callable[[Item], Score], item: Item) -> Score:
    try:
        return score(item)
    except RatchetError:  # the machine lacks something that every item needs
        raise
    except Exception as error:  # noqa: BLE001 - a scorer may be anybody's code; its message may hold user text
        return Score(None, f"the scorer raised {type(error).__name__}", is_failure=True)
