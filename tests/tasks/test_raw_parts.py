"""tasks.raw_parts: the same parts whatever the number of processes, and nothing that cannot be written."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ratchet.files import digest_tree
from tasks.raw_parts import PARTS, write_parts
from tests.tasks.batch import Batch, question


def parts_of(batch: Batch, name: str, workers: int = 1) -> Path:
    folder = batch.root / name
    write_parts(batch.root / "data/demo/routing/raw", "routing", folder, workers=workers)
    return folder


def test_two_processes_write_what_one_does(tmp_path: Path) -> None:
    batch = Batch(tmp_path)
    for number in range(5):
        batch.say(batch.ask(question(number)), "thumb", True)
    batch.write_raw(["{", "[]"])
    one = digest_tree(parts_of(batch, "one"))
    assert one == digest_tree(parts_of(batch, "two", workers=2)) and len(one) == 2 * len(PARTS)


@pytest.mark.parametrize("odd", ["\ud800", "a\0b", "\U0001f600" * 300])
def test_an_id_that_cannot_be_written_is_listed_all_the_same(tmp_path: Path, odd: str) -> None:
    batch = Batch(tmp_path)
    batch.write_raw([json.dumps({"interaction_id": odd, "feature": "routing"})])
    (row,) = pq.read_table(parts_of(batch, "parts") / "rejected").to_pylist()
    assert row["place"].endswith("interactions.jsonl:1") and len(row["record_id"] or "") <= 200
