"""From the store to curated examples: personal data that was planted in every field reaches no file."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ratchet.records import parse_feedback, parse_interaction
from ratchet.settings import Settings
from ratchet.store import open_store
from tasks.curate import curate
from tasks.harvest import Watermark, harvest
from tasks.snapshot import snapshot
from tasks.validate import validate
from tests.tasks.batch import Batch, question

PLANTS = ("planted@example.com", "+44 20 7946 0958", "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00", "10.9.8.7")


def plant(batch: Batch) -> None:
    """Interactions and feedback with every plant in every field that a person or an application fills."""
    everything = " and ".join(PLANTS)
    for number in range(12):
        asked = batch.ask(
            f"{question(number)} {everything}", user_id=PLANTS[0], session_id=f"{PLANTS[0]}-{number}", note=everything
        )
        batch.interactions[-1] |= {"contexts": [{"id": everything, "text": everything}], "segment": everything}
        batch.interactions[-1]["input"]["variables"] = {everything: [everything, 4111111111111111]}
        batch.say(asked, "correction", "loans", by=f"agent:{PLANTS[0]}", comment=everything, extra=everything)
        batch.say(asked, "comment", everything, by=f"user:{PLANTS[0]}")


def decoded(path: Path) -> str:
    if path.suffix == ".parquet":
        return json.dumps(pq.read_table(path).to_pylist(), ensure_ascii=False)
    return path.read_text(encoding="utf-8")


def test_personal_data_in_every_field_reaches_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    batch = Batch(tmp_path)
    plant(batch)
    raw = tmp_path / "data/demo/routing/raw"
    with open_store(f"sqlite:///{tmp_path / 'home/store.db'}") as store:
        store.add_interactions([parse_interaction(row, "x") for row in batch.interactions])  # type: ignore[misc]
        store.add_feedback([parse_feedback(row, "x") for row in batch.feedback])  # type: ignore[misc]
        harvest(store, "routing", raw, after=Watermark(), key=b"k" * 32)
    snapshot(batch.params())
    assert validate(batch.params(), tmp_path)["quarantined"] == 0
    assert curate(batch.params(), tmp_path, Settings.from_env().cache)["used"] > 0
    files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert len(files) > 10 and any("<EMAIL_" in decoded(path) for path in files)
    assert not [(path.name, p) for path in files for p in (*PLANTS, "4111111111111111") if p in decoded(path)]
