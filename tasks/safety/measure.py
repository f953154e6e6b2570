"""Asks releases every item of some suites, grades the answers and compares champion with candidate.

What leaves here as metrics are numbers and ids of items; the answers, which may be harmful, go to a file of their own.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ratchet.clustered import holm
from ratchet.features import Feature
from ratchet.files import write_whole
from ratchet.llm import Answer
from ratchet.stats import exact_mcnemar_greater, paired_difference_interval, wilson_interval
from tasks.contenders import Contender, Served, ask
from tasks.safety.grade import Graded, grade
from tasks.safety.suites import Suite

DIGITS = 6


@dataclass(frozen=True)
class SuiteResult:
    """The answers of each role to a suite with their grades, aligned with its items."""

    suite: Suite
    answers: Mapping[str, Sequence[Answer]]
    graded: Mapping[str, Sequence[Graded]]

    @property
    def pairs(self) -> list[tuple[str, bool, bool]]:
        """Of the items that were graded for both: id, whether it succeeded with the champion, with the candidate."""
        if "candidate" not in self.graded:
            return []
        both = zip(self.suite.items, self.graded["champion"], self.graded["candidate"], strict=True)
        return [
            (item.id, a.success, b.success) for item, a, b in both if a.success is not None and b.success is not None
        ]

    def p_worse(self) -> float | None:
        """One-sided exact p-value of `attacks succeed no more often with the candidate`; None without pairs."""
        pairs = self.pairs
        gained = sum(b and not a for _, a, b in pairs)
        lost = sum(a and not b for _, a, b in pairs)
        return exact_mcnemar_greater(gained, lost) if pairs else None

    def facts(self) -> dict[str, Any]:
        """Numbers and ids, without a text."""
        pairs, p_value = self.pairs, self.p_worse()
        gap = (
            paired_difference_interval([float(a) for _, a, _ in pairs], [float(b) for *_, b in pairs])
            if pairs
            else None
        )
        return {
            "suite": self.suite.name,
            "items": len(self.suite.items),
            self.suite.measure: {role: _share(graded) for role, graded in self.graded.items()},
            "outcomes": {
                role: dict(sorted(Counter(g.outcome for g in graded).items())) for role, graded in self.graded.items()
            },
            "difference": {name: round(value, DIGITS) for name, value in gap._asdict().items()} if gap else None,
            "p_worse": round(p_value, DIGITS) if p_value is not None else None,
            "regressed": [item_id for item_id, a, b in pairs if b and not a],
            "mended": [item_id for item_id, a, b in pairs if a and not b],
        }


def try_suites(
    suites: Sequence[Suite],
    contenders: Mapping[str, Contender],
    feature: Feature,
    served: Served,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[SuiteResult]:
    """Ask each role's release every item, as the gateway would; two roles of one release are asked once.

    Args:
        suites: at least one.
        contenders: `champion`, and `candidate` where there is one.
        feature: whose releases they are.
        served: the model server; what it answered before is not asked again.
        on_progress: told the answers that are there, and how many there will be.
    """
    questions = [item for suite in suites for item in suite.items]
    answers: dict[str, list[Answer]] = {}
    total = len(questions) * len({contender.release.release_id for contender in contenders.values()})
    for contender in contenders.values():
        release_id, before = contender.release.release_id, len(questions) * len(answers)
        if release_id not in answers:
            show = lambda done, _, before=before: on_progress(before + done, total)  # noqa: E731
            answers[release_id] = ask(contender, questions, served, show)
    results, start = [], 0
    for suite in suites:
        part = slice(start, start := start + len(suite.items))
        given = {role: answers[contender.release.release_id][part] for role, contender in contenders.items()}
        graded = {
            role: [
                grade(item, answer, contenders[role].release, feature)
                for item, answer in zip(suite.items, said, strict=True)
            ]
            for role, said in given.items()
        }
        results.append(SuiteResult(suite, given, graded))
    return results


def facts_of(feature: Feature, contenders: Mapping[str, Contender], results: Sequence[SuiteResult]) -> dict[str, Any]:
    """The whole of safety.json: each suite's facts, with its p-value adjusted for the number of suites (Holm)."""
    found = {result.suite.name: p for result in results if (p := result.p_worse()) is not None}
    adjusted = holm(found)
    return {
        "feature": feature.name,
        "releases": {role: contender.release.release_id for role, contender in contenders.items()},
        "suites": [
            result.facts()
            | {"p_worse_adjusted": round(adjusted[name], DIGITS) if (name := result.suite.name) in adjusted else None}
            for result in results
        ],
    }


def write_answers(path: Path, results: Sequence[SuiteResult]) -> None:
    """Write a line per answer: suite, item, role, outcome and the text. It is no file for git."""
    lines = [
        {"suite": result.suite.name, "id": item.id, "role": role, "outcome": graded.outcome, "output": answer.text}
        for result in results
        for role in result.graded
        for item, graded, answer in zip(result.suite.items, result.graded[role], result.answers[role], strict=True)
    ]
    write_whole(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def _share(graded: Sequence[Graded]) -> dict[str, Any]:
    """How often it succeeded, of the items that could be graded, with the 95 % Wilson interval."""
    known = [g.success for g in graded if g.success is not None]
    low, high = wilson_interval(sum(known), len(known))
    return {
        "estimate": round(sum(known) / len(known), DIGITS) if known else None,
        "low": round(low, DIGITS) if known else None,
        "high": round(high, DIGITS) if known else None,
        "n": len(known),
        "unscored": len(graded) - len(known),
    }
