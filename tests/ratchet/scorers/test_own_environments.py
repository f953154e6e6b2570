"""DeepEval and TruLens, each installed as pinned into an environment of its own, as scorers by command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ratchet.features import ScorerSpec
from ratchet.records import Message
from ratchet.scorers import Item, score_items
from tests.fake_model_server import FakeModelServer

SCORERS = Path(__file__).resolve().parents[3] / "infra" / "scorers"
ASKED = (Message(role="user", content="When do you open?"),)
ITEMS = [Item(messages=ASKED, output=output, expected="At nine.") for output in ("At nine.", "Buy cheese.")]


def install(name: str, folder: Path) -> list[str]:
    """The command of a scorer, its library installed into a new environment."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
    pip = [str(folder / "bin/pip"), "install", "-q", "-r", str(SCORERS / name / "requirements.txt")]
    done = subprocess.run(pip, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{name} could not be installed; is the package index reached? {done.stderr[-200:]}")
    return [str(folder / "bin/python"), str(SCORERS / name / "scorer.py")]


@pytest.mark.slow
@pytest.mark.network
def test_deepeval_scores_without_an_llm(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(item.model_dump_json() + "\n" for item in ITEMS))
    scorer = json.dumps({"command": install("deepeval", tmp_path / "venv"), "timeout_s": 120})
    ratchet = [sys.executable, "-m", "cli.main", "score", str(rows), "--scorer", scorer, "--json"]
    done = subprocess.run(ratchet, check=False, capture_output=True, text=True, cwd=SCORERS.parents[1])
    assert done.returncode == 0, done.stderr
    assert [row["score"] for row in json.loads(done.stdout)["rows"]] == [1.0, 0.0]


@pytest.mark.slow
@pytest.mark.network
def test_trulens_asks_a_judge_at_an_openai_compatible_address(tmp_path: Path) -> None:
    command = install("trulens", tmp_path / "venv")

    def reply(body: dict[str, Any]) -> Any:
        if "messages" not in body:  # another protocol than chat, which our model server does not speak either
            return 404, {"error": {"message": "not found"}}
        return "Score: 3" if "At nine." in json.dumps(body["messages"]) else "Score: 0"

    with FakeModelServer(reply, models=("judge",)) as judge:
        spec = ScorerSpec(command=(*command, f"{judge.url}/v1", "judge"), options={"timeout_s": 120})
        scores = score_items(spec, ITEMS)
    assert [score.score for score in scores] == [1.0, 0.0]
