from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.tasks.fake_langfuse import KEYS, FakeLangfuse
from tests.tasks.test_pull_langfuse import trace


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLangfuse]:
    with FakeLangfuse() as server:
        keys = {"RATCHET_LANGFUSE_PUBLIC_KEY": KEYS[0], "RATCHET_LANGFUSE_SECRET_KEY": KEYS[1]}
        for key, value in (keys | {"RATCHET_LANGFUSE_URL": server.url, "RATCHET_ALLOW_PRIVATE": "1"}).items():
            monkeypatch.setenv(key, value)
        yield server


def test_pull_langfuse_says_what_became_of_each_record(ratchet, fake: FakeLangfuse, routing) -> None:
    day = datetime.now(UTC) - timedelta(days=1)
    fake.traces = [trace(1, day), trace(2, day, output=None)]
    ended = ratchet("pull", "langfuse", "--feature", "routing")
    assert ended.status == 0 and "routing: 2 records: 1 new, 0 known, 1 rejected" in ended.out
    assert "1 x neither the trace nor a generation holds a question and an answer" in ended.out
    assert str(routing.home / "imports" / "routing.langfuse.rejects.jsonl") in ended.out
    since = (day - timedelta(days=1)).date().isoformat()
    facts = json.loads(ratchet("pull", "langfuse", "--feature", "routing", "--since", since, "--json").out)
    assert (facts["read"], facts["accepted"], facts["known"]) == (2, 0, 1)


def test_pull_dataset_maps_columns(ratchet, tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"question": "hi", "output": "cards"}\n')
    path = str(tmp_path / "d.jsonl")
    assert (
        "1 records: 1 new" in ratchet("pull", "dataset", path, "--feature", "routing", "--column", "text=question").out
    )
    assert ratchet("pull", "dataset", path, "--feature", "routing", "--column", "text").status == 2


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["langfuse", "--feature", "routing"], "RATCHET_LANGFUSE_URL"),
        (["langfuse", "--feature", "routing", "--since", "soon"], "--since soon"),
        (["s3", "--feature", "routing"], "s3://bucket/prefix"),
        (["s3", "s3://logs/x", "--feature", "nosuch"], "unknown feature"),
    ],
)
def test_what_is_missing_is_named(ratchet, arguments: list[str], problem: str) -> None:
    ended = ratchet("pull", *arguments)
    assert ended.status == 2 and problem in ended.err
