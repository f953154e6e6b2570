"""Training rows for LoRA: the prompt as served, the target as served, and batches of rows of similar length."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ratchet.prompts import PLACEHOLDER, Prompt, render
from tasks.tune.job import Example


@dataclass(frozen=True)
class TrainingRow:
    """Token ids of what the model reads and of what it should write, with the row's weight in the loss."""

    prompt: tuple[int, ...]
    target: tuple[int, ...]
    weight: float

    def __len__(self) -> int:
        return len(self.prompt) + len(self.target)


def prompt_to_train(champion: Prompt, *, keep_system_prompt: bool) -> Prompt:
    """The prompt that the trained release is served with.

    Training teaches what the champion's prompt said, so an empty prompt serves as well and makes every answer cheaper.
    A template with placeholders (contexts, variables) stays: what is filled in cannot be learnt beforehand.
    """
    if keep_system_prompt:
        return champion
    return Prompt(text=champion.text if PLACEHOLDER.search(champion.text) else "")


def training_rows(
    examples: Sequence[Example], prompt: Prompt, tokenizer: Any, *, mode: str, max_tokens: int
) -> list[TrainingRow]:
    """Tokenise the examples; those without weight, or longer than `max_tokens`, are left out.

    Prompt and target are tokenised apart, as at serving, where the target is written after a prompt that is already
    tokenised. Weights are scaled to a mean of 1, so that the learning rate means the same for every data set.
    """
    rows = []
    for example in sorted(examples, key=lambda example: example.example_id):
        messages = [m.model_dump() for m in example.messages]
        if mode == "managed":
            messages = render(prompt, example.messages, variables=example.variables, contexts=example.contexts)
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        asked = tokenizer(text, add_special_tokens=False)["input_ids"]
        wanted = tokenizer(example.target + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
        if example.weight > 0 and len(asked) + len(wanted) <= max_tokens:
            rows.append(TrainingRow(tuple(asked), tuple(wanted), example.weight))
    mean = sum(row.weight for row in rows) / len(rows) if rows else 1.0
    return [TrainingRow(row.prompt, row.target, row.weight / mean) for row in rows]


def batch_rows(rows: Sequence[TrainingRow], batch_size: int, rng: random.Random) -> list[list[TrainingRow]]:
    """Every row once, in batches of rows of similar length (little padding), the batches in a seeded order."""
    ties = [rng.random() for _ in rows]
    order = sorted(range(len(rows)), key=lambda i: (len(rows[i]), ties[i]))
    batches = [[rows[i] for i in order[start : start + batch_size]] for start in range(0, len(order), batch_size)]
    rng.shuffle(batches)
    return batches
