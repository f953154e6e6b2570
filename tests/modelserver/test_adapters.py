from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from modelserver.adapters import Adapter, AdapterSlices, Slice, read_adapter
from ratchet.errors import BadInput

CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none"}


@pytest.fixture
def linears() -> dict[str, torch.nn.Linear]:
    torch.manual_seed(0)
    return {"model.q": torch.nn.Linear(4, 3, bias=False)}


def weights(**change: torch.Tensor) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    pair = {"A": torch.randn(2, 4), "B": torch.randn(3, 2)} | change
    return {f"base_model.model.model.q.lora_{x}.weight": tensor for x, tensor in pair.items()}


def write(folder: Path, tensors: dict[str, torch.Tensor], **change: Any) -> Path:
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | change))
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def test_only_the_asked_slice_is_changed(tmp_path: Path, linears: dict[str, torch.nn.Linear]) -> None:
    slices = AdapterSlices(linears)
    adapter = Adapter("a", tmp_path, 1, read_adapter(write(tmp_path, weights()), linears))
    inputs, linear = torch.randn(1, 5, 4), linears["model.q"]
    with torch.inference_mode():
        plain = linear(inputs)
        slices.active = [Slice(1, 3, adapter)]
        changed = linear(inputs)
    down, up = weights().values()
    wanted = plain[0, 1:3] + 2.0 * (inputs[0, 1:3] @ down.T @ up.T)
    assert torch.allclose(changed[0, 1:3], wanted, atol=1e-5)
    assert torch.equal(changed[0, [0, 3, 4]], plain[0, [0, 3, 4]])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"peft_type": "IA3"}, "peft_type"),
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "bias"),
        ({"lora_alpha": "big"}, "lora_alpha"),
    ],
)
def test_other_arithmetic_is_refused_by_name(
    tmp_path: Path, linears: dict[str, torch.nn.Linear], change: dict[str, Any], told: str
) -> None:
    with pytest.raises(BadInput, match=told):
        read_adapter(write(tmp_path, weights(), **change), linears)


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        (weights(A=torch.zeros(2, 5)), "do not fit"),
        (weights(A=torch.full((2, 4), torch.nan)), "finite"),
        ({"base_model.model.other.lora_A.weight": torch.zeros(2, 4)}, "no linear layer"),
        ({"base_model.model.model.q.lora_A.weight": torch.zeros(2, 4)}, "missing"),
        ({}, "empty"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    tmp_path: Path, linears: dict[str, torch.nn.Linear], tensors: dict[str, torch.Tensor], told: str
) -> None:
    with pytest.raises(BadInput, match=told):
        read_adapter(write(tmp_path, tensors), linears)


def test_pickled_weights_are_refused_unread(tmp_path: Path, linears: dict[str, torch.nn.Linear]) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "adapter_model.bin").write_bytes(pickle.dumps({}))
    with pytest.raises(BadInput, match=r"no adapter_model.safetensors.*pickled weights"):
        read_adapter(tmp_path, linears)


def test_a_pickle_under_the_right_name_is_refused(tmp_path: Path, linears: dict[str, torch.nn.Linear]) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "adapter_model.safetensors").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(BadInput, match="not a safetensors file"):
        read_adapter(tmp_path, linears)
