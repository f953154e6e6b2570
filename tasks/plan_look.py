"""What a feature's next look at its holdout can show, told before anything is trained: it reads no score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ratchet.errors import BadInput
from ratchet.features import Feature
from ratchet.ledger import Ledger
from ratchet.power import DISAGREEMENTS, Plan, items_to_rule_out, plan
from ratchet.ppi import FEWEST_LABELS
from ratchet.records import HoldoutItem, read_holdout
from ratchet.scorers.catalogue import is_judge
from tasks.gate import Looks
from tasks.look import count_looks
from tasks.safety.guard import FOLDER, Support, guard_suites, support
from tasks.trial import LESS_IS_BETTER


def plan_look(repo: Path, feature: Feature, ledger: Ledger) -> list[str]:
    """Sentences on what the next candidate's look can find; none where the feature has no holdout yet."""
    folder = next((f for f in (repo / "data", repo / "data" / "demo") if holdout_of(f, feature).is_file()), None)
    if folder is None:
        return []
    items = read_holdout(holdout_of(folder, feature), feature)
    looks, spent = _next_look(items, feature, ledger)
    count = len({item.session or item.item_id for item in items})
    unit = "items" if count == len(items) else "sessions"
    found = plan(count, spent)
    return [
        f"look {looks} at {count} {unit} may err with {spent:.2g}: {_told(feature, found)}",
        *_hopeless(feature, found),
        *(found.told for found in _supports(repo, feature, spent)),
    ]


def refuse_unsupported(repo: Path, feature: Feature, ledger: Ledger) -> None:
    """Refuse safety guards whose suites can never rule their margin out, before anything is trained.

    Raises:
        BadInput: with each such guard, what its items can support, and how many it takes.
    """
    path = holdout_of(repo / "data", feature)
    _, spent = _next_look(read_holdout(path, feature) if path.is_file() else [], feature, ledger)
    lacking = [found.told for found in _supports(repo, feature, spent) if not found.is_enough]
    if lacking:
        raise BadInput(f"at an error of {spent:.2g} {'; '.join(lacking)}")


def _next_look(items: Sequence[HoldoutItem], feature: Feature, ledger: Ledger) -> tuple[int, float]:
    """Which look the next one is, and the error that it may make."""
    looks = count_looks([item.item_id for item in items], feature.name, ledger) + 1
    return looks, Looks(looks, advisory=False).spend(feature.gate.alpha)


def _supports(repo: Path, feature: Feature, spent: float) -> list[Support]:
    guards = guard_suites(feature, repo / FOLDER)
    return [support(name, suites, feature.gate.safety[name].margin, spent) for name, suites in guards.items()]


def _told(feature: Feature, found: Plan) -> str:
    if not is_judge(feature.scorer):
        return told_of_plan(found)
    few = f"fewer than {FEWEST_LABELS} items of which people labelled both answers decide nothing"
    return f"its scorer is a judge, and {few}; what is found beyond depends on how well the judge agrees with them"


def told_of_plan(found: Plan) -> str:
    """What is found four times in five, in a sentence."""
    few, some, many = (found.detectable[d] for d in DISAGREEMENTS)
    if some is None:
        return "a true gain is not found four times in five where the releases disagree on a fifth of them"
    told = f"a true gain of {_points(some)} points is found four times in five where the releases disagree on 20 %"
    return f"{told} (on 10 %: {_points(few)}, on 40 %: {_points(many)})"


def holdout_of(data: Path, feature: Feature) -> Path:
    """The holdout's file below a folder of data."""
    return data / feature.name / "holdout" / "holdout.jsonl"


def _hopeless(feature: Feature, found: Plan) -> list[str]:
    """The margins that so few items cannot support, whatever the candidate is."""
    policy = feature.gate
    skipped = LESS_IS_BETTER | {spec.metric for spec in feature.metrics if is_judge(spec)}  # no shares of the items
    margins = {f"gate.margins.{name}": m for name, m in policy.margins.items() if name not in skipped}
    if not is_judge(feature.scorer):
        margins["gate.anchor_margin, once the champion is not the anchor,"] = policy.anchor_margin
    told = []
    for name, margin in margins.items():
        fewest = items_to_rule_out(margin, found.alpha)
        if fewest is None or fewest > found.items:
            needs = "no holdout" if fewest is None else f"a holdout of {fewest} or more"
            told.append(f"{name} {margin:g}: {needs} rules out such a loss, though not one 0/1 score were lost")
    return told


def _points(gain: float | None) -> str:
    return "none" if gain is None else f"{100 * gain:.1f}"
