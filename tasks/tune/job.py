"""What every arm starts from: the examples, the champion, the feature's policy, the folder to write to."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from ratchet.base_models import LocalModel, resolve_base_model
from ratchet.errors import BadInput
from ratchet.features import Feature, load_feature
from ratchet.params import Params, TuneParams
from ratchet.records import Context, Message
from ratchet.release import policy_of
from ratchet.settings import Settings
from tasks.contenders import Contender, check_base_model, stored_contender

COLUMNS = ["example_id", "messages", "variables", "contexts", "target", "label", "origin", "weight"]
MESSAGES = TypeAdapter(tuple[Message, ...])
CONTEXTS = TypeAdapter(tuple[Context, ...])


@dataclass(frozen=True)
class Example:
    """A cleaned training or validation item; `target` is the right output exactly as it would be served."""

    example_id: str
    messages: tuple[Message, ...]
    variables: dict[str, Any]
    contexts: tuple[Context, ...]
    target: str
    label: str | None
    origin: str
    weight: float


@dataclass(frozen=True)
class TuneJob:
    """The input of an arm."""

    feature: Feature
    champion: Contender
    train: list[Example]
    validation: list[Example]
    params: TuneParams
    model: LocalModel
    base_model: str
    settings: Settings
    out: Path

    @property
    def start(self) -> Contender:
        """What the arms change: the champion, under the schema, decoding and policy that feature.yaml says today."""
        policy = policy_of(self.feature)
        today = {"output_schema": self.feature.output_schema, "decoding": self.feature.decoding, "policy": policy}
        return Contender(self.champion.release.model_copy(update=today), self.champion.adapter)


def load_job(params: Params, settings: Settings, arm: str) -> TuneJob:
    """Read everything that an arm needs; paths are relative to the current folder, the root of the worktree.

    Raises:
        BadInput: a file is missing or malformed, or the champion runs on another base model.
    """
    feature = load_feature(Path(), params.feature)
    manifest = params.inputs / "champion.json"
    champion = stored_contender(manifest, settings)
    model = resolve_base_model(params.base_model, settings)
    check_base_model(champion, model, manifest)
    curated = params.outputs / "curated"
    return TuneJob(
        feature=feature,
        champion=champion,
        train=read_examples(curated / "train.parquet"),
        validation=read_examples(curated / "validation.parquet"),
        params=params.tune,
        model=model,
        base_model=params.base_model,
        settings=settings,
        out=params.outputs / "candidates" / arm,
    )


def read_examples(path: Path) -> list[Example]:
    """Read a curated split.

    Raises:
        BadInput: the file is missing, lacks a column, or a row is malformed (the message names the row).
    """
    try:
        table = pq.read_table(path, columns=COLUMNS)
    except FileNotFoundError as error:
        raise BadInput(f"{path} is missing: run the stage curate first (`dvc repro curate`)") from error
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"{path} is not the output of the stage curate: {error}") from error
    missing = sorted(set(COLUMNS) - set(table.column_names))
    if missing:
        raise BadInput(f"{path} lacks the columns {', '.join(missing)}: run the stage curate again")
    return [_example(row, f"{path}, row {number}") for number, row in enumerate(table.to_pylist(), start=1)]


def sample_validation(examples: list[Example], limit: int, seed: int) -> list[Example]:
    """At most `limit` examples, the same ones for every arm and whatever order the file has."""
    ordered = sorted(examples, key=lambda example: example.example_id)
    return ordered if len(ordered) <= limit else random.Random(seed).sample(ordered, limit)


def _example(row: dict[str, Any], where: str) -> Example:
    try:
        return Example(
            example_id=str(row["example_id"]),
            messages=MESSAGES.validate_json(row["messages"]),
            variables=json.loads(row["variables"] or "{}"),
            contexts=CONTEXTS.validate_json(row["contexts"] or "[]"),
            target=str(row["target"]),
            label=row["label"],
            origin=str(row["origin"]),
            weight=float(row["weight"]),
        )
    except (ValidationError, ValueError, TypeError) as error:
        raise BadInput(f"{where}: malformed example ({type(error).__name__}): run the stage curate again") from error
