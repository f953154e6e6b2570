"""What a log says of a candidate before it is served: bounds, an estimate where the log was random, or nothing.

A row is {"id", "logged", "candidate", "outcome", "propensity"?, "user"?}: what was served and what the candidate would
have served (answers, or names of releases), how the served one fared from 0 to 1 (null: not known), and the chance with
which it was chosen. Rows of one user are one piece of evidence.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ratchet.clustered import clustered_interval
from ratchet.errors import BadInput, BadRecord
from ratchet.outcomes import is_negative
from ratchet.records import Feedback, Interaction, Rejected, read_jsonl
from ratchet.stats import Difference
from tasks.wording import points

LEAST_EFFECTIVE = 30.0  # answers, after weighing: below it the normal interval is not to be trusted
MOST_UNKNOWN = 0.1  # of the random rows; beyond it, those with an outcome are no sample of them any more


@dataclass(frozen=True)
class Logged:
    """One served answer; `is_same` says whether the candidate's would have been the same."""

    is_same: bool
    outcome: float | None
    propensity: float | None
    cluster: str


class Bounds(NamedTuple):
    """The candidate's gain is from `low` to `high` whatever users would have said; both with the error of sampling."""

    low: float
    high: float
    n: int
    differing: int


class LogEvidence(NamedTuple):
    """What is known: bounds, the estimate of the gain or None, and a sentence that says what it stands on or lacks."""

    bounds: Bounds | None
    gain: Difference | None
    told: str


def weigh_log(rows: Sequence[Logged]) -> LogEvidence:
    """All that a log says of a candidate's gain over what was served."""
    if not rows:
        return LogEvidence(None, None, "Not identifiable: no answer was logged for which the candidate's is known.")
    bounds = bound_gain(rows)
    drawn = [row for row in rows if row.propensity is not None and 0 < row.propensity < 1]
    lacking = _why_not_identifiable(rows, drawn)
    if lacking is not None or (gain := weighted_gain(drawn)) is None:
        return LogEvidence(bounds, None, f"Not identifiable: {lacking or 'all of it comes from one user.'}")
    told = f"{len(drawn)} answers were chosen at random with a known chance, so the gain can be estimated:"
    return LogEvidence(
        bounds, gain, f"{told} {points(gain.estimate)} points ({points(gain.low)} to {points(gain.high)})."
    )


def bound_gain(rows: Sequence[Logged]) -> Bounds | None:
    """Worst and best case of the mean gain over all logged answers, with 95 % for sampling; None from one user alone.

    Where both would serve the same, the gain is 0 whatever the outcome. Where they differ, it is from -outcome to
    1 - outcome, and from -1 to 1 where the outcome is not known (Manski, American Economic Review 80, 1990). The ends
    take in the error of each bound (Horowitz & Manski, JASA 95, 2000), so they cover the true gain more than 95 %.
    """
    clusters = [row.cluster for row in rows]
    worst = [0.0 if row.is_same else -(1.0 if row.outcome is None else row.outcome) for row in rows]
    best = [0.0 if row.is_same else 1.0 - (row.outcome or 0.0) for row in rows]
    low, high = clustered_interval(worst, clusters), clustered_interval(best, clusters)
    if low is None or high is None:
        return None
    return Bounds(max(low.low, -1.0), min(high.high, 1.0), len(rows), sum(not row.is_same for row in rows))


def weighted_gain(rows: Sequence[Logged]) -> Difference | None:
    """The candidate's mean outcome minus the mean of what was served, from randomly chosen answers with outcomes.

    The self-normalised inverse-propensity estimate (Hajek 1971; Swaminathan & Joachims, NeurIPS 2015): each answer that
    the candidate would have given too weighs one over the chance with which it was chosen. The interval is that of the
    linearised estimate, clustered by user. None where one user is all there is.
    """
    known = [row for row in rows if row.outcome is not None]
    weights = _weights(known)
    outcomes = np.array([row.outcome for row in known], dtype=np.float64)
    if not weights.sum():
        return None
    value, served = float(weights @ outcomes / weights.sum()), float(outcomes.mean())
    influence = weights * (outcomes - value) / weights.mean() - (outcomes - served)
    around = clustered_interval(influence.tolist(), [row.cluster for row in known])
    if around is None:
        return None
    gain = value - served
    return Difference(gain, gain + around.low - around.estimate, gain + around.high - around.estimate)


def read_log(path: Path) -> list[Logged]:
    """Read rows of a log.

    Raises:
        BadInput: no such file, or nothing in it.
        BadRecord: a malformed row, or an id that stands twice.
    """
    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    found: dict[str, Logged] = {}
    for where, row in read_jsonl(path):
        if isinstance(row, Rejected):
            raise BadRecord(f"{where}: {row.reason}")
        if not isinstance(row.get("id"), str) or row["id"] in found:
            raise BadRecord(f'{where}: needs an "id" of its own, a text')
        found[row["id"]] = _logged(row, where)
    if not found:
        raise BadInput(f"{path} holds no rows")
    return list(found.values())


def canary_log(release_id: str, interactions: Iterable[Interaction], feedbacks: Iterable[Feedback]) -> list[Logged]:
    """A feature's own log of canary traffic as rows about one of its releases.

    Which release answers is drawn per user with a known chance while a canary runs. Only traffic drawn between this
    release and others counts: from its first answer to its last. An answer is good unless feedback says otherwise.
    """
    drawn = [i for i in interactions if i.propensity is not None and i.propensity < 1 and not i.fallback]
    own = [i.at for i in drawn if i.release_id == release_id]
    bad = {f.interaction_id for f in feedbacks if is_negative(f.kind, f.value)}
    return [
        Logged(
            i.release_id == release_id, float(i.interaction_id not in bad), i.propensity, i.user_id or i.interaction_id
        )
        for i in drawn
        if own and min(own) <= i.at <= max(own)
    ]


def _why_not_identifiable(rows: Sequence[Logged], drawn: Sequence[Logged]) -> str | None:
    if len(drawn) < len(rows):
        return f"{len(rows) - len(drawn)} of {len(rows)} answers were not chosen at random with a known chance below 1."
    unknown = sum(row.outcome is None for row in drawn)
    if unknown > MOST_UNKNOWN * len(drawn):
        return f"of {unknown} of {len(drawn)} answers the outcome is not known, and those with one may be others."
    weights = _weights(drawn)
    if not weights.any():
        return "the candidate's answers were never served."
    effective = float(weights.sum() ** 2 / (weights @ weights))
    if effective < LEAST_EFFECTIVE:
        return f"the weighed answers are worth {effective:.0f}, and {LEAST_EFFECTIVE:.0f} are needed."
    overlap = clustered_interval(weights.tolist(), [row.cluster for row in drawn], level=0.99)
    if overlap is None or overlap.high < 1:
        return "some of what the candidate would serve was never served (the weights sum to too little)."
    return None


def _weights(rows: Sequence[Logged]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([1 / (row.propensity or 1.0) if row.is_same else 0.0 for row in rows], dtype=np.float64)


def _logged(row: dict[str, Any], where: str) -> Logged:
    if not isinstance(row.get("logged"), str) or not isinstance(row.get("candidate"), str):
        raise BadRecord(f'{where}: needs "logged" and "candidate" as texts')
    outcome, propensity = (_share(row, name, where) for name in ("outcome", "propensity"))
    if propensity == 0:
        raise BadRecord(f"{where}: what was served cannot have had no chance (propensity 0)")
    cluster = f"u:{row['user']}" if row.get("user") is not None else f"i:{row['id']}"
    return Logged(row["logged"] == row["candidate"], outcome, propensity, cluster)


def _share(row: dict[str, Any], name: str, where: str) -> float | None:
    value = row.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float) or not math.isfinite(value) or not 0 <= value <= 1:
        raise BadRecord(f"{where}: {name} is a number from 0 to 1, or null")
    return float(value)
