"""`ratchet try`: a page and a few lines, or one JSON object; nothing is stored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from ratchet.errors import BadInput
from tests.conftest import CLONE

DEMO = CLONE / "data" / "demo" / "support_routing" / "raw" / "default" / "2026-11-24"
FILES = [str(DEMO / "feedback.jsonl"), str(DEMO / "interactions.jsonl")]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of its own, in which nothing is."""
    monkeypatch.setenv("RATCHET_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_try_writes_a_page_says_what_it_found_and_stores_nothing(home: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["try", *FILES, "--out", str(tmp_path / "page.html")], catch_exceptions=False)
    assert result.exit_code == 0
    assert "405 interactions, 314 judged, 277 of them bad" in result.stdout
    assert "next: Learn from 269 corrections" in result.stdout
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert not home.exists()


def test_try_json_gives_facts_and_no_ones_words(home: Path, tmp_path: Path) -> None:
    given = ["try", *FILES, "--json", "--out", str(tmp_path / "page.html")]
    facts = json.loads(CliRunner().invoke(app, given, catch_exceptions=False).stdout)
    assert facts["records"] == facts["interactions"] + facts["feedback"] + facts["seen_twice"]
    assert facts["next_step"]["commands"][-1] == "ratchet run support_routing"
    assert "spelt wrong" not in json.dumps(facts)


def test_try_on_a_file_that_is_not_there_names_it(home: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nowhere\.jsonl"):
        CliRunner().invoke(app, ["try", str(tmp_path / "nowhere.jsonl")], catch_exceptions=False)
