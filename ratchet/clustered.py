"""Paired comparisons whose items hang together: the items of one session or user are one piece of evidence.

Differences are new minus old, higher is better, one per item; `clusters` is aligned with them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from statistics import NormalDist

from ratchet.stats import Difference, sign_flip_greater


def clustered_not_better_p(
    differences: Sequence[float], clusters: Sequence[Hashable], *, margin: float = 0.0, seed: int = 17
) -> float:
    """One-sided p-value of `the mean difference is at most -margin`, by flipping the signs of whole clusters.

    `ratchet.stats.sign_flip_greater` on the sums of each cluster's differences plus the margin: exact where, under the
    hypothesis, a cluster's sum is as likely to be so much above as below. Items of a cluster may depend on each other
    in any way. To ask the reverse, negate differences and margin.
    """
    sums: dict[Hashable, float] = defaultdict(float)
    for difference, cluster in zip(differences, clusters, strict=True):
        sums[cluster] += difference + margin
    return sign_flip_greater(list(sums.values()), seed)


def clustered_interval(
    differences: Sequence[float], clusters: Sequence[Hashable], level: float = 0.95
) -> Difference | None:
    """The mean difference with the t-interval of the cluster-robust standard error; None with fewer than two clusters.

    Liang & Zeger (Biometrika 73, 1986) with the factor G / (G - 1) and G - 1 degrees of freedom, G clusters.
    """
    from scipy.stats import t

    error, count = standard_error(differences, clusters), len(set(clusters))
    if error is None:
        return None
    mean = sum(differences) / len(differences)
    half = float(t.ppf((1 + level) / 2, count - 1)) * error
    return Difference(mean, mean - half, mean + half)


def standard_error(differences: Sequence[float], clusters: Sequence[Hashable]) -> float | None:
    """The cluster-robust standard error of the mean difference; None with fewer than two clusters."""
    mean = sum(differences) / max(1, len(differences))
    residuals: dict[Hashable, float] = defaultdict(float)
    for difference, cluster in zip(differences, clusters, strict=True):
        residuals[cluster] += difference - mean
    count = len(residuals)
    if count < 2:
        return None
    variance = count / (count - 1) * sum(residual**2 for residual in residuals.values()) / len(differences) ** 2
    return math.sqrt(variance)


def detectable(error: float, *, alpha: float, power: float = 0.8) -> float:
    """The smallest true difference that a one-sided test at `alpha` finds with this power, at this standard error."""
    normal = NormalDist()
    return (normal.inv_cdf(1 - alpha) + normal.inv_cdf(power)) * error


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's adjusted p-values (Scandinavian Journal of Statistics 6, 1979): held against alpha, one error in all."""
    adjusted, highest = {}, 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: (item[1], item[0]))):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p_values}
