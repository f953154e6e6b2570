"""python -m tasks.tune and python -m tasks.evaluate, as the graph calls them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.fake_model_server import FakeModelServer
from tests.routing_clone import PARAMS, RoutingClone, right_if_shown


def command(clone: RoutingClone, *words: str, url: str = "http://127.0.0.1:9") -> subprocess.CompletedProcess[str]:
    places = {"RATCHET_HOME": str(clone.root / "home"), "RATCHET_CACHE": str(clone.root / "cache")}
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RATCHET_")}
    environment = kept | places | {"RATCHET_MODELSERVER_URL": url, "PYTHONPATH": str(PARAMS.parent)}
    run = [sys.executable, "-m", *words]
    return subprocess.run(run, cwd=clone.root, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_tune_writes_the_candidate_and_keeps_times_apart(tmp_path: Path) -> None:
    clone = RoutingClone(tmp_path)
    with FakeModelServer(right_if_shown) as server:
        ended = command(clone, "tasks.tune", "--arm", "fewshot", url=server.url)
    assert ended.returncode == 0, ended.stderr
    assert "seconds" not in (tmp_path / "data/routing/candidates/fewshot/report.json").read_text()
    assert json.loads((tmp_path / "data/routing/timings/tune-fewshot.json").read_text())["seconds"] > 0
    assert "demonstrations 1/4 on validation: 10/10 (100%)" in ended.stderr


def test_tune_ends_a_bad_input_with_two_and_one_line(tmp_path: Path) -> None:
    clone = RoutingClone(tmp_path)
    (tmp_path / "data/routing/curated/train.parquet").unlink()
    ended = command(clone, "tasks.tune", "--arm", "fewshot")
    assert ended.returncode == 2 and len(ended.stderr.splitlines()) == 1
    assert ended.stderr.startswith("tune fewshot: data/routing/curated/train.parquet is missing")


def test_an_unknown_arm_lists_the_known_ones(tmp_path: Path) -> None:
    ended = command(RoutingClone(tmp_path), "tasks.tune", "--arm", "magic")
    assert ended.returncode == 2 and "'fewshot', 'sft'" in ended.stderr


def test_tune_without_a_server_says_what_to_do(tmp_path: Path) -> None:
    ended = command(RoutingClone(tmp_path), "tasks.tune", "--arm", "fewshot")
    assert ended.returncode == 1 and "no model server at http://127.0.0.1:9" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_evaluate_ends_a_bad_input_with_two_and_one_line(tmp_path: Path) -> None:
    ended = command(RoutingClone(tmp_path), "tasks.evaluate")
    assert ended.returncode == 2 and len(ended.stderr.splitlines()) == 1
    assert "run the stage tune@fewshot first" in ended.stderr
