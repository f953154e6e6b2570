"""tasks.tune.lora_data: prompts and targets as served, weights, batches."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from ratchet.prompts import Demonstration, Prompt
from tasks.tune.job import Example, read_examples
from tasks.tune.lora_data import TrainingRow, batch_rows, prompt_to_train, training_rows
from tests.routing_clone import RoutingClone, example_row

SHOWN = (Demonstration(input="q", output="a"),)


class Letters:
    """A tokenizer whose tokens are letters."""

    eos_token = "$"

    def apply_chat_template(self, messages: list[dict[str, str]], **how: Any) -> str:
        assert how == {"tokenize": False, "add_generation_prompt": True}
        return "".join(f"[{m['role'][0]}:{m['content']}]" for m in messages) + ">"

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
        assert not add_special_tokens
        return {"input_ids": [ord(letter) for letter in text]}


def rows_of(tmp_path: Path, raw: list[dict[str, Any]], prompt: Prompt, **how: Any) -> list[TrainingRow]:
    RoutingClone(tmp_path).write_split("train", raw)
    found: list[Example] = read_examples(tmp_path / "data/routing/curated/train.parquet")
    return training_rows(found, prompt, Letters(), **({"mode": "managed", "max_tokens": 500} | how))


def letters(ids: tuple[int, ...]) -> str:
    return "".join(chr(i) for i in ids)


def test_a_row_is_the_prompt_as_served_and_the_target_with_its_end(tmp_path: Path) -> None:
    (row,) = rows_of(tmp_path, [example_row(7, "cards")], Prompt(text="Route.", demonstrations=SHOWN))
    assert letters(row.prompt) == "[s:Route.][u:q][a:a][u:my card number 7 is lost]>"
    assert letters(row.target) == '{"route": "cards"}$'


def test_a_passthrough_row_is_what_the_application_sent(tmp_path: Path) -> None:
    (row,) = rows_of(tmp_path, [example_row(7, "cards")], Prompt(text="Route."), mode="passthrough")
    assert letters(row.prompt) == "[u:my card number 7 is lost]>"


def test_weights_have_a_mean_of_one_and_zero_is_left_out(tmp_path: Path) -> None:
    raw = [example_row(i, "cards", weight=weight) for i, weight in enumerate([0.0, 1.0, 3.0])]
    assert [row.weight for row in rows_of(tmp_path, raw, Prompt(text=""))] == [0.5, 1.5]


def test_rows_longer_than_the_model_reads_are_left_out(tmp_path: Path) -> None:
    raw = [example_row(1, "cards"), example_row(2, "loans")]
    assert len(rows_of(tmp_path, raw, Prompt(text=""), max_tokens=50)) == 1
    assert rows_of(tmp_path, raw, Prompt(text=""), max_tokens=5) == []


@pytest.mark.parametrize(
    ("text", "keep", "trained"),
    [
        ("Route.", False, Prompt(text="")),
        ("Use {{ contexts }}", False, Prompt(text="Use {{ contexts }}")),
        ("Route.", True, Prompt(text="Route.", demonstrations=SHOWN)),
    ],
)
def test_the_trained_prompt_keeps_only_what_cannot_be_learnt(text: str, keep: bool, trained: Prompt) -> None:
    assert prompt_to_train(Prompt(text=text, demonstrations=SHOWN), keep_system_prompt=keep) == trained


def test_batches_hold_every_row_once_with_little_padding() -> None:
    rows = [TrainingRow((1,) * n, (2,), 1.0) for n in (9, 1, 5, 2, 8, 6, 1)]
    batches = batch_rows(rows, 2, random.Random(1))
    assert sorted(len(row) for batch in batches for row in batch) == sorted(len(row) for row in rows)
    assert sum(max(map(len, batch)) * len(batch) - sum(map(len, batch)) for batch in batches) == 5


def test_batches_repeat_with_the_seed_and_differ_between_epochs() -> None:
    rows = [TrainingRow((1, n), (2,), 1.0) for n in range(40)]
    rng = random.Random(1)
    first, second = batch_rows(rows, 4, rng), batch_rows(rows, 4, rng)
    assert first == batch_rows(rows, 4, random.Random(1)) and first != second
