"""`ratchet ci`: exit status, and the three files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from cli.main import app
from ratchet import git
from tests.fake_model_server import FakeModelServer
from tests.routing_clone import RoutingClone, right_label, target


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RoutingClone:
    made = RoutingClone(tmp_path)
    made.write_holdout("showcase", 60)
    made.write("features/routing/prompts/default.md", "Name the team.\n")
    git.run(tmp_path, "init", "-q", "-b", "main")
    git.run(tmp_path, "add", "-A")
    git.run(tmp_path, "commit", "-q", "-m", "first")
    for name, path in {"REPO": tmp_path, "HOME": tmp_path / "home", "CACHE": tmp_path / "cache"}.items():
        monkeypatch.setenv(f"RATCHET_{name}", str(path))
    monkeypatch.chdir(tmp_path)
    return made


def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    def reply(body: dict[str, Any]) -> str:
        return target("cards") if "always cards" in body["messages"][0]["content"] else right_label(body)

    with FakeModelServer(reply) as server:
        monkeypatch.setenv("RATCHET_MODELSERVER_URL", server.url)
        return CliRunner().invoke(app, ["ci", "--json"], env=dict(os.environ))


def test_nothing_changed_is_said_and_passes(clone: RoutingClone, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch).exit_code == 0
    assert Path("ci/report.md").read_text() == "No feature differs from `main`.\n"


def test_a_harmful_prompt_fails_in_all_three_files(clone: RoutingClone, monkeypatch: pytest.MonkeyPatch) -> None:
    clone.write("features/routing/prompts/default.md", "Say always cards.\n")
    clone.write("features/routing/cases/a.yaml", "{name: '<b>|loan', text: my loan, expect: {label: loans}}\n")
    git.run(clone.root, "add", "-A")
    found = run(monkeypatch)
    assert found.exit_code == 4 and json.loads(found.stdout)[0]["verdict"] == "worse"
    suite = ElementTree.parse("ci/junit.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("2", "2")
    page = Path("ci/report.md").read_text()
    assert "| routing | cases, prompt | WORSE | 1 | 0.5 | 30 of 60 |" in page and "<b>" not in page
    assert "number" not in page  # a word of every item: no user text leaves
    assert json.loads(Path("ci/report.json").read_text())[0]["cases"] == {"<b>|loan": "failed"}
