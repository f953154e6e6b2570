from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest

from ratchet.errors import BadInput
from ratchet.features import Feature
from ratchet.settings import Settings
from ratchet.store import Store, open_store
from tasks.pull import PullReport
from tasks.pull_dataset import pull_dataset
from tests.conftest import POLICY

ROWS = [{"text": "my card is lost", "output": "cards", "expected": "cards"}]
ROWS += [{"text": "a loan please", "output": "cards", "expected": "loans"}]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env({"RATCHET_REPO": str(tmp_path), "RATCHET_HOME": str(tmp_path / "home")})


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with open_store(settings.database_url) as opened:
        yield opened


def pull(settings: Settings, store: Store, path: Path, split: str | None = None, **columns: str) -> PullReport:
    return pull_dataset(settings, store, Feature.model_validate(POLICY), path, columns=columns, split=split)


def saved(path: Path, rows: list[dict[str, Any]]) -> Path:
    datasets.Dataset.from_list(rows).save_to_disk(str(path))
    return path


def test_a_saved_dataset_becomes_interactions_and_corrections(settings: Settings, store: Store, tmp_path: Path) -> None:
    path = saved(tmp_path / "d", ROWS)
    assert pull(settings, store, path).accepted == 4
    assert pull(settings, store, path).known == 4
    said = [(f.kind, f.value, f.source.id) for _, _, f in store.feedback("routing")]
    assert said == [("correction", "cards", "dataset"), ("correction", "loans", "dataset")]


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_a_folder_of_files_is_read(settings: Settings, store: Store, tmp_path: Path, kind: str) -> None:
    found = datasets.Dataset.from_list(ROWS)
    (tmp_path / "d" / "part").mkdir(parents=True)
    (found.to_parquet if kind == "parquet" else found.to_json)(str(tmp_path / "d" / "part" / f"0.{kind}"))
    (tmp_path / "d" / "README.md").write_text("no data")
    assert pull(settings, store, tmp_path / "d").accepted == 4


def test_columns_of_other_names_are_mapped(settings: Settings, store: Store, tmp_path: Path) -> None:
    row = {"query": "hi", "answer": "cards", "when": "2026-01-02T03:04:05Z", "who": "u1", "key": 0}
    path = saved(tmp_path / "d", [row])
    pull(settings, store, path, text="query", output="answer", at="when", user="who", id="key")
    ((_, found),) = store.interactions("routing")
    assert (found.interaction_id, found.user_id, found.at.year) == ("0", "u1", 2026)


def test_a_class_label_is_read_by_its_name(settings: Settings, store: Store, tmp_path: Path) -> None:
    shape = datasets.Features(
        {"text": datasets.Value("string"), "output": datasets.ClassLabel(names=["cards", "loans"])}
    )
    datasets.Dataset.from_dict({"text": ["x"], "output": [1]}, features=shape).save_to_disk(str(tmp_path / "d"))
    pull(settings, store, tmp_path / "d")
    assert [i.output.content for _, i in store.interactions("routing")] == ["loans"]


def test_one_split_of_several_is_chosen(settings: Settings, store: Store, tmp_path: Path) -> None:
    both = datasets.DatasetDict({n: datasets.Dataset.from_list([r]) for n, r in zip(("a", "b"), ROWS, strict=True)})
    both.save_to_disk(str(tmp_path / "d"))
    with pytest.raises(BadInput, match="choose a split: a, b"):
        pull(settings, store, tmp_path / "d")
    assert pull(settings, store, tmp_path / "d", split="b").accepted == 2


def test_rows_that_cannot_be_used_are_counted(settings: Settings, store: Store, tmp_path: Path) -> None:
    rows = [{"text": "hi", "output": "a"}, {"text": None, "output": "a"}, {"text": "hi", "output": 7}]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "{\n")
    (tmp_path / "e.parquet").write_bytes(b"PAR1 no")
    report = pull(settings, store, tmp_path)
    assert (report.read, report.accepted, sum(report.rejected.values())) == (5, 1, 4)


def test_what_is_no_dataset_is_told(settings: Settings, store: Store, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no dataset"):
        pull(settings, store, tmp_path / "nothing")
    with pytest.raises(BadInput, match="colour: no such field"):
        pull(settings, store, tmp_path, colour="x")
    with pytest.raises(BadInput, match="no column query; there are"):
        pull(settings, store, saved(tmp_path / "d", ROWS), text="query")
