"""LoRA adapters: read from safetensors only, and added to the packed rows that ask for them.

Several adapters share one forward pass of the base model: rows of one adapter lie side by side, and each linear layer
adds the adapter's low-rank product to their slice. Nothing is merged, so an adapter costs its own few megabytes.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ratchet.errors import BadInput, ReleaseCorrupt, ReleaseNotFound, ReleaseUntrusted
from ratchet.release import ReleaseStore
from ratchet.trust import Trust, require_trusted

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
MOST_CONFIG_BYTES = 1 << 20
MOST_WEIGHT_BYTES = 1 << 31
MOST_RANK = 512
# Each of these changes the arithmetic in a way that is not plain LoRA.
REFUSED = (
    "use_dora",
    "lora_bias",
    "fan_in_fan_out",
    "modules_to_save",
    "alpha_pattern",
    "trainable_token_indices",
    "target_parameters",
    "layer_replication",
    "alora_invocation_tokens",
    "use_qalora",
    "use_bdlora",
    "auto_mapping",
)


class LowRank(NamedTuple):
    """The two factors of one layer, shapes (inputs, rank) and (rank, outputs); the scale is inside the second."""

    down: torch.Tensor
    up: torch.Tensor


@dataclass(frozen=True)
class Adapter:
    """A loaded adapter. `number` is never used twice: what was computed under an older one is not taken for its own."""

    name: str
    path: Path | None
    number: int
    layers: Mapping[str, LowRank]


@dataclass(frozen=True)
class Slice:
    """Packed tokens `start` to `stop` that ask for one adapter."""

    start: int
    stop: int
    adapter: Adapter


class AdapterSlices:
    """Which packed tokens ask for which adapter in the forward pass under way; hooks on the linear layers read it."""

    def __init__(self, linears: Mapping[str, torch.nn.Linear]) -> None:
        self.active: Sequence[Slice] = ()
        for name, linear in linears.items():
            linear.register_forward_hook(self._hook(name))

    def _hook(self, name: str) -> Callable[[torch.nn.Module, tuple[Any, ...], torch.Tensor], None]:
        def add_low_rank(_: torch.nn.Module, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
            for part in self.active:
                factors = part.adapter.layers.get(name)
                if factors is not None:
                    asked = inputs[0][0, part.start : part.stop]
                    output[0, part.start : part.stop].addmm_(asked @ factors.down, factors.up)

        return add_low_rank


def find_linears(model: Any) -> dict[str, torch.nn.Linear]:
    """The linear layers that an adapter may change, by their full name: all but the output layer."""
    output = model.get_output_embeddings()
    return {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and m is not output}


def read_approved(name: str, folder: Path, linears: Mapping[str, torch.nn.Linear], trust: Trust) -> dict[str, LowRank]:
    """Read the adapter of a release that pipeline and verifier signed, as the release store lays it out.

    What is verified is a copy of our own, and the copy is what is read: nobody can change it in between.

    Raises:
        BadInput: it is no release's adapter, its files do not match, or a signature is missing or wrong.
    """
    if folder.name != "adapter" or folder.parent.name != name:
        raise BadInput(f"{folder} is not the adapter of release {name}; with RATCHET_TRUST only releases are loaded")
    try:
        require_trusted(name, ReleaseStore(folder.parent.parent).attestation(name), trust)
        with tempfile.TemporaryDirectory(prefix="ratchet-adapter-") as own:
            shutil.copytree(folder.parent, Path(own) / name)
            ReleaseStore(Path(own)).get(name)
            return read_adapter(Path(own) / name / "adapter", linears)
    except (ReleaseUntrusted, ReleaseCorrupt, ReleaseNotFound, OSError) as error:
        raise BadInput(f"adapter {name} is refused: {error}") from error


def read_adapter(folder: Path, linears: Mapping[str, torch.nn.Linear]) -> dict[str, LowRank]:
    """Read adapter_config.json and adapter_model.safetensors; no other file of the folder is opened.

    Raises:
        BadInput: a file is missing, or it is not a plain LoRA adapter of this base model.
    """
    for name, most in ((CONFIG, MOST_CONFIG_BYTES), (WEIGHTS, MOST_WEIGHT_BYTES)):
        if not (folder / name).is_file():
            found = "; pickled weights (.bin, .pt) are refused" if any(folder.glob("*.bin")) else ""
            raise BadInput(f"no {name} in {folder}{found}")
        if (folder / name).stat().st_size > most:
            raise BadInput(f"{folder / name} is larger than {most} bytes")
    config = _read_config(folder / CONFIG)
    try:
        tensors = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise BadInput(f"{folder / WEIGHTS} is not a safetensors file: {error}") from error
    return _pair(tensors, config, linears, folder)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is not JSON") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise BadInput(f"{path}: peft_type must be LORA")
    alpha = config.get("lora_alpha")
    if not isinstance(alpha, int | float) or not math.isfinite(alpha):
        raise BadInput(f"{path}: lora_alpha must be a number")
    refused = [key for key in REFUSED if config.get(key)]
    if config.get("bias", "none") != "none":
        refused.append("bias")
    if refused:
        raise BadInput(f"{path}: {refused[0]} is not supported; only plain LoRA is")
    return config


def _pair(
    tensors: Mapping[str, torch.Tensor], config: Mapping[str, Any], linears: Mapping[str, torch.nn.Linear], folder: Path
) -> dict[str, LowRank]:
    names = set()
    for key in tensors:
        name, _, rest = key.removeprefix(PREFIX).partition(".lora_")
        if not key.startswith(PREFIX) or rest not in ("A.weight", "B.weight") or name not in linears:
            raise BadInput(f"{folder}: {key[:120]} belongs to no linear layer of the base model")
        names.add(name)
    if not names:
        raise BadInput(f"{folder}: the adapter is empty")
    pairs = {}
    for name in sorted(names):
        down, up = (tensors.get(f"{PREFIX}{name}.lora_{x}.weight") for x in "AB")
        if down is None or up is None:
            raise BadInput(f"{folder}: one of the two factors of {name} is missing")
        pairs[name] = _low_rank(down, up, config, linears[name], f"{folder}: {name}")
    return pairs


def _low_rank(
    down: torch.Tensor, up: torch.Tensor, config: Mapping[str, Any], linear: torch.nn.Linear, where: str
) -> LowRank:
    rank = down.shape[0]
    shapes = (tuple(down.shape), tuple(up.shape))
    if shapes != ((rank, linear.in_features), (linear.out_features, rank)) or not 1 <= rank <= MOST_RANK:
        raise BadInput(f"{where} has shapes {shapes}, which do not fit the base model")
    if not (down.is_floating_point() and up.is_floating_point() and down.isfinite().all() and up.isfinite().all()):
        raise BadInput(f"{where} holds values that are not finite numbers")
    scale = float(config["lora_alpha"]) / (math.sqrt(rank) if config.get("use_rslora") else rank)
    return LowRank(down.float().t().contiguous(), (up.float() * scale).t().contiguous())
