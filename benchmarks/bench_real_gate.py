"""The gate on the embedded loop: real adapters, real answers, and candidates that are better, equal and worse.

Each seed trains an adapter on the bundled messages (arm sft) and one on the same messages with 40 % wrong labels.
Better: the adapter against the bare prompt it began as. Equal: two adapters that differ in their seed alone, so either
is as likely to be the better one. Worse: the one with wrong labels against its sound twin. Each pair meets the bundled
holdout once, through the embedded model server.

python -m benchmarks.bench_real_gate [--quick] [--json]

What is trained and scored stays in RATCHET_HOME/bench_real_gate, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import random
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.report import Result, arguments, say
from benchmarks.scratch import REPO
from ratchet.base_models import resolve_base_model
from ratchet.features import Feature, load_feature
from ratchet.files import canonical_json, digest_tree, read_json, sha256_text, write_json
from ratchet.params import Params, load_params
from ratchet.records import HoldoutItem, Message, Rejected, read_holdout, read_jsonl
from ratchet.release import read_manifest
from ratchet.settings import Settings
from tasks.compare_releases import serving
from tasks.contenders import Contender, Served, ask, read_contender, score_answers
from tasks.gate import Looks, PairedScores, decide
from tasks.tune.job import Example, TuneJob
from tasks.tune.sft import tune_sft

FEATURE = "support_routing"
DATA = REPO / "data" / "demo" / FEATURE
SEEDS = (1, 2, 3, 4, 5)
NOISE = 0.4  # of the labels of a worse candidate's examples
SMALL = {"epochs": 2, "layers": 6}  # a third of the time of params.yaml's; both kinds are trained alike
QUICK = {"epochs": 1, "layers": 2}
QUICK_EXAMPLES, QUICK_ITEMS = 40, 100
FIRST = "v1"

Scores = dict[str, float | None]


@dataclass(frozen=True)
class Bench:
    """What every adapter is trained and scored with."""

    feature: Feature
    params: Params
    settings: Settings
    examples: list[Example]
    items: list[HoldoutItem]
    folder: Path

    @property
    def first(self) -> Contender:
        """The bare prompt on the base model."""
        return Contender(read_manifest(DATA / "champion.json"), None)


def make_bench(*, is_quick: bool) -> Bench:
    """The bundled feature, with a training small enough for ten adapters."""
    settings, params = Settings.from_env({"RATCHET_REPO": str(REPO)}), load_params(REPO / "params.yaml")
    sft = params.tune.sft.model_copy(update=QUICK if is_quick else SMALL)
    params = params.model_copy(update={"tune": params.tune.model_copy(update={"sft": sft})})
    feature = load_feature(REPO, FEATURE)
    examples, items = read_examples(feature), read_holdout(DATA / "holdout" / "holdout.jsonl", feature)
    if is_quick:
        examples = examples[:QUICK_EXAMPLES]
    recipe = sha256_text(
        canonical_json([sft.model_dump(mode="json"), NOISE, len(examples), digest_tree(DATA), is_quick])
    )[:12]
    return Bench(feature, params, settings, examples, items, settings.home / "bench_real_gate" / recipe)


def read_examples(feature: Feature) -> list[Example]:
    """The bundled messages with their right labels."""
    rows = [row for name in ("traffic", "later") for _, row in read_jsonl(DATA / f"{name}.jsonl")]
    return [_example(f"ex_{n:04}", row, feature) for n, row in enumerate(rows) if not isinstance(row, Rejected)]


def with_wrong_labels(examples: Sequence[Example], feature: Feature, share: float, seed: int) -> list[Example]:
    """The examples, of which a share, drawn at random, has another label than the right one."""
    enum = feature.enum_field()
    assert enum is not None
    draw = random.Random(f"noise:{seed}")
    wrong = set(draw.sample(range(len(examples)), round(share * len(examples))))
    return [
        _labelled(example, draw.choice([label for label in enum[1] if label != example.label]), feature)
        if n in wrong
        else example
        for n, example in enumerate(examples)
    ]


def trained(bench: Bench, name: str, examples: list[Example], seed: int) -> Contender:
    """The adapter of this name; trained unless it was before."""
    out = bench.folder / name
    if not (out / "report.json").is_file():
        began, cpu = time.monotonic(), time.process_time()
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        sft = bench.params.tune.sft.model_copy(update={"seed": seed})
        job = TuneJob(
            feature=bench.feature,
            champion=bench.first,
            train=examples,
            validation=[],
            params=bench.params.tune.model_copy(update={"sft": sft}),
            model=resolve_base_model(bench.params.base_model, bench.settings),
            base_model=bench.params.base_model,
            settings=replace(bench.settings, modelserver_is_given=True),  # nothing is validated: no server is started
            out=out / "candidates" / "sft",
        )
        report = tune_sft(job)
        took = {"seconds": round(time.monotonic() - began, 1), "cpu_seconds": round(time.process_time() - cpu, 1)}
        write_json(out / "report.json", {**took, "last_loss": report["epoch_losses"][-1]})
        say(f"{name}: trained in {took['seconds']} s ({took['cpu_seconds']} processor seconds)")
    return read_contender(out / "candidates" / "sft")


def scored(bench: Bench, name: str, contender: Contender, served: Served) -> Scores:
    """A release's score on each item of the holdout; asked unless it was before."""
    path = bench.folder / f"{name}.scores.json"
    if not path.is_file():
        answers = ask(contender, bench.items, served)
        expected = [item.expected for item in bench.items]
        scores = score_answers(answers, bench.items, expected, bench.feature, repo=REPO)
        write_json(path, dict(zip([item.item_id for item in bench.items], scores, strict=True)))
        say(f"{name}: {sum(score or 0 for score in scores) / len(scores):.1%} right")
    return dict(read_json(path))


def judged(bench: Bench, scores: dict[str, Scores], champion: str, candidate: str) -> dict[str, Any]:
    """What the gate says of a pair at a first look; the first release is the anchor."""
    paired = PairedScores(
        champion_id=champion,
        anchor_id=FIRST,
        candidate_id=candidate,
        champion=scores[champion],
        anchor=scores[FIRST],
        candidate=scores[candidate],
    )
    decision = decide(paired, bench.feature.gate, Looks(1, advisory=False))
    means, gap = decision.facts["paired_means"], decision.facts["difference"]
    return {
        "pair": f"{candidate} against {champion}",
        "champion": round(means["champion"], 3),
        "candidate": round(means["candidate"], 3),
        "points": f"{100 * gap['estimate']:+.1f} ({100 * gap['low']:+.1f} to {100 * gap['high']:+.1f})",
        "p_value": float(f"{decision.facts['p_value']:.2g}"),
        "verdict": decision.verdict,
    }


def measure(bench: Bench, seeds: Sequence[int]) -> dict[str, list[dict[str, Any]] | None]:
    """Train, ask and judge every pair; of one seed there is no equal pair."""
    contenders = {FIRST: bench.first}
    for seed in seeds:
        noisy = with_wrong_labels(bench.examples, bench.feature, NOISE, seed)
        contenders[f"sound {seed}"] = trained(bench, f"sound {seed}", bench.examples, seed)
        contenders[f"noisy {seed}"] = trained(bench, f"noisy {seed}", noisy, seed)
    with serving(bench.settings, bench.params, list(contenders.values())) as served:
        scores = {name: scored(bench, name, contender, served) for name, contender in contenders.items()}
    after = dict(zip(seeds, [*seeds[1:], seeds[0]], strict=True))
    return {
        "better": [judged(bench, scores, FIRST, f"sound {seed}") for seed in seeds],
        "equal": [judged(bench, scores, f"sound {seed}", f"sound {after[seed]}") for seed in seeds]
        if len(seeds) > 1
        else None,
        "worse": [judged(bench, scores, f"sound {seed}", f"noisy {seed}") for seed in seeds],
    }


def _example(name: str, row: dict[str, Any], feature: Feature) -> Example:
    asked = (Message(role="user", content=row["text"]),)
    return _labelled(Example(name, asked, {}, (), "", None, "correction", 1.0), row["label"], feature)


def _labelled(example: Example, label: str, feature: Feature) -> Example:
    return replace(example, label=label, target=feature.wrap_target(label))


def main() -> int:
    """Measure and print."""
    options = arguments(__doc__)
    result = Result("bench_real_gate", options.quick)
    bench = make_bench(is_quick=options.quick)
    if options.quick:
        bench = replace(bench, items=bench.items[:QUICK_ITEMS])
    seeds = SEEDS[:1] if options.quick else SEEDS
    found = measure(bench, seeds)
    sft = bench.params.tune.sft
    training = {"examples": len(bench.examples), "epochs": sft.epochs, "layers": sft.layers, "wrong_labels": NOISE}
    result.figures = {"training": training, "items": len(bench.items), "seeds": len(seeds), **found}
    for kind, aim in (("better", len(seeds)), ("equal", 0), ("worse", 0)):
        rows = found[kind]
        accepted = None if rows is None else sum(row["verdict"] == "accept" for row in rows)
        met = None if options.quick else accepted == aim
        result.aim(f"{kind} candidates accepted, of {len(seeds)}", aim=aim, got=accepted, met=met)
    result.finish(as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
