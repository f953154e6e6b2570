"""tasks.claims: what curate works on is the same however many processes read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ratchet.features import load_feature
from tasks.claims import Gathered, gather, open_valid, passages
from tests.tasks.batch import Batch, question


def gathered(batch: Batch, workers: int) -> tuple[Gathered, list[str]]:
    params = batch.params()
    path, feature = params.outputs / "valid.parquet", load_feature(Path(), params.feature)
    with open_valid(path) as connection:
        found = gather(path, connection, feature, {}, workers=workers)
        return found, sorted(passages(connection))


def test_three_processes_find_what_one_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    batch = Batch(tmp_path)
    batch.correct(9)
    for n in range(12):
        asked = batch.ask(question(n), session_id=f"s{n % 3}", contexts=[{"id": "a", "text": f"passage {n}"}])
        if n % 2:
            batch.say(asked, "thumb", False, by=f"user:u{n}")
    batch.run()
    one, several = gathered(batch, 1), gathered(batch, 3)
    assert one == several
    assert one[0].n_rows == len(one[0].rows) + one[0].aside.total() == 21
    assert len(one[0].rows) == 16 and len(one[1]) == 7  # fifteen with feedback, and one that was asked again
