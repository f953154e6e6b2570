"""tasks.partitions: a partition in chunks and sorted runs is the same file as in one piece."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from ratchet.records import Feedback, Interaction
from ratchet.store import Store, interactions, open_store
from tasks.partitions import CHUNK, Touched, write_partition
from tasks.scrub import Item

AT = datetime(2026, 1, 5, 10, tzinfo=UTC)
N = 2 * CHUNK + 100
PART = Touched("interactions", "default", "2026-01-05", N)


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Store]:
    """A store with a day of records that did not arrive in their order."""
    with open_store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        fields = {"feature": "routing", "input": {"messages": [{"role": "user", "content": "hi\n\u2028 x"}]}}
        times = [AT + timedelta(seconds=number * 7919 % N, microseconds=number % 2) for number in range(N)]
        rows = [
            fields | {"interaction_id": f"i{number}", "at": at, "output": {"content": "x"}}
            for number, at in enumerate(times)
        ]
        store.add_interactions([Interaction.model_validate(row) for row in rows])
        yield store


def as_they_are(items: Sequence[Item]) -> list[Interaction | Feedback | None]:
    return [item.interaction for item in items]


def test_many_runs_give_the_same_file_as_one_and_progress_is_told_by_chunk(full: Store, tmp_path: Path) -> None:
    told: list[int] = []
    for name, run_lines in (("one", 10 * N), ("many", CHUNK)):
        path = tmp_path / name / "interactions.jsonl"
        assert (
            write_partition(
                full, "routing", PART, path, scrub=as_they_are, on_progress=told.append, run_lines=run_lines
            )
            == 0
        )
    one, many = ((tmp_path / name / "interactions.jsonl").read_bytes() for name in ("one", "many"))
    found = [json.loads(line) for line in many.splitlines()]
    assert one == many and told == [CHUNK, CHUNK, 100] * 2
    times = [datetime.fromisoformat(row["at"]) for row in found]
    assert len(found) == N and times == sorted(times)


def test_records_that_cannot_be_read_or_scrubbed_are_counted(full: Store, tmp_path: Path) -> None:
    with full.engine.begin() as connection:
        connection.execute(sa.update(interactions).where(interactions.c.interaction_id == "i1").values(body="{}"))

    def without_one(items: Sequence[Item]) -> list[Interaction | Feedback | None]:
        return [None if item.interaction.interaction_id == "i2" else item.interaction for item in items]

    path = tmp_path / "x.jsonl"
    assert write_partition(full, "routing", PART, path, scrub=without_one, on_progress=lambda n: None) == 2
    assert len(path.read_text(encoding="utf-8").split("\n")) == N - 2 + 1


def test_tenants_and_days_that_are_no_folder_names_are_not_safe() -> None:
    assert PART.is_safe and PART.path == "default/2026-01-05/interactions.jsonl"
    assert not Touched("interactions", "../x", "2026-01-05", 1).is_safe
    assert not Touched("interactions", "a", "2026-01-05/..", 1).is_safe
