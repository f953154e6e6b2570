"""One scratch clone with a tiny feature and all real parts running, shared by the end-to-end tests."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.scratch import REPO, Clone
from ratchet.settings import Settings

LABELS = ("card_lost_stolen", "loan_mortgage", "exchange_abroad")
TINY = {
    "arms": ["sft"],
    "tune.sft.epochs": 2,
    "tune.sft.layers": 10,
    "validate.min_rows": 10,
    "replay.correction_rate": 1.0,
    "replay.rephrase_rate": 0.0,
    "replay.noise": 0.0,
}


def rows_of(name: str, labels: tuple[str, ...] = LABELS) -> list[dict[str, str]]:
    """Bundled messages of a few routes."""
    path = REPO / "data" / "demo" / "support_routing" / name
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row.get("label", row.get("expected")) in labels]


def write_rows(path: Path, rows: list[dict[str, str]]) -> Path:
    """Write JSONL."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def require_model() -> None:
    """Skip, saying so, where the embedded model has not been converted."""
    if not (Settings.from_env().cache / "models" / "smollm2-135m-instruct" / "ratchet.json").is_file():
        pytest.skip("the embedded model is missing: `make setup` converts it")


def tiny_clone(folder: Path) -> Clone:
    """A clone whose params make a cycle take a minute, with a three-route feature `tiny`."""
    clone = Clone(folder)
    clone.set_params(TINY)
    clone.run("mkdir", "-p", "in")
    labels = folder / "in" / "labels.txt"
    labels.write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    clone.ratchet("feature", "new", "tiny", "--labels", str(labels))
    policy = (folder / "features" / "tiny" / "feature.yaml").read_text(encoding="utf-8")
    policy = policy.replace("min_items: 100", "min_items: 20").replace("min_users: 12", "min_users: 4")
    (folder / "features" / "tiny" / "feature.yaml").write_text(policy, encoding="utf-8")
    held = rows_of("holdout/holdout.jsonl")
    write_rows(folder / "in" / "traffic.jsonl", rows_of("traffic.jsonl"))
    write_rows(folder / "in" / "later.jsonl", rows_of("later.jsonl"))
    random.Random(1).shuffle(held)
    write_rows(folder / "in" / "holdout.jsonl", held[:60])
    return clone


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """The tiny clone, without its parts."""
    require_model()
    return tiny_clone(tmp_path_factory.mktemp("loop") / "clone")


@pytest.fixture(scope="session")
def loop(clone: Clone) -> Iterator[Clone]:
    """The tiny clone with all parts up, an approver enrolled, traffic replayed and a holdout added."""
    log: list[str] = []
    try:
        with clone.up(log):
            clone.ratchet("people", "add", "demo-machine", "--machine")
            clone.ratchet("replay", "tiny", "in/traffic.jsonl")
            clone.ratchet("holdout", "add", "tiny", "in/holdout.jsonl")
            yield clone
    finally:
        (clone.folder / "services.log").write_text("\n".join(log), encoding="utf-8")
