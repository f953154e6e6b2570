"""A small clone in a temporary folder: one feature `routing` with two labels, curated examples, champion, holdout."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from ratchet.features import Decoding, Feature
from ratchet.params import Params, load_params
from ratchet.prompts import Prompt
from ratchet.release import BaseModelRef, Release, ReleasePolicy, write_manifest
from ratchet.settings import Settings

PARAMS = Path(__file__).resolve().parent.parent / "params.yaml"
SCHEMA = {"type": "object", "properties": {"route": {"type": "string", "enum": ["cards", "loans"]}}}
TEXTS = {"cards": "my card number {} is lost", "loans": "the loan number {} is too dear"}


def target(label: str) -> str:
    return json.dumps({"route": label})


def feature_fields(**changes: Any) -> dict[str, Any]:
    fields = {"name": "routing", "intent": "route", "owners": ["a"], "scorer": "label_accuracy"}
    return fields | {"output_schema": SCHEMA} | changes


def release(feature: Feature, text: str = "Name the team.") -> Release:
    return Release(
        feature=feature.name,
        base_model=BaseModelRef(name="tiny", digest="d1"),
        prompt=Prompt(text=text),
        decoding=Decoding(),
        output_schema=feature.output_schema,
        policy=ReleasePolicy(mode=feature.mode, scorer=feature.scorer.metric),
    )


def example_row(number: int, label: str, **changes: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": TEXTS[label].format(number)}]
    row = {"example_id": f"ex{number:03}", "messages": json.dumps(messages), "variables": "{}", "contexts": "[]"}
    return row | {"target": target(label), "label": label, "origin": "correction", "weight": 1.0} | changes


def example_rows(first: int, last: int) -> list[dict[str, Any]]:
    return [example_row(number, ("cards", "loans")[number % 2]) for number in range(first, last)]


class RoutingClone:
    """Writes the inputs of tune and evaluate below `root`; every part can be written anew by a test."""

    def __init__(self, root: Path, **feature_changes: Any) -> None:
        self.root = root
        self.feature = Feature.model_validate(feature_fields(**feature_changes))
        self.write("features/routing/feature.yaml", json.dumps(feature_fields(**feature_changes)))
        self.write("cache/models/tiny/ratchet.json", json.dumps({"digest": "d1"}))
        self.write_params()
        self.champion = release(self.feature)
        for role in ("champion", "anchor"):
            write_manifest(root / f"data/demo/routing/{role}.json", self.champion)
        self.write_split("train", example_rows(0, 20))
        self.write_split("validation", example_rows(100, 110))
        self.write_holdout("holdout", 12)
        self.write_holdout("showcase", 2)

    def write(self, name: str, content: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        return path

    def write_params(self, **tune: Any) -> None:
        fields = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
        fields |= {"feature": "routing", "data_root": "data/demo", "base_model": "embedded:tiny"}
        fields["arms"] = ["fewshot", "sft"]
        for section, changes in tune.items():
            fields["tune"][section] |= changes
        self.write("params.yaml", json.dumps(fields))

    def write_split(self, split: str, rows: Sequence[dict[str, Any]]) -> None:
        folder = self.root / "data/routing/curated"
        folder.mkdir(parents=True, exist_ok=True)
        schema = pa.schema([(k, pa.float64() if k == "weight" else pa.string()) for k in example_row(0, "cards")])
        pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), folder / f"{split}.parquet")

    def write_holdout(self, split: str, n: int) -> None:
        labels = [("cards", "loans")[i % 2] for i in range(n)]
        rows = [{"text": TEXTS[label].format(f"{split}{i}"), "expected": label} for i, label in enumerate(labels)]
        self.write(f"data/demo/routing/holdout/{split}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))

    def params(self) -> Params:
        return load_params(self.root / "params.yaml")

    def settings(self, url: str = "http://127.0.0.1:9", **more: str) -> Settings:
        places = {"RATCHET_HOME": str(self.root / "home"), "RATCHET_CACHE": str(self.root / "cache")}
        return Settings.from_env(places | {"RATCHET_MODELSERVER_URL": url} | more)


def right_label(body: dict[str, Any]) -> str:
    """What a perfect model would answer to the last message."""
    return target("cards" if "card" in body["messages"][-1]["content"] else "loans")


def right_if_shown(body: dict[str, Any]) -> str:
    """A model that knows only the label `cards` until it is shown demonstrations (or carries an adapter)."""
    is_shown = any(message["role"] == "assistant" for message in body["messages"])
    return right_label(body) if is_shown or body["model"].startswith("rel_") else target("cards")
