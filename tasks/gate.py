"""Stage gate: whether the candidate may replace the champion - accept, reject or inconclusive, with reasons.

Command line: python -m tasks.gate
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeGuard

from ratchet.clustered import standard_error
from ratchet.errors import BadInput, RatchetError
from ratchet.features import GatePolicy, load_feature
from ratchet.files import read_json, write_json
from ratchet.params import Params, load_params
from ratchet.power import plan
from ratchet.ppi import FEWEST_LABELS, count_labelled, estimate_difference, estimate_mean, why_refused
from ratchet.process import die_with_parent
from ratchet.selection import corrected_gain
from ratchet.stats import Difference, is_binary
from tasks.compare import (
    MAX_ONE_ONLY_SHARE,
    ONE_SESSION,
    Decision,
    Paired,
    Standing,
    Verdict,
    harmed_slices,
    told_of_slices,
)
from tasks.guards import (
    OBJECTIVES,
    Guard,
    against_anchor,
    guards_of,
    objective_scores,
    paired,
    safety_guards,
    sessions_of,
)
from tasks.report.page import write_report
from tasks.slices import by_kind
from tasks.trial import ROLES, Scores, read_scores
from tasks.wording import p_text

SEALED = (
    "paired_means", "difference", "p_value", "p_worse",
    "anchor_p_value", "anchor_difference", "guards", "harmed_slices",
)  # fmt: skip


class Judged(NamedTuple):
    """A judge's scores with people's labels, against the champion and against the anchor."""

    champion: Paired
    anchor: Paired


@dataclass(frozen=True)
class PairedScores:
    """The score of each release on each item of the holdout by item id; None and NaN are unscored.

    `sessions` names the session or user of an item by its id: items of one are one piece of evidence. Where the scores
    are a judge's, `judged` takes their place in every test.
    """

    champion_id: str
    anchor_id: str
    candidate_id: str
    champion: Scores
    anchor: Scores
    candidate: Scores
    sessions: Mapping[str, str] = field(default_factory=dict)
    judged: Judged | None = None


@dataclass(frozen=True)
class Looks:
    """How many candidates have met this holdout, this one included; advisory where nobody counted."""

    looks: int
    advisory: bool

    def spend(self, alpha: float) -> float:
        """The error this look may make: alpha / 2^look.

        The looks' errors sum to alpha at most, so that however many equal candidates meet one holdout, the chance that
        any of them is ever accepted stays below alpha (a union bound). It holds for candidates made without knowledge
        of this holdout beyond "not accepted", as the loop's are.
        """
        return math.ldexp(alpha, -max(self.looks, 1))


@dataclass(frozen=True)
class _Standing:
    """The candidate against the anchor: `held` (worse by less than the margin), `below` (by more), or `open`."""

    at: Literal["held", "below", "open"]
    p_value: float
    sentence: str


def decide(
    scores: PairedScores,
    policy: GatePolicy,
    looks: Looks,
    guards: Sequence[Guard] = (),
    slices: Mapping[str, Paired] | None = None,
    safety: Sequence[Guard] = (),
) -> Decision:
    """Accept a candidate that is shown better than the champion, not shown up by the anchor, and no worse elsewhere.

    Accept: better than the champion on the objective, worse than the anchor by less than `anchor_margin`, and within
    its margin on each guard, each by a one-sided paired test (`ratchet.stats.not_better_p`) at the error that this look
    may spend (`Looks.spend`); all must hold, so the error does not add up. Where items name sessions, the tests flip
    whole sessions. Reject: worse than the champion, or worse by
    more than a margin, by the same tests the other way at alpha itself. Everything else is inconclusive. A slice in
    which the candidate is shown worse is named, and decides nothing.

    Args:
        scores: of the objective; higher is better.
        guards: what may not get worse (`tasks.guards`).
        slices: the score with its slices, once for each kind of them, for tests of harm.
        safety: guards on safety suites, which tell nothing of the holdout, so that a sealed look shows them.

    Raises:
        BadInput: the releases were scored on different items.
    """
    _check_items(scores)
    spent = looks.spend(policy.alpha)
    pairs, anchor = _pair(scores, "champion"), _pair(scores, "anchor")
    p_value = pairs.not_better_p(alpha=spent)
    standing = _standing(scores, anchor, policy, spent=spent, p_value=p_value)
    facts = _facts(scores, policy, pairs) | {
        "p_value": p_value,
        "p_worse": pairs.reversed().not_better_p(alpha=policy.alpha),
        "anchor_p_value": standing.p_value,
        "anchor_difference": _rounded(anchor.interval()),
        "alpha_spent": spent,
        **asdict(looks),
    }
    unknown = _why_undecidable(scores, facts, (*guards, *safety))
    facts["undecidable"] = bool(unknown)
    verdict, reasons = _judge(policy, facts, pairs, standing) if not unknown else ("inconclusive", unknown)
    if not unknown:
        found, safe = ({g.name: g.judge(alpha=policy.alpha, spent=spent) for g in asked} for asked in (guards, safety))
        harmed = harmed_slices(slices or {}, policy.alpha)
        verdict = _guarded(verdict, (*found.values(), *safe.values()))
        reasons += [standing.sentence for standing in (*found.values(), *safe.values())] + told_of_slices(harmed)
        facts |= {"guards": {name: standing.numbers for name, standing in found.items()}, "harmed_slices": harmed}
        facts["safety"] = {name: _open_facts(standing) for name, standing in safe.items()}
    if verdict == "accept":
        facts["corrected_difference"] = _rounded(_corrected(pairs, p_value=p_value, alpha=spent))
    return Decision(verdict, (*reasons, *_caveats(looks)), facts)


def _open_facts(standing: Standing) -> dict[str, Any]:
    return {**standing.numbers, "at": standing.at, "told": standing.sentence}


def _guarded(verdict: Verdict, guards: Iterable[Standing]) -> Verdict:
    at = {standing.at for standing in guards}
    if "worse" in at:
        return "reject"
    return "inconclusive" if verdict == "accept" and "open" in at else verdict


def _judge(
    policy: GatePolicy, facts: Mapping[str, Any], pairs: Paired, standing: _Standing
) -> tuple[Verdict, list[str]]:
    compared = _compared(facts, is_share=pairs.judged is None and is_binary(pairs.champion + pairs.candidate))
    is_worse = facts["p_worse"] <= policy.alpha
    if is_worse or standing.at == "below":
        told = [f"{compared} That is worse than the champion." if is_worse else compared]
        return "reject", told + ([standing.sentence] if standing.at == "below" else [])
    chance = f"p = {p_text(facts['p_value'])}, allowed is {p_text(facts['alpha_spent'])}"
    if facts["p_value"] > facts["alpha_spent"]:
        return "inconclusive", [f"{compared} That is not enough to tell from chance: {chance}."]
    better = f"{compared} Chance alone does not explain that: {chance}."
    told = [better, standing.sentence] if standing.sentence else [better]
    return "accept" if standing.at == "held" else "inconclusive", told


def _standing(scores: PairedScores, anchor: Paired, policy: GatePolicy, *, spent: float, p_value: float) -> _Standing:
    """Exact one-sided non-inferiority: held where `worse by the margin or more` is refuted at this look's error."""
    if policy.objective != "quality":  # what the anchor may say of quality is a guard
        return _Standing("held", p_value, "")
    if scores.anchor_id == scores.champion_id:  # better than it is more than not worse
        is_held = p_value <= spent
        return _Standing("held" if is_held else "open", p_value, "The champion is the anchor, the fixed first release.")
    difference = anchor.interval()
    if difference is None:
        return _Standing("open", 1.0, "No item was scored for both the candidate and the anchor.")
    margin = policy.anchor_margin
    p_worse = anchor.not_better_p(alpha=spent, margin=margin)
    p_fine = anchor.reversed().not_better_p(alpha=policy.alpha, margin=-margin)
    told = f"Against the anchor, the fixed first release, it stands at {100 * difference.estimate:+.1f} points"
    allowed = f"{100 * margin:.1f} points"
    if p_worse <= spent:
        return _Standing("held", p_worse, f"{told}: a loss of {allowed} or more is ruled out.")
    if p_fine <= policy.alpha:
        return _Standing("below", p_worse, f"{told}: it has lost more than the {allowed} that are allowed.")
    return _Standing(
        "open", p_worse, f"{told}, and a loss of {allowed} or more is not ruled out (p = {p_text(p_worse)})."
    )


def _why_undecidable(scores: PairedScores, facts: Mapping[str, Any], guards: Sequence[Guard]) -> list[str]:
    """Why nothing is decided whatever the scores are; counts alone tell it, so it may leave a sealed look."""
    if scores.candidate_id == scores.champion_id:
        return ["The candidate is the champion: nothing was found that could be better."]
    n, total, one_only = facts["n"], facts["items"], facts["scored_for_one_only"]
    if n < facts["min_items"]:
        few = f"Too few items: {n} of {total} were scored for both champion and candidate"
        return [f"{few}, and {facts['min_items']} are needed. Add labelled items to the holdout."]
    if one_only > MAX_ONE_ONLY_SHARE * total:
        lost = f"{one_only} of {total} items were scored for only one of champion and candidate"
        return [f"{lost}; the rest may be the easy ones, so nothing is decided. Find out why answers are missing."]
    if lacking := _why_unlabelled(scores):
        return lacking
    if facts["difference"] is None:
        return [f"{ONE_SESSION} Add items of other sessions."]
    return [f"{g.name}: {why}" for g in guards if (why := g.why_unknown())]


def _why_unlabelled(scores: PairedScores) -> list[str]:
    """What people must still label before a judge's scores decide; against an anchor that is the champion nothing."""
    if scores.judged is None:
        return []
    asked = {"champion": scores.judged.champion}
    if scores.anchor_id != scores.champion_id:
        asked["anchor"] = scores.judged.anchor
    return [f"Against the {role}: {why}" for role, pairs in asked.items() if (why := why_refused(pairs.judged or ()))]


def _compared(facts: Mapping[str, Any], *, is_share: bool) -> str:
    old, new = facts["paired_means"]["champion"], facts["paired_means"]["candidate"]
    gap, n = facts["difference"], f"{facts['n']} held-out items"
    if facts["sessions"] < facts["n"]:
        n += f" of {facts['sessions']} sessions"
    if facts["objective"] != "quality":
        change = f"{100 * gap['estimate']:+.1f} %, 95 % interval {100 * gap['low']:+.1f} to {100 * gap['high']:+.1f}"
        return f"On {n} the candidate spares the champion's {facts['objective']} ({change} of its mean)."
    scored = f"On {n} the candidate scores {new:.3f} and the champion {old:.3f}"
    if is_share:
        scored = f"On {n} the candidate is right on {100 * new:.1f} %, the champion on {100 * old:.1f} %"
    points = f"{100 * gap['estimate']:+.1f} points, 95 % interval {100 * gap['low']:+.1f} to {100 * gap['high']:+.1f}"
    return f"{scored} ({points})."


def _caveats(looks: Looks) -> list[str]:
    if looks.advisory:
        return ["This verdict is advisory: nobody counted the looks at this holdout, so it lets nothing go live."]
    if looks.looks > 1:
        return [f"{looks.looks} candidates have met this holdout; the error that is allowed has halved with each."]
    return []


def _facts(scores: PairedScores, policy: GatePolicy, pairs: Paired) -> dict[str, Any]:
    n = len(pairs.champion)
    one_only = sum(_is_scored(a) != _is_scored(scores.candidate[item]) for item, a in scores.champion.items())
    return {
        "objective": policy.objective,
        "items": len(scores.champion),
        "n": n,
        "sessions": len(set(pairs.clusters)),
        "scored_for_one_only": one_only,
        "unscored": {role: sum(not _is_scored(v) for v in getattr(scores, role).values()) for role in ROLES},
        "paired_means": _means(pairs),
        "difference": _rounded(pairs.interval()),
        "anchor_margin": policy.anchor_margin,
        "min_items": policy.min_items,
        "alpha": policy.alpha,
    }


def _means(pairs: Paired) -> dict[str, float] | None:
    """Champion's and candidate's mean on the items scored for both; a judge's are put right by people's labels."""
    n = len(pairs.champion)
    if pairs.judged is None:
        return {"champion": sum(pairs.champion) / n, "candidate": sum(pairs.candidate) / n} if n else None
    if count_labelled(pairs.judged) < FEWEST_LABELS:
        return None
    drawn = [pair.inclusion for pair in pairs.judged]
    old, new = (
        estimate_mean(judge, [None if p.human_difference is None else p[at] for p in pairs.judged], drawn).value
        for judge, at in ((pairs.champion, 2), (pairs.candidate, 3))
    )
    return {"champion": old, "candidate": new}


def _check_items(scores: PairedScores) -> None:
    items = scores.champion.keys()
    odd = sorted((items ^ scores.candidate.keys()) | (items ^ scores.anchor.keys()))
    if odd:
        raise BadInput(f"the releases were scored on different items, such as {odd[0]}; run evaluate again")


def _pair(scores: PairedScores, other: Literal["champion", "anchor"]) -> Paired:
    if scores.judged is not None:
        return scores.judged.champion if other == "champion" else scores.judged.anchor
    old, new, of = getattr(scores, other), scores.candidate, scores.sessions
    both = [(item, a, b) for item, a in old.items() if _is_scored(a) and _is_scored(b := new[item])]
    return Paired(
        champion=tuple(a for _, a, _ in both),
        candidate=tuple(b for _, _, b in both),
        clusters=tuple(f"s:{of[item]}" if item in of else f"i:{item}" for item, _, _ in both),
        slices=(None,) * len(both),
        items=len(old),
        one_only=0,
    )


def _corrected(pairs: Paired, *, p_value: float, alpha: float) -> Difference:
    """The difference put right for having been selected by its p-value."""
    if pairs.judged is not None:
        found = estimate_difference(pairs.judged)
        return corrected_gain(found.value, found.standard_error, p_value=p_value, alpha=alpha)
    differences = pairs.differences
    error = standard_error(differences, pairs.clusters) or 0.0
    return corrected_gain(sum(differences) / len(differences), error, p_value=p_value, alpha=alpha)


def _is_scored(score: float | None) -> TypeGuard[float]:
    return score is not None and not math.isnan(score)


def _rounded(difference: Difference | None) -> dict[str, float] | None:
    return None if difference is None else {key: round(value, 6) for key, value in difference._asdict().items()}


def gate(params: Params) -> dict[str, Any]:
    """Run the stage in the current folder; write metrics/gate.json and the report, return the former."""
    data, advice = params.outputs, "run the stage evaluate first (`dvc repro evaluate`)"
    feature = load_feature(Path(), params.feature)
    policy = feature.gate
    evaluated = _read(data / "metrics" / "evaluate.json", advice)
    summary = _read(data / "evaluation" / "summary.json", advice)
    table = read_scores(data / "evaluation" / "scores.jsonl")
    if "latency_ms" in {*policy.margins, OBJECTIVES[policy.objective]}:
        table |= read_scores(data / "timings" / "latencies.jsonl")  # no output of DVC: times cannot be computed again
    judged = _judged(table) if policy.objective == "quality" else None
    scores = _paired_scores(evaluated, objective_scores(table, policy), sessions_of(table), judged)
    looks = _read_looks(params.inputs / "looks.json")
    rows = table.get("quality", [])
    asked = read_scores(data / "safety" / "scores.jsonl")
    against = ("champion",) if scores.anchor_id == scores.champion_id else ("champion", "anchor")
    safety = safety_guards(asked, policy, against=against, spent=looks.spend(policy.alpha))
    decision = decide(scores, policy, looks, guards_of(table, policy), _slices(rows), safety)
    is_sealed = decision.verdict != "accept" and not looks.advisory
    if is_sealed:
        decision, summary = seal(decision), {role: {"tokens_per_answer": None} for role in ROLES}
    found = {
        "feature": params.feature,
        "scorer": evaluated["scorer"],
        "chosen_arm": evaluated["chosen_arm"],
        "holdout_digest": evaluated.get("holdout_digest"),
        "verdict": decision.verdict,
        "reasons": list(decision.reasons),
        "sealed": is_sealed,
        "detectable": [
            {"disagreement": share, "gain": gain}
            for share, gain in plan(decision.facts["sessions"], decision.facts["alpha_spent"]).detectable.items()
        ],
        **{role: evaluated[role] | summary[role] for role in ROLES},
        **decision.facts,
    }
    write_json(data / "metrics" / "gate.json", found)
    write_report(data, feature)
    return found


def seal(decision: Decision) -> Decision:
    """What may leave a counted look that promoted nothing: that it did not, and no number of the holdout.

    Whoever learns more than one bit a look can tune to the holdout, and then the error that was promised does not hold
    (docs/decisions/0002). What can be known without any score - too few items, answers missing - is still told, and
    so is what the safety suites say, which are no part of the holdout.
    """
    facts = {key: value for key, value in decision.facts.items() if key not in SEALED}
    if decision.facts.get("undecidable"):
        return Decision("inconclusive", decision.reasons, facts)
    unsafe = [found["told"] for found in decision.facts["safety"].values() if found["at"] != "fine"]
    told = "The candidate was not shown to be better on the holdout, so it stays out."
    if unsafe:
        told = f"The candidate was not shown to be as safe, so it stays out. {' '.join(unsafe)}"
    sealed = "Its scores there stay sealed while the holdout is in use: who sees them can tune to them."
    return Decision("reject", (told, sealed, *decision.reasons[-1:] * (facts["looks"] > 1)), facts)


def _slices(rows: Sequence[Mapping[str, Any]]) -> dict[str, Paired]:
    kinds = by_kind(rows)
    return {"quality": paired(rows, "champion")} | {kind: paired(found, "champion") for kind, found in kinds.items()}


def _judged(table: Mapping[str, Sequence[Mapping[str, Any]]]) -> Judged | None:
    """The judge's pairs where the feature's quality is a judge's score; None where it is not."""
    champion = paired(table.get("quality", []), "champion")
    return None if champion.judged is None else Judged(champion, against_anchor(table))


def _paired_scores(
    evaluated: Mapping[str, Any], scores: Mapping[str, Scores], sessions: Mapping[str, str], judged: Judged | None
) -> PairedScores:
    champion_id, anchor_id, candidate_id = (str(evaluated[role]["release_id"]) for role in ROLES)
    return PairedScores(
        champion_id=champion_id,
        anchor_id=anchor_id,
        candidate_id=candidate_id,
        champion=scores["champion"],
        anchor=scores["anchor"],
        candidate=scores["candidate"],
        sessions=sessions,
        judged=judged,
    )


def _read_looks(path: Path) -> Looks:
    found = _read(path, 'it says {"advisory": true, "looks": 1} where nobody counts')
    try:
        return Looks(looks=int(found["looks"]), advisory=bool(found["advisory"]))
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f'{path}: must be {{"advisory": true or false, "looks": a whole number}}') from error


def _read(path: Path, advice: str) -> dict[str, Any]:
    if not path.is_file():
        raise BadInput(f"{path} is missing: {advice}")
    return dict(read_json(path))


def main() -> int:
    """Run the stage; every verdict is exit code 0, a bad input is one line on standard error."""
    try:
        die_with_parent()
        found = gate(load_params())
    except RatchetError as error:
        print(f"gate: {error}", file=sys.stderr)
        return error.exit_code
    print(f"gate: {found['verdict']}: {' '.join(found['reasons'])}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
