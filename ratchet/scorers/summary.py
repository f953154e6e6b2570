"""The summary of many scores of one scorer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ratchet.stats import bootstrap_mean_interval, wilson_interval

BINARY_SCORERS = frozenset({"label_accuracy", "exact_match"})


@dataclass(frozen=True)
class ScoreSummary:
    """The mean of `n` scores with its 95 % interval; score, low and high are None where nothing was scored."""

    n: int
    unscored: int
    score: float | None
    low: float | None
    high: float | None

    def as_dict(self) -> dict[str, float | int | None]:
        """The summary for a metrics file; six decimals, so that equal runs give equal bytes."""
        return {k: round(v, 6) if isinstance(v, float) else v for k, v in asdict(self).items()}


def summarise(scores: Sequence[float | None], *, scorer: str, seed: int) -> ScoreSummary:
    """Average the scored items; the interval is Wilson's for 0/1 scorers, a seeded bootstrap for the others."""
    scored = [score for score in scores if score is not None]
    unscored = len(scores) - len(scored)
    if not scored:
        return ScoreSummary(0, unscored, None, None, None)
    if scorer in BINARY_SCORERS:
        low, high = wilson_interval(round(sum(scored)), len(scored))
    else:
        low, high = bootstrap_mean_interval(scored, seed=seed)
    return ScoreSummary(len(scored), unscored, sum(scored) / len(scored), float(low), float(high))
