"""The gate on anyone's scores: paired rows of one or more metrics in, a decision with its reasons out.

A row is {"id", "metric", "champion", "candidate", "session"?, "slice"?}; a null score is unscored, never 0. The
candidate must be better on the objective and no worse, by a margin, on every other metric; a slice in which it is shown
worse is named. Items of one session are one piece of evidence. A judge's rows carry what people say of some answers
("human_champion", "human_candidate": 0 to 1, or null) and the probability of having been asked ("inclusion"). Without a
ledger nobody counts how often these rows were looked at, so nothing is promised under reuse.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ratchet.clustered import clustered_interval, clustered_not_better_p, detectable, holm, standard_error
from ratchet.errors import BadInput, BadRecord
from ratchet.judge import check_labels
from ratchet.ppi import JudgedPair, count_labelled, estimate_difference, ppi_not_better_p, swapped, why_refused
from ratchet.records import Rejected, read_jsonl
from ratchet.stats import Difference, not_better_p, paired_difference_interval
from tasks.wording import p_text

Verdict = Literal["accept", "reject", "inconclusive"]
MAX_ONE_ONLY_SHARE = 0.1  # beyond it, the items that both were scored on are no longer the sample that was drawn
DEFAULT_MARGIN = 0.02  # of metrics from 0 to 1
MIN_SLICE = 5  # pairs of a slice, below which nothing is said about it
ONE_SESSION = "All items are of one session, so nothing can be told from chance."
NO_LEDGER = "No ledger counted this look: the error holds for the first decision on these rows, not under reuse."


@dataclass(frozen=True)
class Decision:
    """The verdict, sentences that say why, and the numbers behind them."""

    verdict: Verdict
    reasons: tuple[str, ...]
    facts: dict[str, Any]


class Standing(NamedTuple):
    """Where a metric stands: `fine`, `worse`, `open`, or `unknown`, which no score says; a sentence; its numbers."""

    at: Literal["fine", "worse", "open", "unknown"]
    sentence: str
    numbers: dict[str, Any]


@dataclass(frozen=True)
class ComparePolicy:
    """What must be better and what may not get worse.

    Attributes:
        objective: the metric that must improve; None where there is only one.
        margins: by metric, the loss that is tolerated, in the metric's own unit.
        lower: metrics of which less is better (cost, latency).
        alpha: one-sided error of each test; slices share one.
        min_items: pairs below which nothing is decided.
    """

    objective: str | None = None
    margins: Mapping[str, float] = field(default_factory=dict)
    lower: frozenset[str] = frozenset()
    alpha: float = 0.05
    min_items: int = 20


@dataclass(frozen=True)
class Paired:
    """A metric's scores of the items that both were scored on, aligned; `items` counts all, one-sided ones too.

    `judged` are a judge's scores with people's labels, aligned: then tests and intervals are prediction-powered.
    """

    champion: tuple[float, ...]
    candidate: tuple[float, ...]
    clusters: tuple[str, ...]
    slices: tuple[str | None, ...]
    items: int
    one_only: int
    judged: tuple[JudgedPair, ...] | None = None

    @property
    def differences(self) -> list[float]:
        """Candidate minus champion."""
        return [new - old for old, new in zip(self.champion, self.candidate, strict=True)]

    @property
    def is_clustered(self) -> bool:
        """Whether some items hang together."""
        return len(set(self.clusters)) < len(self.clusters)

    def not_better_p(self, *, alpha: float, margin: float = 0.0) -> float:
        """One-sided p-value of `the candidate is worse by the margin or more`, or `is not better` without one."""
        if self.judged is not None:
            return ppi_not_better_p(self.judged, margin=margin)
        if self.is_clustered:
            return clustered_not_better_p(self.differences, self.clusters, margin=margin)
        return not_better_p(self.champion, self.candidate, alpha=alpha, margin=margin)

    def interval(self) -> Difference | None:
        """The mean difference with its 95 % interval; None where it cannot be had."""
        if self.judged is not None:
            return estimate_difference(self.judged).interval() if count_labelled(self.judged) > 1 else None
        if self.is_clustered:
            return clustered_interval(self.differences, self.clusters)
        return paired_difference_interval(self.champion, self.candidate) if self.champion else None

    def reversed(self) -> Paired:
        """The same pairs asked the other way round."""
        judged = None if self.judged is None else tuple(swapped(self.judged))
        return Paired(self.candidate, self.champion, self.clusters, self.slices, self.items, self.one_only, judged)

    def of_slice(self, name: str) -> Paired:
        """The pairs of one slice."""
        kept = [i for i, found in enumerate(self.slices) if found == name]
        return Paired(
            champion=tuple(self.champion[i] for i in kept),
            candidate=tuple(self.candidate[i] for i in kept),
            clusters=tuple(self.clusters[i] for i in kept),
            slices=tuple(self.slices[i] for i in kept),
            items=len(kept),
            one_only=0,
        )


def read_pairs(path: Path) -> dict[str, Paired]:
    """Read rows of paired scores. Returns the pairs by metric.

    Raises:
        BadInput: no such file, or no row in it.
        BadRecord: a malformed row, or the same item twice for one metric; nothing is judged on a part of the items.
    """
    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    rows: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for where, row in read_jsonl(path):
        if isinstance(row, Rejected):
            raise BadRecord(f"{where}: {row.reason}")
        checked = _check_row(row, where)
        if checked["id"] in rows[checked["metric"]]:
            raise BadRecord(f"{where}: the item stands twice for metric {checked['metric']!r}; remove one")
        rows[checked["metric"]][checked["id"]] = checked
    if not rows:
        raise BadInput(f"{path} holds no rows")
    return {metric: pair_rows(list(found.values()), "champion", "id") for metric, found in rows.items()}


def compare(pairs: Mapping[str, Paired], policy: ComparePolicy) -> Decision:
    """Decide on paired scores.

    Accept: better on the objective, and on every other metric a loss of its margin or more is ruled out, each by a
    one-sided test at alpha (an accept needs all of them, so the error stays alpha). Reject: worse on the objective, or
    worse than the margin elsewhere. Slices are named, and decide nothing.

    Raises:
        BadInput: an objective that is not there, or a margin that is missing.
    """
    objective = _objective(pairs, policy)
    turned = {m: paired.reversed() if m in policy.lower else paired for m, paired in pairs.items()}
    margins = {m: None if m == objective else _margin(m, pairs[m], policy) for m in pairs}
    standings = {
        m: judge(m, turned[m], margins[m], min_items=policy.min_items, alpha=policy.alpha)
        for m in sorted(pairs, key=lambda m: (m != objective, m))
    }
    harmed = harmed_slices(turned, policy.alpha)
    facts = {
        "objective": objective,
        "alpha": policy.alpha,
        "metrics": {m: standing.numbers for m, standing in standings.items()},
        "harmed_slices": harmed,
    }
    told = [standing.sentence for standing in standings.values()]
    return Decision(verdict_of(standings.values()), (*told, *told_of_slices(harmed), NO_LEDGER), facts)


def verdict_of(standings: Iterable[Standing]) -> Verdict:
    """Accept where all are fine, reject where one is worse."""
    found = {standing.at for standing in standings}
    return "reject" if "worse" in found else "accept" if found == {"fine"} else "inconclusive"


def harmed_slices(pairs: Mapping[str, Paired], alpha: float) -> dict[str, float]:
    """The slices, as `metric / slice`, in which the candidate is shown worse, with Holm's adjusted p-value."""
    asked = {}
    for metric, paired in pairs.items():
        if paired.judged is not None:  # labels are too few for a part of the items
            continue
        for name in sorted({s for s in paired.slices if s is not None}):
            part = paired.of_slice(name)
            if len(part.champion) >= MIN_SLICE:
                asked[f"{metric} / {name}"] = part.reversed().not_better_p(alpha=alpha)
    return {name: p for name, p in holm(asked).items() if p <= alpha}


def told_of_slices(harmed: Mapping[str, float]) -> list[str]:
    """A sentence for each harmed slice."""
    told = "Worse in slice {} (p = {} after correction over all slices): look at it before it goes live."
    return [told.format(name, p_text(p)) for name, p in harmed.items()]


def judge(
    metric: str, paired: Paired, margin: float | None, *, min_items: int, alpha: float, spent: float | None = None
) -> Standing:
    """Where a metric stands.

    Args:
        margin: the loss that is tolerated; None for the objective, which must be better.
        alpha: the error of calling it worse.
        spent: the error of calling it fine; alpha where it is not given.
    """
    n, spent = len(paired.champion), alpha if spent is None else spent
    numbers: dict[str, Any] = {"items": paired.items, "n": n, "sessions": len(set(paired.clusters)), "margin": margin}
    if paired.judged is not None:
        numbers["labelled"] = count_labelled(paired.judged)
    why, gap = why_unknown(paired, min_items), paired.interval()
    if why is not None or gap is None:
        return Standing("unknown", f"{metric}: {why or ONE_SESSION}", numbers)
    p_fine = paired.not_better_p(alpha=spent, margin=margin or 0.0)
    p_worse = paired.reversed().not_better_p(alpha=alpha, margin=-(margin or 0.0))
    numbers |= {**gap._asdict(), "p_value": p_fine, "p_worse": p_worse}
    told = f"{metric}: {gap.estimate:+.4g} (95 % interval {gap.low:+.4g} to {gap.high:+.4g}) on {n} items"
    if p_worse <= alpha:
        worse = "that is worse" if margin is None else f"that is worse by more than {margin:.4g}"
        return Standing("worse", f"{told}; {worse}.", numbers)
    if p_fine <= spent:
        fine = "better" if margin is None else f"a loss of {margin:.4g} or more is ruled out"
        return Standing("fine", f"{told}; {fine} (p = {p_text(p_fine)}).", numbers)
    error = 0.0 if paired.judged else standard_error(paired.differences, paired.clusters) or 0.0
    few = f"; a true gain of {detectable(error, alpha=spent):.2g} would be found four times in five" if error else ""
    lacking = "not shown to be better" if margin is None else f"a loss of {margin:.4g} or more is not ruled out"
    return Standing("open", f"{told}; {lacking} (p = {p_text(p_fine)}{few}).", numbers)


def why_unknown(paired: Paired, min_items: int) -> str | None:
    """Why nothing can be said whatever the scores are; None where something can. It tells counts alone, no score."""
    n = len(paired.champion)
    if n < min_items:
        return f"{n} items were scored for both, and {min_items} are needed."
    if paired.one_only > MAX_ONE_ONLY_SHARE * paired.items:
        return f"{paired.one_only} of {paired.items} items were scored for only one of both."
    return why_refused(paired.judged) if paired.judged is not None else None


def pair_rows(rows: Sequence[Mapping[str, Any]], other: str, item: str, unit: float = 1.0) -> Paired:
    """The candidate's scores beside another role's, on the items that both were scored on.

    Rows with the field `human_champion` are a judge's. What it is put right by knows no sessions, so of each session
    the first item alone counts.

    Args:
        rows: one metric's.
        other: the role it is held against; people label the champion's answers only.
        item: the field with an item's id.
        unit: scores are multiplied by it.
    """
    both = [row for row in rows if row[other] is not None and row["candidate"] is not None]
    is_judge = any("human_champion" in row for row in rows)
    if is_judge:
        both = list({_cluster(row, item): row for row in reversed(both)}.values())[::-1]
    return Paired(
        champion=tuple(unit * row[other] for row in both),
        candidate=tuple(unit * row["candidate"] for row in both),
        clusters=tuple(_cluster(row, item) for row in both),
        slices=tuple(row.get("slice") for row in both),
        items=len(rows),
        one_only=sum((row[other] is None) != (row["candidate"] is None) for row in rows),
        judged=tuple(_judged(row) for row in both) if is_judge else None,
    )


def _cluster(row: Mapping[str, Any], item: str) -> str:
    return f"s:{row['session']}" if row.get("session") else f"i:{row[item]}"


def _judged(row: Mapping[str, Any]) -> JudgedPair:
    people = row.get("human_champion"), row.get("human_candidate")
    return JudgedPair(row["champion"], row["candidate"], *people, row.get("inclusion") or 1.0)


def _objective(pairs: Mapping[str, Paired], policy: ComparePolicy) -> str:
    known = ", ".join(sorted(pairs))
    named = {*policy.margins, *policy.lower, *([policy.objective] if policy.objective else [])}
    if missing := sorted(named - set(pairs)):
        raise BadInput(f"no row has metric {missing[0]!r}; there are: {known}")
    if policy.objective is None and len(pairs) > 1:
        raise BadInput(f"there are several metrics ({known}): name the one that must improve with --objective")
    return policy.objective or next(iter(pairs))


def _margin(metric: str, paired: Paired, policy: ComparePolicy) -> float:
    if metric in policy.margins:
        return policy.margins[metric]
    if all(0 <= score <= 1 for score in (*paired.champion, *paired.candidate)):
        return DEFAULT_MARGIN
    raise BadInput(f"{metric}: its scores are not from 0 to 1; say which loss is tolerated: --margin {metric}=NUMBER")


def _check_row(row: dict[str, Any], where: str) -> dict[str, Any]:
    if not isinstance(row.get("id"), str) or not isinstance(row.get("metric"), str) or not row["metric"]:
        raise BadRecord(f'{where}: needs "id" and "metric" as texts')
    scores = {role: _score(row, role, where) for role in ("champion", "candidate")}
    bonds = {name: row.get(name) for name in ("session", "slice")}
    if any(value is not None and not isinstance(value, str) for value in bonds.values()):
        raise BadRecord(f'{where}: "session" and "slice" are texts')
    check_labels(row, where)
    people: dict[str, Any] = {
        name: row[name] for name in ("human_champion", "human_candidate", "inclusion") if name in row
    }
    return {"id": row["id"], "metric": row["metric"], **scores, **bonds, **people}


def _score(row: dict[str, Any], role: str, where: str) -> float | None:
    if role not in row:
        raise BadRecord(f'{where}: needs "{role}", a number, or null where it was not scored')
    value = row[role]
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return float(value)
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise BadRecord(f"{where}: {role} is a finite number, or null where it was not scored")
    return float(value)
