"""How far poisoned feedback moves a candidate, with and without each defence, and what the defence costs clean data.

Ten routes of banking77 as traffic; the candidate is TF-IDF + logistic regression in place of a language model, trained
on what claims -> find_suspects -> resolve -> near-duplicates -> balance let through.

python -m benchmarks.bench_poison [--quick] [--json]     needs ../shared/data/banking77; says so where it is missing
"""

from __future__ import annotations

import json
import random
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks import poison_world
from benchmarks.poison_world import Said, World, add_trigger, make_world, target_pair
from benchmarks.report import Result, arguments, say
from ratchet.examples import Example, resolve
from ratchet.features import Feature
from ratchet.params import CurateParams, Params, PoisonParams, load_params
from tasks.balance import balance
from tasks.curate import one_per_cluster
from tasks.poison import ALL, find_suspects

SOURCE = Path(__file__).resolve().parents[2] / "shared" / "data" / "banking77"
Attack = Callable[[World], list[Said]]
Scores = dict[str, float | None]


def attacks(params: PoisonParams) -> dict[str, Attack]:
    """By name, from a world to the attackers' claims."""
    return {
        "no attack": lambda world: [],
        "outage, no attack": lambda world: poison_world.outage(world, 40),
        **{
            f"flip {share:.0%}": (lambda world, s=share: poison_world.flip(world, s)) for share in (0.05, 0.1, 0.2, 0.4)
        },
        "targeted flip 10%": lambda world: poison_world.targeted(world, 0.1),
        "targeted flip 20%": lambda world: poison_world.targeted(world, 0.2),
        "backdoor 5%": lambda world: poison_world.backdoor(world, 0.05),
        "sybil burst 10%": lambda world: poison_world.sybil_burst(world, 0.1),
        "knows the rules: unseen flips 20%": lambda world: poison_world.unseen(world, 0.2, params),
        "knows the rules: padded flips": lambda world: poison_world.padded(world, 0.2),
        "knows the rules: clean-label backdoor 5%": lambda world: poison_world.clean_backdoor(world, 0.05),
    }


DEFENCES: dict[str, tuple[str, ...]] = {
    "none": (),
    "all": ALL,
    **{f"all but {name}": tuple(other for other in ALL if other != name) for name in ALL},
}


class Trial:
    """One world under one attack: trains a candidate for each set of defences, once for each different outcome."""

    def __init__(self, world: World, extra: Sequence[Said], params: Params) -> None:
        self.world, self.params = world, params
        self.said = [*world.honest, *extra]
        self.claims = [said.claim for said in self.said]
        self.feature = _feature(world.routes)
        self.known: dict[tuple[frozenset[int], bool], Scores] = {}

    def run(self, defences: Sequence[str], *, is_bounded: bool = True) -> Scores:
        """Scores of the candidate that these defences let through; `is_bounded` False: nor is one user's share."""
        suspects = find_suspects(self.claims, self.params.poison, defences=defences) if defences else {}
        key = (frozenset(suspects), is_bounded)
        if key not in self.known:
            self.known[key] = self._score(suspects, is_bounded=is_bounded)
        return self.known[key]

    def without_attackers(self) -> Scores:
        """Scores of the candidate that honest claims alone give."""
        return self._score({i: "" for i, said in enumerate(self.said) if said.is_attack}, is_bounded=True)

    def _score(self, suspects: dict[int, str], *, is_bounded: bool) -> Scores:
        rows = self._curated(suspects, self.params.curate, is_bounded=is_bounded)
        predict = train([json.loads(row["messages"])[0]["content"] for row in rows], [str(r["label"]) for r in rows])
        victim, goal = target_pair(self.world)
        test, draw = self.world.test, random.Random(self.world.seed)
        said = predict([text for text, _ in test])
        of_victim = [p for p, (_, truth) in zip(said, test, strict=True) if truth == victim]
        triggered = predict([add_trigger(text, draw) for text, truth in test if truth != goal])
        honest = [i for i, s in enumerate(self.said) if not s.is_attack and _is_strangers(s)]
        right = [i for i in honest if self.said[i].claim.target == self.said[i].truth]
        hostile = [i for i, s in enumerate(self.said) if s.is_attack]
        return {
            "accuracy": sum(p == truth for p, (_, truth) in zip(said, test, strict=True)) / len(test),
            "accuracy_on_victim": of_victim.count(victim) / len(of_victim),
            "victim_called_goal": of_victim.count(goal) / len(of_victim),
            "triggered_called_goal": triggered.count(goal) / len(triggered),
            "examples": float(len(rows)),
            "honest_right_claims_lost": sum(i in suspects for i in right) / len(right),
            "attack_claims_stopped": sum(i in suspects for i in hostile) / len(hostile) if hostile else None,
        }

    def _curated(self, suspects: dict[int, str], params: CurateParams, *, is_bounded: bool) -> list[dict[str, Any]]:
        examples = []
        for i, said in enumerate(self.said):
            found = (
                resolve(_row(said, self.feature), [_wrapped(said, self.feature)], self.feature)
                if i not in suspects
                else None
            )
            if isinstance(found, Example):
                examples.append({**asdict(found), "feedback_at": found.feedback_at.isoformat()})
        kept = one_per_cluster(examples, params, Counter())
        share = params.max_user_share if is_bounded else 1.0
        return balance(kept, rehearsal_share=params.rehearsal_share, user_share=share, seed=params.seed).rows


def train(texts: Sequence[str], labels: Sequence[str]) -> Callable[[Sequence[str]], list[str]]:
    """The stand-in for a candidate: TF-IDF of words and pairs of words + logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    each = OneVsRestClassifier(LogisticRegression(C=10, solver="liblinear"))  # lbfgs takes 20 times as long here
    model = make_pipeline(words, each).fit(texts, labels)
    return lambda asked: [str(label) for label in model.predict(list(asked))]


def measure(params: Params, *, seeds: int, agent_share: float, settings: Sequence[str]) -> dict[str, Any]:
    """Per attack and set of defences the mean of each score over the seeds, with its 95 % interval."""
    found: dict[str, dict[str, list[Scores]]] = {}
    for seed in range(seeds):
        world = make_world(SOURCE, seed=seed, agent_share=agent_share)
        for name, attack in attacks(params.poison).items():
            say(f"agents label {agent_share:.0%}, world {seed + 1} of {seeds}: {name}")
            trial = Trial(world, attack(world), params)
            by_setting = found.setdefault(name, {})
            by_setting.setdefault("attackers left out", []).append(trial.without_attackers())
            for setting in settings:
                scores = trial.run(DEFENCES[setting], is_bounded=setting != "none")
                by_setting.setdefault(setting, []).append(scores)
    return {name: {s: _summary(scores) for s, scores in by.items()} for name, by in found.items()}


def _summary(runs: Sequence[Scores]) -> dict[str, Any]:
    return {key: _interval([run[key] for run in runs]) for key in runs[0]}


def _interval(values: Sequence[float | None]) -> dict[str, float] | None:
    """Mean and the half width of its 95 % t-interval; None where it does not apply."""
    from scipy.stats import t

    known = [value for value in values if value is not None]
    if not known:
        return None
    half = 0.0
    if len(known) > 1:
        half = float(t.ppf(0.975, len(known) - 1)) * statistics.stdev(known) / len(known) ** 0.5
    return {"mean": round(statistics.fmean(known), 4), "half_width": round(half, 4)}


def _is_strangers(said: Said) -> bool:
    return said.claim.source_type != "agent" and said.claim.target is not None


def _feature(routes: Sequence[str]) -> Feature:
    schema = {"type": "object", "properties": {"route": {"type": "string", "enum": list(routes)}}}
    fields = {"name": "poison", "intent": "route", "owners": ["bench"], "scorer": "label_accuracy"}
    return Feature.model_validate({**fields, "output_schema": schema})


def _row(said: Said, feature: Feature) -> dict[str, Any]:
    claim = said.claim
    return {
        "interaction_id": claim.interaction_id,
        "tenant": claim.tenant,
        "user_id": claim.user_id,
        "session_id": claim.session_id,
        "messages": json.dumps([{"role": "user", "content": said.raw}]),
        "variables": "{}",
        "contexts": "[]",
        "output": feature.wrap_target(claim.own),
        "consent": None,
        "fallback": False,
    }


def _wrapped(said: Said, feature: Feature) -> Any:
    claim = said.claim
    return replace(
        claim,
        own=feature.wrap_target(claim.own),
        target=feature.wrap_target(claim.target) if claim.target is not None else None,
    )


def main() -> int:
    """Measure and print."""
    options = arguments(__doc__)
    if not (SOURCE / "train.jsonl").is_file():
        sys.stderr.write(f"{SOURCE} is missing: put banking77's train.jsonl and test.jsonl there\n")
        return 0
    params = load_params()
    result = Result("bench_poison", options.quick)
    seeds, settings = (1, ("none", "all")) if options.quick else (5, tuple(DEFENCES))
    result.figures = {
        "agents_label_30_percent": measure(params, seeds=seeds, agent_share=0.3, settings=settings),
        "agents_label_10_percent": None
        if options.quick
        else measure(params, seeds=seeds, agent_share=0.1, settings=("none", "all", "all but bounds")),
    }
    note_aims(result)
    result.finish(as_json=options.json)
    return 0


def note_aims(result: Result) -> None:
    """Clean data are not harmed, and each attack that does not know the rules moves the candidate little."""
    main_table, is_full = result.figures["agents_label_30_percent"], not result.quick

    def note(what: str, aim: float, got: float) -> None:
        result.aim(what, aim=aim, got=round(got, 4), met=got <= aim if is_full else None)

    def mean(attack: str, setting: str, key: str) -> float:
        return float(main_table[attack][setting][key]["mean"])

    for name in ("no attack", "outage, no attack"):
        note(f"right claims lost at most: {name}", 0.01, mean(name, "all", "honest_right_claims_lost"))
    for name in main_table:
        if not name.startswith("knows") and "no attack" not in name:
            lost = mean(name, "attackers left out", "accuracy") - mean(name, "all", "accuracy")
            note(f"accuracy lost at most: {name}", 0.02, lost)
    key = "triggered_called_goal"
    gain = mean("backdoor 5%", "all", key) - mean("backdoor 5%", "attackers left out", key)
    note("attack success beyond a clean candidate's at most: backdoor 5%", 0.05, gain)


if __name__ == "__main__":
    sys.exit(main())
