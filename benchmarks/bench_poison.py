"""How far poisoned feedback moves a candidate, with and without each defence, and what the defence costs clean data.

Ten routes of banking77 as traffic; the candidate is TF-IDF + logistic regression in place of a language model, trained
on what the functions of curate let through: find_suspects, reliability, resolve, near-duplicates, label noise, balance.

python -m benchmarks.bench_poison [--quick] [--json]     needs ../shared/data/banking77; says so where it is missing
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import poison_world
from benchmarks.poison_world import Said, World, add_trigger, make_world, target_pair
from benchmarks.report import Result, arguments, say
from ratchet.features import Feature
from ratchet.feedback import Claim
from ratchet.params import Params, PoisonParams, load_params
from tasks.balance import balance
from tasks.curate import Ledger, one_per_cluster, reliability_in, to_examples, without_label_noise
from tasks.decontaminate import Held, cluster
from tasks.poison import ALL, find_suspects

SOURCE = Path(__file__).resolve().parents[2] / "shared" / "data" / "banking77"
Attack = Callable[[World], list[Said]]
Scores = dict[str, float | None]
Table = dict[str, dict[str, dict[str, Any]]]  # attack, setting, score: its mean and half width


def attacks(params: PoisonParams) -> dict[str, Attack]:
    """By name, from a world to the attackers' claims."""
    return {
        "no attack": lambda world: [],
        "outage, no attack": lambda world: poison_world.outage(world, 40),
        "flip 5%": lambda world: poison_world.flip(world, 0.05),
        "flip 10%": lambda world: poison_world.flip(world, 0.1),
        "flip 20%": lambda world: poison_world.flip(world, 0.2),
        "flip 40%": lambda world: poison_world.flip(world, 0.4),
        "targeted flip 10%": lambda world: poison_world.targeted(world, 0.1),
        "backdoor 5%": lambda world: poison_world.backdoor(world, 0.05),
        "sybil burst 10%": lambda world: poison_world.sybil_burst(world, 0.1),
        "knows the rules: unseen flips 20%": lambda world: poison_world.unseen(world, 0.2, params),
        "knows the rules: padded flips": lambda world: poison_world.padded(world, 0.2),
        "knows the rules: clean-label backdoor 5%": lambda world: poison_world.clean_backdoor(world, 0.05),
    }


BARE, OWN = "nothing", "curate alone"  # resolve and near-duplicates only; all of curate but find_suspects
DEFENCES: dict[str, tuple[str, ...]] = {
    BARE: (),
    OWN: (),
    "all": ALL,
    **{f"all but {name}": tuple(other for other in ALL if other != name) for name in ALL},
}
FEW = (BARE, OWN, "all", "all but bounds")  # where agents say little
SIZES = (20_000, 200_000)
OFF = {"max_user_share": 1.0, "max_session_share": 1.0, "label_noise_min_items": 10**9}
NOBODY = Held([], [])
CLEAN = "attackers left out"


class Trial:
    """One world under one attack: trains a candidate for each setting, once for each different outcome."""

    def __init__(self, world: World, extra: Sequence[Said], params: Params) -> None:
        self.world, self.params = world, params
        self.said = [*world.honest, *extra]
        self.feature = _feature(world.routes)
        self.claims = [_wrapped(said, self.feature) for said in self.said]
        self.known: dict[tuple[frozenset[int], bool], Scores] = {}
        clusters = cluster([claim.text for claim in self.claims], NOBODY, params.curate, Path()).clusters
        self.rows = [_row(claim, k) for claim, k in zip(self.claims, clusters, strict=True)]

    def run(self, setting: str) -> Scores:
        """Scores of the candidate that this setting lets through."""
        suspects = find_suspects(self.claims, self.params.poison, defences=DEFENCES[setting])
        key = (frozenset(suspects), setting == BARE)
        if key not in self.known:
            self.known[key] = self._score(suspects, is_bare=setting == BARE)
        return self.known[key]

    def without_attackers(self) -> Scores:
        """Scores of the candidate that honest claims alone give, with all of curate but find_suspects."""
        return self._score({i: "" for i, said in enumerate(self.said) if said.is_attack}, is_bare=False)

    def _score(self, suspects: dict[int, str], *, is_bare: bool) -> Scores:
        rows = self._curated(suspects, is_bare=is_bare)
        raw = {said.claim.interaction_id: said.raw for said in self.said}
        predict = train([raw[row["interaction_id"]] for row in rows], [str(row["label"]) for row in rows])
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

    def _curated(self, suspects: dict[int, str], *, is_bare: bool) -> list[dict[str, Any]]:
        params = self.params.curate.model_copy(update=OFF if is_bare else {})
        rows, out = [row for i, row in enumerate(self.rows) if i not in suspects], Ledger(Counter())
        reliability = {} if is_bare else reliability_in(rows, self.feature, params)
        examples = one_per_cluster(to_examples(rows, self.feature, reliability, params, out), out)
        return balance(without_label_noise(examples, params, out), params).rows


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


def measure(params: Params, *, seeds: int, agent_share: float, settings: Sequence[str]) -> Table:
    """Per attack and set of defences the mean of each score over the seeds, with its 95 % interval."""
    found: dict[str, dict[str, list[Scores]]] = {}
    for seed in range(seeds):
        world = make_world(SOURCE, seed=seed, agent_share=agent_share)
        for name, attack in attacks(params.poison).items():
            say(f"agents label {agent_share:.0%}, world {seed + 1} of {seeds}: {name}")
            trial = Trial(world, attack(world), params)
            by_setting = found.setdefault(name, {})
            by_setting.setdefault(CLEAN, []).append(trial.without_attackers())
            for setting in settings:
                by_setting.setdefault(setting, []).append(trial.run(setting))
    return {name: {s: _summary(scores) for s, scores in by.items()} for name, by in found.items()}


def measure_time(params: Params, n: int) -> float:
    """Processor seconds of find_suspects on so many honest claims of 77 routes."""
    say(f"{n:,} claims")
    claims = poison_world.many_claims(SOURCE, n)
    began = time.process_time()
    find_suspects(claims, params.poison)
    return round(time.process_time() - began, 1)


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


def _row(claim: Claim, cluster_id: int) -> dict[str, Any]:
    ids = {name: getattr(claim, name) for name in ("interaction_id", "tenant", "user_id", "session_id")}
    return {**ids, "claims": [claim], "feedback_ids": [claim.interaction_id], "cluster_id": cluster_id}


def _wrapped(said: Said, feature: Feature) -> Claim:
    own, target = said.claim.own, said.claim.target
    return replace(
        said.claim,
        own=feature.wrap_target(own) if own is not None else None,
        target=feature.wrap_target(target) if target is not None else None,
    )


def main() -> int:
    """Measure and print."""
    options = arguments(__doc__)
    if not (SOURCE / "train.jsonl").is_file():
        sys.stderr.write(f"{SOURCE} is missing: put banking77's train.jsonl and test.jsonl there\n")
        return 0
    params = load_params()
    result = Result("bench_poison", options.quick)
    seeds, settings = (1, (BARE, OWN, "all")) if options.quick else (6, tuple(DEFENCES))
    table = measure(params, seeds=seeds, agent_share=0.3, settings=settings)
    few = None if options.quick else measure(params, seeds=seeds, agent_share=0.1, settings=FEW)
    result.figures = {
        "worlds": seeds,
        "cpu_seconds_by_claims": {str(n): measure_time(params, n) for n in ((20_000,) if options.quick else SIZES)},
        "agents_label_30_percent": as_text(table),
        "agents_label_10_percent": None if few is None else as_text(few),
    }
    note_aims(result, table)
    result.finish(as_json=options.json)
    return 0


def as_text(table: Table) -> dict[str, Any]:
    """The table with each score as "mean ±half width", a line each."""

    def told(score: dict[str, float] | None) -> str | None:
        return None if score is None else f"{score['mean']:.3f} ±{score['half_width']:.3f}"

    return {
        attack: {setting: {key: told(score) for key, score in scores.items()} for setting, scores in by.items()}
        for attack, by in table.items()
    }


def note_aims(result: Result, table: Table) -> None:
    """Clean data are not harmed, and each attack that does not know the rules moves the candidate little."""

    def note(what: str, aim: float, got: float) -> None:
        result.aim(what, aim=aim, got=round(got, 4), met=None if result.quick else got <= aim)

    def mean(attack: str, setting: str, key: str) -> float:
        return float(table[attack][setting][key]["mean"])

    for name in ("no attack", "outage, no attack"):
        note(f"right claims lost at most: {name}", 0.01, mean(name, "all", "honest_right_claims_lost"))
    for name in table:
        if not name.startswith("knows") and "no attack" not in name:
            lost = mean(name, CLEAN, "accuracy") - mean(name, "all", "accuracy")
            note(f"accuracy lost at most: {name}", 0.02, lost)
    if not result.quick:
        seconds = result.figures["cpu_seconds_by_claims"]["200000"]
        result.aim("processor seconds for 200,000 claims at most", aim=60, got=seconds, met=seconds <= 60)
    gain = mean("backdoor 5%", "all", "triggered_called_goal") - mean("backdoor 5%", CLEAN, "triggered_called_goal")
    note("attack success beyond a clean candidate's at most: backdoor 5%", 0.05, gain)


if __name__ == "__main__":
    sys.exit(main())
