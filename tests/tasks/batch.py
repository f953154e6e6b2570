"""A small clone in a temporary folder with raw interactions and feedback, and the data stages run on it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from ratchet.files import canonical_json, read_json
from ratchet.params import Params, load_params
from ratchet.settings import Settings
from tasks.curate import curate
from tasks.snapshot import snapshot
from tasks.validate import validate
from tests.routing_clone import PARAMS, feature_fields, target

START = datetime(2026, 1, 5, 10, tzinfo=UTC)
WORDS = (
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "heron",
    "islet",
    "jetty",
    "kiosk",
    "lemon",
    "maple",
    "north",
    "olive",
    "pearl",
    "quill",
)


def question(number: int) -> str:
    """Questions of which no two are near-duplicates."""
    drawn = [WORDS[(number * 7 + step * (number + 3)) % len(WORDS)] for step in range(4)]
    return f"please {' '.join(drawn)} about thing {number}"


class Batch:
    """Interactions and feedback of one feature `routing` with the labels cards and loans."""

    def __init__(self, root: Path, **feature_changes: Any) -> None:
        self.root = root
        self.interactions: list[dict[str, Any]] = []
        self.feedback: list[dict[str, Any]] = []
        self.write("features/routing/feature.yaml", json.dumps(feature_fields(**feature_changes)))
        self.write_params()
        self.write("data/demo/routing/reference.json", "{}")
        self.write_holdout([{"text": "where is the nearest branch", "expected": "cards"}])

    def write(self, name: str, content: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        return path

    def write_params(self, **changes: dict[str, Any]) -> None:
        fields = yaml.safe_load(PARAMS.read_text(encoding="utf-8")) | {"feature": "routing", "data_root": "data/demo"}
        for section, values in ({"validate": {"min_rows": 1}} | changes).items():
            fields[section] = fields[section] | values
        self.write("params.yaml", json.dumps(fields))

    def write_holdout(self, rows: Sequence[dict[str, Any]], name: str = "holdout") -> None:
        self.write(f"data/demo/routing/holdout/{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))

    def ask(self, text: str, answer: str = "cards", **changes: Any) -> str:
        """Add an interaction; returns its id."""
        number = len(self.interactions)
        row = {
            "interaction_id": f"i{number:04}",
            "feature": "routing",
            "user_id": f"user-{number}",
            "session_id": f"session-{number}",
            "at": (START + timedelta(minutes=number)).isoformat(),
            "input": {"messages": [{"role": "user", "content": text}]},
            "output": {"content": target(answer)},
        }
        self.interactions.append(row | changes)
        return str(self.interactions[-1]["interaction_id"])

    def say(self, interaction_id: str, kind: str, value: Any, by: str = "agent:ana", **changes: Any) -> None:
        """Add a feedback by `type:id`."""
        number = len(self.feedback)
        row = {
            "feedback_id": f"f{number:04}",
            "interaction_id": interaction_id,
            "at": (START + timedelta(hours=2, minutes=number)).isoformat(),
            "kind": kind,
            "value": value,
            "source": dict(zip(("type", "id"), by.split(":"), strict=True)),
        }
        self.feedback.append(row | changes)

    def correct(self, count: int, label: str = "loans") -> None:
        """Add interactions that an agent corrected."""
        for _ in range(count):
            self.say(self.ask(question(len(self.interactions))), "correction", label)

    def write_raw(self, extra: Sequence[str] = ()) -> None:
        """Write raw/; `extra` lines go to the end of the interactions."""
        folder = "data/demo/routing/raw/default/2026-01-05"
        lines = [*(canonical_json(row) for row in self.interactions), *extra]
        self.write(f"{folder}/interactions.jsonl", "".join(line + "\n" for line in lines))
        self.write(f"{folder}/feedback.jsonl", "".join(canonical_json(row) + "\n" for row in self.feedback))

    def params(self) -> Params:
        return load_params(self.root / "params.yaml")

    def run(self, extra: Sequence[str] = ()) -> dict[str, Any]:
        """Run snapshot, validate and curate in the current folder; returns curate's metrics."""
        self.write_raw(extra)
        snapshot(self.params())
        validate(self.params(), self.root)
        return curate(self.params(), self.root, Settings.from_env().cache)

    def metrics(self, stage: str) -> dict[str, Any]:
        return dict(read_json(self.root / f"data/routing/metrics/{stage}.json"))

    def table(self, name: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = pq.read_table(self.root / f"data/routing/{name}.parquet").to_pylist()
        return rows

    def lines(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.root / "data/routing" / name).read_text().splitlines()]

    def examples(self) -> list[dict[str, Any]]:
        return [*self.table("curated/train"), *self.table("curated/validation")]

    def outputs(self) -> dict[str, bytes]:
        """Every file that the stages wrote, timings aside."""
        folder = self.root / "data/routing"
        return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
