"""Arm sft: supervised fine-tuning of a LoRA adapter on the right outputs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ratchet.answers import answer_log
from ratchet.errors import BadInput
from ratchet.llm import model_server
from ratchet.progress import ProgressLine
from ratchet.prompts import Prompt
from ratchet.release import adapter_ref
from tasks.contenders import Contender, Served, write_contender
from tasks.tune.job import TuneJob
from tasks.tune.lora_data import TrainingRow, prompt_to_train, training_rows
from tasks.tune.validation import keep_scores, note_latency, report_of, validate_release

if TYPE_CHECKING:
    from tasks.tune.lora_train import TrainReport


def tune_sft(job: TuneJob) -> dict[str, Any]:
    """Train on every example, write the candidate, validate it beside the champion, return the report."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when torch loads: threads that wait must not spin
    params = job.params.sft
    prompt = prompt_to_train(job.champion.release.prompt, keep_system_prompt=params.keep_system_prompt)
    rows = _rows(job, prompt)
    trained = _train(job, rows)
    adapter = job.out / "adapter"
    release = job.start.release.model_copy(update={"prompt": prompt, "adapter": adapter_ref(adapter)})
    contender = Contender(release, adapter)
    write_contender(job.out, contender)
    with model_server(job.settings, job.base_model, job.model.path) as url:
        served = Served(url, job.settings.modelserver_key, job.params.concurrency, answer_log(job.settings))
        champion = validate_release(job, job.champion, job.validation, served, "champion")
        candidate = validate_release(job, contender, job.validation, served, "trained")
    note_latency(job, "sft", candidate, champion)
    keep_scores(job, candidate, champion)
    return report_of(
        job,
        "sft",
        candidate,
        champion,
        rows=len(rows),
        rows_set_aside=len(job.train) - len(rows),
        steps=trained.steps,
        epoch_losses=[round(loss, 6) for loss in trained.epoch_losses],
        trained_parameters=trained.trained_parameters,
        candidate_equals_champion=False,
    )


def skip_reason(job: TuneJob) -> str | None:
    """Why there is nothing to train; None where there is."""
    if not job.validation:
        return "no validation examples"
    return None if any(example.weight > 0 for example in job.train) else "no usable examples"


def _rows(job: TuneJob, prompt: Prompt) -> list[TrainingRow]:
    from transformers import AutoConfig, AutoTokenizer  # takes seconds, and the other arms do without

    tokenizer = AutoTokenizer.from_pretrained(job.model.path)
    longest = int(AutoConfig.from_pretrained(job.model.path).max_position_embeddings)
    rows = training_rows(job.train, prompt, tokenizer, mode=job.feature.mode, max_tokens=longest)
    if not rows:
        raise BadInput(f"every training example is longer than the {longest} tokens that {job.model.name} can read")
    return rows


def _train(job: TuneJob, rows: list[TrainingRow]) -> TrainReport:
    from tasks.tune.lora_train import train_lora  # imports torch

    line = ProgressLine(f"training on {len(rows)} examples")
    return train_lora(
        rows,
        job.params.sft,
        model_path=job.model.path,
        model_name=job.model.name,
        out=job.out / "adapter",
        on_step=lambda done, total, loss: line.show(done, total, f"loss {loss:.3f}"),
    )
