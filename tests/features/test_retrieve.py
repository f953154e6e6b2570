import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

CLONE = Path(__file__).resolve().parents[2]
SCRIPT = CLONE / "features" / "help_answers" / "retrieve.py"
DATA = CLONE / "data" / "demo" / "help_answers"
ARTICLES = [
    {"id": "a1", "title": "Lost card", "text": "Freeze a lost card in the app."},
    {"id": "a2", "title": "Loans", "text": "Repay a loan early without a fee."},
    {"id": "a3", "title": "Cards abroad", "text": "Pay by card abroad."},
]


@pytest.fixture(scope="module")
def retrieve() -> ModuleType:
    spec = importlib.util.spec_from_file_location("retrieve", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ids(row: dict[str, Any]) -> list[str]:
    return [context["id"] for context in row["contexts"]]


def rows_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def test_nearest_article_comes_first_and_the_row_is_kept(retrieve: ModuleType) -> None:
    found = retrieve.add_contexts(ARTICLES, [{"text": "I lost my card", "user": "u1"}])
    assert ids(found[0])[0] == "a1" and len(ids(found[0])) == 2 and found[0]["user"] == "u1"


def test_question_without_a_known_word_gets_articles_in_order_of_their_ids(retrieve: ModuleType) -> None:
    assert ids(retrieve.add_contexts(ARTICLES, [{"text": "xyzzy"}])[0]) == ["a1", "a2"]


def test_no_questions_give_no_rows(retrieve: ModuleType) -> None:
    assert retrieve.add_contexts(ARTICLES, []) == []


def test_bundled_contexts_are_what_the_script_gives(retrieve: ModuleType) -> None:
    rows = rows_of("traffic.jsonl")[:20]
    asked = [{k: v for k, v in row.items() if k != "contexts"} for row in rows]
    assert [ids(r) for r in retrieve.add_contexts(rows_of("articles.jsonl"), asked)] == [ids(r) for r in rows]


def test_command_writes_jsonl(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text('{"text": "lost card é"}\n\n')
    command = [sys.executable, str(SCRIPT), str(DATA / "articles.jsonl"), str(tmp_path / "q.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [len(json.loads(line)["contexts"]) for line in done.stdout.splitlines()] == [2]
