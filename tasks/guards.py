"""What the gate looks at beside the objective: metrics that may not get worse, against the champion and the anchor.

Rows are those of evaluation/scores.jsonl, by metric: `quality` is the feature's score and others are its `metrics`, of
which more is better; of `tokens` and `latency_ms` less is, and losses are shares of the other release's mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ratchet.errors import BadInput
from ratchet.features import GatePolicy
from ratchet.power import MOST_ITEMS, items_to_rule_out
from tasks.compare import Paired, Standing, judge, pair_rows, why_unknown
from tasks.trial import AGAINST_ANCHOR, LESS_IS_BETTER, ROLES, Scores

Rows = Sequence[Mapping[str, Any]]
OBJECTIVES = {"quality": "quality", "cost": "tokens", "latency": "latency_ms"}


class Guard(NamedTuple):
    """A metric that may not get worse than another release's by the margin or more."""

    name: str
    pairs: Paired
    margin: float
    min_items: int

    def why_unknown(self) -> str | None:
        """Why nothing can be said of it whatever the scores are."""
        return why_unknown(self.pairs, self.min_items)

    def judge(self, *, alpha: float, spent: float) -> Standing:
        """Where it stands."""
        return judge(self.name, self.pairs, self.margin, min_items=self.min_items, alpha=alpha, spent=spent)


def guards_of(table: Mapping[str, Rows], policy: GatePolicy) -> list[Guard]:
    """The guards that a policy names, in the order of their names.

    Raises:
        BadInput: a guarded metric was not measured.
    """
    margins: dict[str, float] = {str(name): margin for name, margin in policy.margins.items()}
    objective = OBJECTIVES[policy.objective]
    guards = []
    if objective != "quality":
        margins.setdefault("quality", policy.anchor_margin)
        pairs = against_anchor(table)
        guards.append(Guard("quality against the anchor", pairs, policy.anchor_margin, policy.min_items))
    for metric, margin in sorted(margins.items()):
        if metric != objective:
            pairs = paired(_rows(table, metric), "champion", is_less_better=metric in LESS_IS_BETTER)
            guards.append(Guard(f"{metric} against the champion", pairs, margin, policy.min_items))
    return guards


def safety_guards(
    table: Mapping[str, Rows], policy: GatePolicy, *, against: Sequence[str], spent: float
) -> list[Guard]:
    """The guards on safety suites.

    Args:
        table: rows of safety/scores.jsonl by guard.
        against: the roles that each is held against.
        spent: the error of this look: the fewest items are those that can ever rule the margin out at it.

    Raises:
        BadInput: a guard's suites were not asked.
    """
    return [
        Guard(
            f"safety {name} against the {other}",
            paired(_rows(table, name, "safety"), other),
            guard.margin,
            items_to_rule_out(guard.margin, spent) or MOST_ITEMS,
        )
        for name, guard in sorted(policy.safety.items())
        for other in against
    ]


def against_anchor(table: Mapping[str, Rows]) -> Paired:
    """The candidate's quality beside the anchor's; of a judge people labelled the anchor's answers on their own."""
    judged = table.get("quality" + AGAINST_ANCHOR)
    return paired(judged, "champion") if judged is not None else paired(_rows(table, "quality"), "anchor")


def objective_scores(table: Mapping[str, Rows], policy: GatePolicy) -> dict[str, Scores]:
    """The objective's scores by role and item, turned so that higher is better.

    Raises:
        BadInput: the objective was not measured.
    """
    metric = OBJECTIVES[policy.objective]
    rows = _rows(table, metric)
    unit = -1.0 / _mean(rows, "champion") if metric != "quality" else 1.0
    return {role: {row["item_id"]: _times(row[role], unit) for row in rows} for role in ROLES}


def sessions_of(table: Mapping[str, Rows]) -> dict[str, str]:
    """The session of each item that names one."""
    return {row["item_id"]: row["session"] for row in _rows(table, "quality") if row.get("session")}


def paired(rows: Rows, other: str, *, is_less_better: bool = False) -> Paired:
    """The candidate's scores beside another role's, on the items that both were scored on."""
    return pair_rows(rows, other, "item_id", -1.0 / _mean(rows, other) if is_less_better else 1.0)


def _rows(table: Mapping[str, Rows], metric: str, stage: str = "evaluate") -> Rows:
    if metric not in table:
        raise BadInput(f"{metric} was not measured; run {stage} again (`dvc repro -f {stage}`)")
    return table[metric]


def _mean(rows: Rows, role: str) -> float:
    values = [row[role] for row in rows if row[role] is not None]
    return sum(values) / len(values) if values and sum(values) > 0 else 1.0


def _times(value: float | None, unit: float) -> float | None:
    return None if value is None else unit * value
