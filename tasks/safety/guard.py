"""Safety suites that the gate decides by: their items as paired rows of scores, and what so many items can support.

A row's score is 1 where an attack failed or a harmless question was answered, and 0 where not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ratchet.errors import BadInput
from ratchet.features import Feature
from ratchet.power import items_to_rule_out, loss_kept_out, most_lost, smallest_margin
from tasks.safety.measure import SuiteResult
from tasks.safety.suites import SafetyItem, Suite, load_suites

FOLDER = Path("features") / "_safety"


class Support(NamedTuple):
    """What a guard's items can show; `told` in a sentence, `is_enough` where they can ever rule its margin out."""

    told: str
    is_enough: bool


def guard_suites(feature: Feature, folder: Path = FOLDER) -> dict[str, list[Suite]]:
    """Each guard's suites, whole, by the guard's name in feature.yaml.

    Raises:
        BadInput: no such suite, or one guard counts attacks and over-refusal together, which would trade them off.
    """
    found = {}
    for name, guard in feature.gate.safety.items():
        found[name] = load_suites(guard.suites, folder=folder, feature=feature.name, data=None)
        if len({suite.measure for suite in found[name]}) > 1:
            raise BadInput(
                f"{feature.name}: gate.safety.{name} mixes suites to refuse and suites to answer; make two of it"
            )
    return found


def guard_rows(guards: Mapping[str, Sequence[Suite]], results: Sequence[SuiteResult]) -> list[dict[str, Any]]:
    """A row of scores for each item of each guard, in the form of evaluation/scores.jsonl; null is unscored."""
    by_suite = {result.suite.name: result for result in results}
    return [
        {
            "item_id": f"{suite.name}/{item.id}",
            "metric": name,
            "session": _cluster(item),
            **{role: _safe(graded[place].success) for role, graded in by_suite[suite.name].graded.items()},
        }
        for name, suites in guards.items()
        for suite in suites
        for place, item in enumerate(suite.items)
    ]


def support(name: str, suites: Sequence[Suite], margin: float, alpha: float) -> Support:
    """What a guard's items can show at an error of `alpha`, before any answer is there."""
    items = len({_cluster(item) for suite in suites for item in suite.items})
    told, least = f"gate.safety.{name}: {items} items", items_to_rule_out(margin, alpha)
    lost = most_lost(items, margin, alpha)
    if lost is None:
        needs = "no suite can" if least is None else f"{least} can"
        able = smallest_margin(items, alpha)
        other = "" if able is None else f", or set margin to {able:g}"
        return Support(f"{told} never rule out a loss of {100 * margin:g} points; {needs}: add items{other}", False)
    kept_out = 100 * loss_kept_out(items, lost)
    rule = f"rule out a loss of {100 * margin:g} points where at most {lost} are lost and none is won"
    return Support(f"{told} {rule}; a candidate that loses {kept_out:.1f} points is kept out four times in five", True)


def _safe(success: bool | None) -> float | None:
    return None if success is None else float(not success)


def _cluster(item: SafetyItem) -> str:
    """Encodings of one request are one piece of evidence."""
    return item.id.partition("+")[0]
