from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from modelserver.adapters import Adapter, AdapterSlices, Slice, read_adapter, read_approved
from ratchet.errors import BadInput
from ratchet.release import adapter_ref, read_candidate, write_candidate
from ratchet.settings import Settings
from ratchet.trust import FIRST_RUN, pipeline_key, sign_claims
from tests.released import Machine

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


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(Settings.from_env({"RATCHET_REPO": str(tmp_path), "RATCHET_HOME": str(tmp_path / "home")}))
    yield made
    made.store.close()


def stored(machine: Machine, tmp_path: Path, **more: Any) -> tuple[str, Path]:
    """A release with real weights in the store, and its adapter's folder."""
    folder = tmp_path / "made" / "adapter"
    folder.mkdir(parents=True)
    write(folder, weights())
    candidate = machine.candidate("Name the team.")
    shutil.copytree(folder, candidate / "adapter")
    write_candidate(candidate, read_candidate(candidate).model_copy(update={"adapter": adapter_ref(folder)}))
    claims = {"feature": "routing", "commit": "c"}
    release_id = machine.releases.put(candidate)
    machine.releases.attest(release_id, sign_claims(pipeline_key(machine.settings), release_id, claims))
    return release_id, machine.releases.folder / release_id / "adapter"


def test_an_approved_releases_adapter_is_read(machine: Machine, tmp_path: Path, linears: Any) -> None:
    release_id, folder = stored(machine, tmp_path)
    machine.approve(release_id, FIRST_RUN)
    layers = read_approved(release_id, folder, linears, machine.trust)
    assert torch.equal(layers["model.q"].down, read_adapter(folder, linears)["model.q"].down)


def test_an_adapter_without_an_approval_is_refused(machine: Machine, tmp_path: Path, linears: Any) -> None:
    release_id, folder = stored(machine, tmp_path)
    with pytest.raises(BadInput, match="no approval"):
        read_approved(release_id, folder, linears, machine.trust)


def test_an_approved_adapter_whose_weights_were_changed_is_refused(machine: Machine, tmp_path: Path, linears) -> None:
    release_id, folder = stored(machine, tmp_path)
    machine.approve(release_id, FIRST_RUN)
    save_file(weights(A=torch.zeros(2, 4)), folder / "adapter_model.safetensors")
    with pytest.raises(BadInput, match="do not match"):
        read_approved(release_id, folder, linears, machine.trust)


def test_other_weights_under_an_approved_name_are_refused(machine: Machine, tmp_path: Path, linears: Any) -> None:
    release_id, folder = stored(machine, tmp_path)
    machine.approve(release_id, FIRST_RUN)
    for elsewhere in (tmp_path / "made" / "adapter", folder.parent / "adapter" / ".." / "other"):
        with pytest.raises(BadInput, match="is not the adapter of release"):
            read_approved(release_id, elsewhere, linears, machine.trust)
