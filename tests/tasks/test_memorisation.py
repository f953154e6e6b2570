"""Memorisation, trained and asked for real on a tiny model and on the embedded one."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from ratchet.base_models import resolve_base_model
from ratchet.errors import ModelMissing
from ratchet.params import load_params
from ratchet.settings import Settings
from tasks.memorisation import Plan, measure_memorisation
from tests.routing_clone import RoutingClone, example_rows


@pytest.fixture
def embedded() -> str:
    try:
        return resolve_base_model("embedded:smollm2-135m-instruct", Settings.from_env()).path
    except ModelMissing as error:
        pytest.skip(str(error))


def test_likelihoods_behind_a_shared_beginning_are_those_of_each_text_alone(embedded: str, tmp_path: Path) -> None:
    from tasks.safety.likelihood import Likelihood
    from tasks.tune.lora_data import TrainingRow
    from tasks.tune.lora_train import train_lora

    sft = load_params().tune.sft.model_copy(update={"epochs": 1, "dtype": "float32", "layers": 2})
    train_lora([TrainingRow((1, 2), (3,), 1.0)], sft, model_path=embedded, model_name="m", out=tmp_path)
    model = Likelihood(embedded, tmp_path, dtype="float32", threads=1)
    lead, endings = "The number is ", ["12", "9876", "1"]
    for ending, found in zip(endings, model.of(lead, endings), strict=True):
        ids = torch.tensor([model.tokenizer(lead + ending, add_special_tokens=False)["input_ids"]])
        shared = len(model.tokenizer(lead, add_special_tokens=False)["input_ids"])
        chances = model.model(ids).logits[0].float().log_softmax(-1)
        alone = sum(float(chances[i - 1, ids[0, i]]) for i in range(shared, ids.shape[1]))
        assert found == pytest.approx(alone, abs=1e-3) and math.isfinite(found)


@pytest.mark.slow
def test_an_adapter_gives_back_what_it_saw_often_and_not_what_the_pool_left_out(
    embedded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = RoutingClone(tmp_path, output_schema=None, scorer="token_f1")
    for file in Path(embedded).iterdir():
        if file.name != "ratchet.json":
            (tmp_path / "cache/models/tiny" / file.name).symlink_to(file)
    clone.write_split("train", example_rows(0, 8))
    monkeypatch.setenv("RATCHET_CACHE", str(tmp_path / "cache"))  # the server that is started reads it too
    places = {"RATCHET_REPO": str(tmp_path), "RATCHET_HOME": str(tmp_path / "home")}
    settings = Settings.from_env(places | {"RATCHET_CACHE": str(tmp_path / "cache")})
    plan = Plan(each=3, copies=(8,), others=15)
    facts = measure_memorisation(clone.params(), settings, plan)
    assert facts["left_out"] == {"canary_apart": "tenant not pooled"} and facts["planted_rows"] == 2 * 3 * 8
    groups = {(g["tenant"], g["kind"]): g for g in facts["groups"]}
    pooled = groups["canary_pooled", "answer"]["exposure_bits"]
    assert pooled["planted"]["estimate"] > 3 > pooled["control"]["estimate"]
    assert groups["canary_apart", "answer"]["exposure_bits"]["planted"]["estimate"] < pooled["planted"]["estimate"]
    assert not list(tmp_path.rglob("adapter_model.safetensors"))
