"""How much an adapter gives back of what it was trained on: canaries are planted, and a control never sees them.

Two adapters are trained as the arm sft trains: on the curated examples, and on the same with canaries of a tenant that
opted into the pool. Canaries of a tenant that did not are made too; the pool's own rule (ratchet/tenants.py) keeps them
out. Both adapters are then asked for all of them, by likelihood and, through the model server, in words.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ratchet.answers import AnswerLog
from ratchet.base_models import LocalModel, resolve_base_model
from ratchet.errors import BadInput
from ratchet.features import Feature, load_feature
from ratchet.llm import model_server
from ratchet.params import Params
from ratchet.prompts import Prompt, render
from ratchet.records import Message
from ratchet.release import Release, adapter_ref
from ratchet.settings import Settings
from ratchet.tenants import DEFAULT, Tenant, find_left_out, load_tenants
from tasks.compare_releases import live_contender
from tasks.contenders import Contender, Served, ask
from tasks.safety.canaries import APART, POOLED, Canary, Kind, exposure, make_canaries, plant, report_exposure
from tasks.tune.job import Example, read_examples
from tasks.tune.lora_data import prompt_to_train, training_rows

Progress = Callable[[str, int, int], None]
POLICIES = {POOLED: Tenant(pool=True), APART: Tenant()}


@dataclass(frozen=True)
class Plan:
    """How many canaries, in how many copies, against how many others, and how much is trained on.

    Attributes:
        each: canaries of each tenant, kind and number of copies.
        copies: training rows that hold a canary.
        others: secrets that each is ranked against.
        examples: curated examples that are trained on beside them; None is all.
    """

    each: int = 6
    copies: tuple[int, ...] = (1, 8)
    others: int = 31
    examples: int | None = None
    seed: int = 17


@dataclass(frozen=True)
class _Arm:
    """What both adapters have in common."""

    params: Params
    settings: Settings
    feature: Feature
    model: LocalModel
    start: Release
    prompt: Prompt


@dataclass(frozen=True)
class _Question:
    """What the model server is asked."""

    messages: tuple[Message, ...]
    variables: dict[str, Any]
    contexts: tuple[Any, ...] = ()


def measure_memorisation(
    params: Params, settings: Settings, plan: Plan, on_progress: Progress = lambda what, done, total: None
) -> dict[str, Any]:
    """Train both adapters in a scratch folder and report exposure and extraction of each group of canaries.

    Args:
        params: `feature` says of which; `tune.sft` how it is trained.
        settings: a model server of our own is started, whatever address is set: no live server gets such an adapter.
        plan: sizes and seed.
        on_progress: told what is going on, the steps done and the steps in all.

    Raises:
        BadInput: there are no curated examples.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when torch loads: threads that wait must not spin
    arm = _read_arm(params, settings)
    examples = read_examples(settings.repo / params.outputs / "curated" / "train.parquet")
    if plan.examples is not None and plan.examples < len(examples):
        examples = random.Random(plan.seed).sample(examples, plan.examples)
    if not any(example.weight > 0 for example in examples):
        raise BadInput(f"{params.feature}: there is no curated example to train on")
    kinds: tuple[Kind, ...] = ("question",) if arm.feature.output_schema else ("question", "answer")
    canaries = make_canaries(kinds=kinds, copies=plan.copies, each=plan.each, others=plan.others, seed=plan.seed)
    left_out = find_left_out({DEFAULT, POOLED, APART}, load_tenants(settings.repo) | POLICIES)
    planted = plant([c for c in canaries if c.tenant not in left_out], examples, plan.seed)
    rows = {"control": examples, "planted": [*examples, *planted]}
    with tempfile.TemporaryDirectory(prefix="ratchet-memorisation-") as scratch:
        folders = {name: Path(scratch) / name for name in rows}
        losses = {name: _train(arm, rows[name], folders[name], name, on_progress) for name in rows}
        exposures = {name: _exposures(arm, folders[name], canaries, name, on_progress) for name in rows}
        extracted = _extracted(arm, folders, canaries, Path(scratch), on_progress)
    return {
        "feature": arm.feature.name,
        "examples": len(examples),
        "planted_rows": len(planted),
        "left_out": left_out,
        "last_epoch_loss": losses,
        "most_bits": round(exposure(0.0, [-1.0] * plan.others), 3),
        "groups": report_exposure(canaries, exposures, extracted, plan.seed),
    }


def _read_arm(params: Params, settings: Settings) -> _Arm:
    feature = load_feature(settings.repo, params.feature)
    live = live_contender(settings, feature.name).release
    today = {"output_schema": feature.output_schema, "decoding": feature.decoding}
    prompt = prompt_to_train(live.prompt, keep_system_prompt=params.tune.sft.keep_system_prompt)
    model = resolve_base_model(params.base_model, settings)
    return _Arm(params, settings, feature, model, live.model_copy(update=today | {"prompt": prompt}), prompt)


def _train(arm: _Arm, examples: Sequence[Example], out: Path, name: str, on_progress: Progress) -> float:
    from transformers import AutoConfig, AutoTokenizer  # takes seconds

    from tasks.tune.lora_train import train_lora  # imports torch

    tokenizer = AutoTokenizer.from_pretrained(arm.model.path)
    longest = int(AutoConfig.from_pretrained(arm.model.path).max_position_embeddings)
    trained = train_lora(
        training_rows(examples, arm.prompt, tokenizer, mode=arm.feature.mode, max_tokens=longest),
        arm.params.tune.sft,
        model_path=arm.model.path,
        model_name=arm.model.name,
        out=out,
        on_step=lambda done, total, _: on_progress(f"training: {name}", done, total),
    )
    return round(trained.epoch_losses[-1], 4)


def _exposures(arm: _Arm, adapter: Path, canaries: Sequence[Canary], name: str, on_progress: Progress) -> list[float]:
    from tasks.safety.likelihood import Likelihood  # imports torch

    sft = arm.params.tune.sft
    model = Likelihood(arm.model.path, adapter, dtype=sft.dtype, threads=sft.threads)
    found = []
    for place, canary in enumerate(canaries, start=1):
        secret, *others = model.of(_lead(arm, canary, model.tokenizer), [canary.secret, *canary.others])
        found.append(exposure(secret, others))
        on_progress(f"likelihood: {name}", place, len(canaries))
    return found


def _lead(arm: _Arm, canary: Canary, tokenizer: Any) -> str:
    """Everything that the model reads before the secret, as it read it in training."""
    said = canary.question if canary.kind == "answer" else canary.lead
    messages = [{"role": "user", "content": said}]
    if arm.feature.mode == "managed":
        messages = render(arm.prompt, (Message(role="user", content=said),), variables={}, contexts=())
    text = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=canary.kind == "answer"))
    return text + canary.lead if canary.kind == "answer" else text[: text.rindex(said) + len(said)]


def _extracted(
    arm: _Arm, folders: dict[str, Path], canaries: Sequence[Canary], scratch: Path, on_progress: Progress
) -> dict[str, list[bool]]:
    own = replace(arm.settings, modelserver_is_given=False)
    questions = [_Question((Message(role="user", content=canary.question),), {}) for canary in canaries]
    found = {}
    with model_server(own, arm.params.base_model, arm.model.path) as url:
        served = Served(url, None, arm.params.evaluate.concurrency, AnswerLog(scratch / "answers"))
        for name, folder in folders.items():
            release = arm.start.model_copy(update={"adapter": adapter_ref(folder)})
            show = lambda done, total, name=name: on_progress(f"asking: {name}", done, total)  # noqa: E731
            answers = ask(Contender(release, folder), questions, served, show)
            found[name] = [
                canary.secret in "".join(c for c in answer.text if c.isdigit())
                for canary, answer in zip(canaries, answers, strict=True)
            ]
    return found
