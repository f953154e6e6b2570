"""LoRA training by peft with a small loop of its own: little padding, and logits only where a label stands.

Same rows, parameters and kind of machine give the same bytes. Weights are saved as safetensors only.
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from ratchet.files import write_json, write_whole
from ratchet.params import SftParams
from tasks.tune.lora_data import TrainingRow, batch_rows

WARMUP_SHARE = 0.05
MAX_GRADIENT_NORM = 1.0


@dataclass(frozen=True)
class TrainReport:
    """What a training did: steps taken and the mean loss of each epoch (nats per target token, weighted)."""

    steps: int
    epoch_losses: tuple[float, ...]
    trained_parameters: int


def train_lora(
    rows: Sequence[TrainingRow],
    params: SftParams,
    *,
    model_path: str,
    model_name: str,
    out: Path,
    on_step: Callable[[int, int, float], None] = lambda done, total, loss: None,
) -> TrainReport:
    """Train an adapter on at least one row and write it to `out` (adapter_config.json, adapter_model.safetensors).

    Args:
        rows: prompts and targets as token ids.
        params: the section tune.sft of params.yaml.
        model_path: the base model's folder.
        model_name: the name it is served under; all that the adapter says about where it came from.
        out: the adapter's folder.
        on_step: told the steps done, the steps in all and the last loss.
    """
    torch.set_num_threads(params.threads)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(params.seed)
    model, config = _with_lora(model_path, params)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=params.learning_rate, weight_decay=0.0)
    rng = random.Random(params.seed)
    epochs = [batch_rows(rows, params.batch_size, rng) for _ in range(params.epochs)]
    steps = sum(len(batches) for batches in epochs)
    done, losses = 0, []
    model.train()
    for batches in epochs:
        lost = 0.0
        for batch in batches:
            for group in optimiser.param_groups:
                group["lr"] = params.learning_rate * rate_at(done, steps)
            loss = _step(model, batch, trained, optimiser)
            done, lost = done + 1, lost + loss
            on_step(done, steps, loss)
        losses.append(lost / len(batches))
    _save(model, config, model_name, out)
    return TrainReport(done, tuple(losses), sum(p.numel() for p in trained))


def rate_at(step: int, steps: int) -> float:
    """The share of the learning rate at a step: a short linear warm-up, then half a cosine down to 0."""
    warm = max(1, round(steps * WARMUP_SHARE))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def target_loss(model: Any, batch: Sequence[TrainingRow]) -> torch.Tensor:
    """Weighted mean cross-entropy over the target tokens (nats per token).

    The output layer, the widest of a small model, runs on the positions before a target token only.
    """
    width = max(len(row) for row in batch)
    ids = torch.zeros((len(batch), width), dtype=torch.long)
    is_read = torch.zeros((len(batch), width), dtype=torch.long)
    weights = torch.zeros((len(batch), width))
    for i, row in enumerate(batch):
        ids[i, : len(row)] = torch.tensor(row.prompt + row.target)
        is_read[i, : len(row)] = 1
        weights[i, len(row.prompt) - 1 : len(row) - 1] = row.weight
    ids, is_read, weights = (tensor.to(model.device) for tensor in (ids, is_read, weights))
    chosen = weights > 0
    causal = model.get_base_model()
    hidden = causal.base_model(input_ids=ids, attention_mask=is_read, use_cache=False).last_hidden_state
    logits = causal.get_output_embeddings()(hidden[chosen]).float()
    wanted = ids.roll(-1, dims=1)[chosen]
    losses = torch.nn.functional.cross_entropy(logits, wanted, reduction="none")
    return (losses * weights[chosen]).sum() / chosen.sum()


def _step(model: Any, batch: Sequence[TrainingRow], trained: list[Any], optimiser: torch.optim.Optimizer) -> float:
    loss = target_loss(model, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(trained, MAX_GRADIENT_NORM)
    optimiser.step()
    optimiser.zero_grad()
    return float(loss.detach())


def _with_lora(model_path: str, params: SftParams) -> tuple[Any, LoraConfig]:
    """The base model in the asked precision with fp32 LoRA weights on all linear layers of the last n blocks."""
    disable_progress_bar()
    base = AutoModelForCausalLM.from_pretrained(model_path, dtype=getattr(torch, params.dtype), use_safetensors=True)
    blocks = base.config.num_hidden_layers
    first = max(0, blocks - params.layers) if params.layers else 0
    config = LoraConfig(
        r=params.rank,
        lora_alpha=params.alpha,
        lora_dropout=0.0,
        target_modules=_linear_names(base),
        layers_to_transform=list(range(first, blocks)) if first else None,
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():  # peft 0.21 reads a name that transformers 5.23 has changed
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        return get_peft_model(base, config), config


def _linear_names(base: Any) -> list[str]:
    """What the linear layers of a block are called; peft's own `all-linear` cannot be limited to some blocks."""
    head = base.get_output_embeddings()
    linear = [
        name for name, module in base.named_modules() if isinstance(module, torch.nn.Linear) and module is not head
    ]
    return sorted({name.rsplit(".", 1)[-1] for name in linear})


def _save(model: Any, config: LoraConfig, model_name: str, out: Path) -> None:
    """Write the two files of an adapter: sorted names, no times, no paths of this machine."""
    weights = {
        name: tensor.detach().to("cpu", torch.float32).contiguous()
        for name, tensor in sorted(get_peft_model_state_dict(model).items())
    }
    described = {k: sorted(v) if isinstance(v, set) else v for k, v in config.to_dict().items()}
    described |= {"base_model_name_or_path": model_name, "inference_mode": True}
    write_json(out / "adapter_config.json", described)
    write_whole(out / "adapter_model.safetensors", save(weights, metadata={"format": "pt"}))
