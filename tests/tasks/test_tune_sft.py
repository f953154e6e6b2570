"""tasks.tune.sft and tasks.tune.lora_train: the same bytes again, a falling loss, an adapter that others can load."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from ratchet.base_models import resolve_base_model
from ratchet.errors import ModelMissing
from ratchet.params import SftParams
from ratchet.prompts import Prompt
from ratchet.release import adapter_ref, read_candidate
from ratchet.settings import Settings
from tasks.tune.__main__ import tune
from tasks.tune.job import load_job, read_examples
from tasks.tune.lora_data import TrainingRow, training_rows
from tasks.tune.lora_train import TrainReport, rate_at, target_loss, train_lora
from tests.fake_model_server import FakeModelServer
from tests.routing_clone import RoutingClone, example_rows, right_if_shown

# peft 0.21 reads a name that transformers 5.23 has changed
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

TRAINING: dict[str, Any] = {
    "rank": 4, "alpha": 8, "layers": 1, "epochs": 2, "batch_size": 4, "learning_rate": 0.01, "dtype": "float32",
    "threads": 1, "seed": 17, "keep_system_prompt": False,
}  # fmt: skip
ROWS = [TrainingRow((1, 2 + n % 2, 9), (5 + n % 2, 4), 1.0) for n in range(8)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of three small blocks with random weights."""
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(1)
    sizes = {
        "initializer_range": 0.3,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
    }
    model = LlamaForCausalLM(LlamaConfig(vocab_size=32, num_key_value_heads=1, tie_word_embeddings=True, **sizes))
    model.save_pretrained(folder)
    return folder


def train(tiny: Path, out: Path, rows: Sequence[TrainingRow] = ROWS, **changes: Any) -> TrainReport:
    params = SftParams.model_validate(TRAINING | changes)
    return train_lora(rows, params, model_path=str(tiny), model_name="tiny", out=out)


def test_the_same_seed_gives_the_same_bytes(tiny: Path, tmp_path: Path) -> None:
    reports = [train(tiny, tmp_path / name) for name in "ab"]
    assert reports[0] == reports[1] and adapter_ref(tmp_path / "a") == adapter_ref(tmp_path / "b")
    train(tiny, tmp_path / "c", seed=18)
    assert adapter_ref(tmp_path / "c").digest != adapter_ref(tmp_path / "a").digest


def test_the_loss_falls(tiny: Path, tmp_path: Path) -> None:
    report = train(tiny, tmp_path, epochs=10, layers=0)
    assert report.steps == 20 and report.epoch_losses[-1] < 0.7 * report.epoch_losses[0]


def test_rows_of_more_weight_teach_more(tiny: Path, tmp_path: Path) -> None:
    rows = [TrainingRow((1, 2), (5,), 1.9), TrainingRow((1, 2), (6,), 0.1)]
    train(tiny, tmp_path, rows, epochs=30, layers=0)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny), tmp_path)
    chances = model(torch.tensor([[1, 2]])).logits[0, -1].softmax(-1)
    assert chances[5] > 0.6 and chances[5] > 4 * chances[6]


def test_the_loss_is_the_mean_over_target_tokens_only(tiny: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(tiny)
    base.get_base_model = lambda: base
    row = TrainingRow((1, 2, 9), (5, 4), 1.0)
    logits = base(torch.tensor([[1, 2, 9, 5, 4]])).logits[0].log_softmax(-1)
    by_hand = -(logits[2, 5] + logits[3, 4]) / 2
    padded = target_loss(base, [row, TrainingRow((1,) * 7, (3,), 0.0)])
    assert padded.item() == pytest.approx(by_hand.item(), rel=1e-5)


@pytest.mark.parametrize(("layers", "trained"), [(0, {0, 1, 2}), (1, {2}), (2, {1, 2}), (9, {0, 1, 2})])
def test_layers_names_the_last_blocks(tiny: Path, tmp_path: Path, layers: int, trained: set[int]) -> None:
    train(tiny, tmp_path, layers=layers, epochs=1)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny), tmp_path)
    names = [name for name, _ in model.named_parameters() if "lora_B" in name]
    assert {int(name.split(".layers.")[1].split(".")[0]) for name in names} == trained


def test_the_adapter_names_the_model_and_no_path(tiny: Path, tmp_path: Path) -> None:
    train(tiny, tmp_path)
    text = (tmp_path / "adapter_config.json").read_text()
    assert json.loads(text)["base_model_name_or_path"] == "tiny"
    assert str(tiny) not in text and str(tmp_path) not in text and list(json.loads(text)) == sorted(json.loads(text))


def test_the_rate_warms_up_then_falls_to_nothing() -> None:
    rates = [rate_at(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.2) and rates[5] == 1.0 == max(rates) and rates[-1] < 0.01
    assert rate_at(0, 1) == 1.0


@pytest.fixture
def embedded() -> str:
    try:
        return resolve_base_model("embedded:smollm2-135m-instruct", Settings.from_env()).path
    except ModelMissing as error:
        pytest.skip(str(error))


def test_the_embedded_model_learns_the_same_bytes_twice(embedded: str, tmp_path: Path) -> None:
    RoutingClone(tmp_path).write_split("train", example_rows(0, 8))
    examples = read_examples(tmp_path / "data/routing/curated/train.parquet")
    tokenizer = AutoTokenizer.from_pretrained(embedded)
    rows = training_rows(examples, Prompt(text=""), tokenizer, mode="managed", max_tokens=2048)
    how: dict[str, Any] = {"dtype": "bfloat16", "epochs": 2, "learning_rate": 0.002}
    reports = [train(Path(embedded), tmp_path / name, rows, **how) for name in "ab"]
    assert reports[0] == reports[1] and adapter_ref(tmp_path / "a") == adapter_ref(tmp_path / "b")
    assert len(rows) == 8 and reports[0].epoch_losses[1] < reports[0].epoch_losses[0]


@pytest.fixture
def clone(tmp_path: Path, embedded: str, monkeypatch: pytest.MonkeyPatch) -> RoutingClone:
    """A clone whose base model `tiny` is the embedded one, trained on its last block in one epoch."""
    monkeypatch.chdir(tmp_path)
    clone = RoutingClone(tmp_path)
    for file in Path(embedded).iterdir():
        if file.name != "ratchet.json":
            (tmp_path / "cache/models/tiny" / file.name).symlink_to(file)
    clone.write_params(sft={"layers": 1, "epochs": 1, "rank": 2, "threads": 1})
    return clone


def test_the_arm_writes_an_adapter_without_the_system_prompt(clone: RoutingClone) -> None:
    with FakeModelServer(right_if_shown) as server:
        report = tune(load_job(clone.params(), clone.settings(server.url), "sft"), "sft")
    candidate = read_candidate(clone.root / "data/routing/candidates/sft")
    assert candidate.prompt == Prompt(text="") and candidate.adapter is not None
    assert server.loaded[0]["lora_name"] == candidate.release_id
    assert (report["validation"]["score"], report["champion_validation"]["score"]) == (1.0, 0.5)
    assert (report["rows"], report["rows_set_aside"], report["steps"]) == (20, 0, 3)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_nothing_to_learn_from_leaves_the_champion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str) -> None:
    monkeypatch.chdir(tmp_path)
    clone = RoutingClone(tmp_path)
    clone.write_split(split, [])
    report = tune(load_job(clone.params(), clone.settings(), "sft"), "sft")
    assert report["candidate_equals_champion"] and report["skipped"]
    assert read_candidate(tmp_path / "data/routing/candidates/sft") == clone.champion
