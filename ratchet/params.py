"""params.yaml: every number that changes the results of a stage, one section per stage."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ratchet.errors import SettingsInvalid

Share = Field(ge=0, le=1)
Arm = Literal["fewshot", "sft"]
ARMS: tuple[str, ...] = get_args(Arm)


class Section(BaseModel):
    """A section of params.yaml: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class DriftParams(Section):
    """When what is new since the last finished run differs too much from what was new in it (tasks/drift.py)."""

    min_rows: int = Field(ge=1)
    min_days: float = Field(gt=0)
    max_psi: float = Field(gt=0)
    volume_low: float = Field(gt=0, lt=1)
    volume_high: float = Field(gt=1)
    volume_block: float = Field(ge=0, lt=1)
    language_block: float = Share


class ValidateParams(Section):
    """When a batch is too bad to learn from."""

    min_rows: int = Field(ge=1)
    max_quarantine_share: float = Share
    max_input_chars: int = Field(ge=1)
    drift: DriftParams


class CurateParams(Section):
    """Which examples are kept, how they are split, and what people are asked to look at."""

    near_duplicate_jaccard: float = Share
    embedding_cosine: float = Share
    min_belief: float = Field(gt=0.5, le=1)
    prior_votes: float = Field(gt=0)
    max_user_share: float = Share
    max_session_share: float = Share
    max_tenant_share: float = Share
    max_label_share: float = Share
    rehearsal_share: float = Share
    accept_share: float = Share
    label_noise_min_items: int = Field(ge=1)
    label_noise_max_items: int = Field(ge=1)
    validation_share: float = Share
    review_items: int = Field(ge=0)
    blind_items: int = Field(ge=0)
    seed: int


class PoisonParams(Section):
    """When claims are set aside as poisoned, and how much strangers may move at most."""

    alpha: float = Field(gt=0, lt=1)
    contradicted: float = Field(gt=0, lt=0.5)
    honest_noise: float = Field(ge=0, lt=0.5)
    min_trusted: int = Field(ge=10)
    copy_jaccard: float = Field(gt=0.3, le=1)
    min_accounts: int = Field(ge=2)
    burst_hours: float = Field(gt=0)
    max_untrusted_share: float = Share
    max_source_share: float = Field(gt=0, le=1)
    seed: int


class FewshotParams(Section):
    """The demonstration search."""

    candidates: int = Field(ge=1)
    demonstrations: int = Field(ge=1)
    validation_items: int = Field(ge=1)
    seed: int


class SftParams(Section):
    """LoRA fine-tuning; `layers` 0 trains all layers, n the last n."""

    rank: int = Field(ge=1)
    alpha: int = Field(ge=1)
    layers: int = Field(ge=0)
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    dtype: Literal["bfloat16", "float32"]
    threads: int = Field(ge=1)
    seed: int
    keep_system_prompt: bool


class TuneParams(Section):
    """How arms ask the model server, and one section per arm."""

    concurrency: int = Field(ge=1)
    fewshot: FewshotParams
    sft: SftParams


class EvaluateParams(Section):
    """How the releases are asked; `repeats` times per question where answers are drawn (temperature above 0)."""

    concurrency: int = Field(ge=1)
    repeats: int = Field(default=1, ge=1)
    seed: int


class SafetyParams(Section):
    """The safety suites that a run tries champion and candidate with, and at most how many items of each."""

    suites: tuple[str, ...] = ()
    items: int = Field(default=12, ge=1)
    seed: int = 17


class ReplayParams(Section):
    """How the replayer's customers and agents respond; it never touches the holdout's truth."""

    thumb_rate: float = Share
    correction_rate: float = Share
    rephrase_rate: float = Share
    noise: float = Share
    thumb_threshold: float = Share
    concurrency: int = Field(ge=1)
    seed: int


class Params(Section):
    """The whole of params.yaml."""

    feature: str
    data_root: Literal["data/demo", "data"]
    base_model: str
    arms: tuple[Arm, ...] = Field(min_length=1)
    validate_: ValidateParams = Field(alias="validate")
    curate: CurateParams
    poison: PoisonParams
    tune: TuneParams
    evaluate: EvaluateParams
    safety: SafetyParams = SafetyParams()
    replay: ReplayParams

    @property
    def inputs(self) -> Path:
        """Where the graph finds raw feedback, holdout, champion and anchor of the feature."""
        return Path(self.data_root) / self.feature

    @property
    def outputs(self) -> Path:
        """Where the graph writes what it computes for the feature."""
        return Path("data") / self.feature


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check params.yaml.

    Raises:
        SettingsInvalid: with the key, its value and what is allowed.
    """
    try:
        return Params.model_validate(yaml.safe_load(path.read_bytes()))
    except FileNotFoundError as error:
        raise SettingsInvalid(f"{path} is missing: run from the root of the clone") from error
    except yaml.YAMLError as error:
        raise SettingsInvalid(f"{path} is not valid YAML: {error}") from error
    except ValidationError as error:
        raise SettingsInvalid(explain(path, error)) from error


def explain(path: Path, error: ValidationError) -> str:
    """One line per wrong key: where, what is wrong with it, what was given."""
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"]) or "the file"
        given = "" if problem["type"] == "missing" else f" (given: {str(problem['input'])[:80]!r})"
        what = "unknown key: remove or correct it" if problem["type"] == "extra_forbidden" else problem["msg"]
        lines.append(f"{path}: {key}: {what}{given}")
    return "\n".join(lines)
