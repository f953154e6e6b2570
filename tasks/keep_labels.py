"""Action: keep what people said of what a judge scored beside the holdout, where evaluate finds it; DVC tracks it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ratchet.errors import BadInput
from ratchet.features import Feature
from ratchet.files import canonical_json, write_whole
from ratchet.judge import labels_file, read_labels
from ratchet.ppi import FEWEST_LABELS
from ratchet.settings import Settings
from tasks import version
from tasks.trial import judged_metrics


class Kept(NamedTuple):
    """How many answers people labelled of how many, and how many labelled items the gate needs."""

    labelled: int
    answers: int
    needed: int = FEWEST_LABELS


def keep_labels(settings: Settings, feature: Feature, metric: str, file: Path) -> Kept:
    """Write data/<feature>/holdout/judge_<metric>.jsonl, replacing earlier labels; keys and numbers only, no text.

    Raises:
        BadInput, BadRecord: the feature has no such judge or no holdout of its own, or a line is malformed.
    """
    judges = judged_metrics(feature)
    if metric not in judges:
        raise BadInput(f"{feature.name} has no judge called {metric!r}; there are: {', '.join(judges) or 'none'}")
    folder = settings.repo / "data" / feature.name / "holdout"
    if not (folder / "holdout.jsonl").is_file():
        raise BadInput(f"{feature.name} has no holdout of its own; `ratchet holdout add {feature.name} FILE` makes one")
    labels = read_labels(file)
    rows = [canonical_json(label.model_dump()) for label in labels.values()]
    write_whole(folder / labels_file(metric), "".join(row + "\n" for row in rows))
    version.track_holdout(settings, feature.name)
    return Kept(sum(label.human is not None for label in labels.values()), len(labels))
