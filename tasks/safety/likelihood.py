"""Log-likelihood of texts behind one beginning, under a base model with an adapter."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

BATCH = 64


class Likelihood:
    """A base model with an adapter in memory."""

    def __init__(self, model_path: str, adapter: Path, *, dtype: str, threads: int) -> None:
        """Load both; `adapter` is a folder as tasks/tune writes it."""
        disable_progress_bar()
        torch.set_num_threads(threads)
        base = AutoModelForCausalLM.from_pretrained(model_path, dtype=getattr(torch, dtype), use_safetensors=True)
        with warnings.catch_warnings():  # peft 0.21 reads a name that transformers 5.23 has changed
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
            self.model: Any = PeftModel.from_pretrained(base, adapter).eval()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(model_path)

    def of(self, lead: str, endings: Sequence[str]) -> list[float]:
        """The log-likelihood (nats) of each ending behind the lead, in order.

        What all have in common is read once; the rest is read in batches behind it.
        """
        rows = [self.tokenizer(lead + ending, add_special_tokens=False)["input_ids"] for ending in endings]
        differs = (len(set(column)) > 1 for column in zip(*rows, strict=False))
        shared = max(1, next((at for at, does in enumerate(differs) if does), min(map(len, rows)) - 1))
        found: list[float] = []
        with torch.inference_mode():
            for start in range(0, len(rows), BATCH):
                found += self._batch(rows[start : start + BATCH], shared)
        return found

    def _batch(self, rows: Sequence[Sequence[int]], shared: int) -> list[float]:
        read = self.model(torch.tensor([rows[0][:shared]]), use_cache=True)
        cache = read.past_key_values
        cache.batch_repeat_interleave(len(rows))
        width = max(map(len, rows)) - shared
        ids = torch.tensor([[*row[shared:], *[0] * (width + shared - len(row))] for row in rows])
        is_read = torch.tensor([[1] * len(row) + [0] * (width + shared - len(row)) for row in rows])
        logits = self.model(ids, attention_mask=is_read, past_key_values=cache).logits
        before = read.logits[:, -1:].expand(len(rows), 1, -1)
        chances = torch.cat([before, logits[:, :-1]], dim=1).float().log_softmax(-1)
        said = chances.gather(2, ids.unsqueeze(2)).squeeze(2) * is_read[:, shared:]
        return [float(value) for value in said.sum(1)]
