"""tasks.evaluate: the choice of an arm, and the files of one trial."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from benchmarks.scratch import free_port
from ratchet.errors import BadInput, BadRecord, HoldoutTouched, ModelServerUnreachable
from ratchet.features import Decoding
from ratchet.files import write_json
from ratchet.prompts import Demonstration, Prompt
from ratchet.release import Release, write_candidate
from tasks.evaluate import choose_arm, evaluate
from tests.fake_model_server import FakeModelServer
from tests.routing_clone import RoutingClone, right_if_shown, right_label, target

SHOWN = Prompt(text="Name the team.", demonstrations=(Demonstration(input="my loan", output=target("loans")),))


def report(score: float | None, tokens: float = 10.0, family: str = "fewshot", **more: Any) -> dict[str, Any]:
    own = {"n": 10, "score": score, "low": 0.1, "high": 0.9}
    champion = {"score": 0.5}
    return {
        "validation": own,
        "champion_validation": champion,
        "tokens_per_answer": tokens,
        "champion_family": family,
        **more,
    }


SKIPPED = {"arm": "sft", "skipped": "no usable examples", "candidate_equals_champion": True}


@pytest.mark.parametrize(
    ("reports", "chosen"),
    [
        ({"fewshot": report(0.6), "sft": report(0.8)}, "sft"),
        ({"fewshot": report(0.2), "sft": report(0.1)}, "fewshot"),  # worse than the champion: the gate decides
        ({"fewshot": report(0.6, 90), "sft": report(0.6, 10)}, "fewshot"),  # a tie: the champion's family
        ({"fewshot": report(0.6, 10, "sft"), "sft": report(0.6, 90, "sft")}, "sft"),
        ({"dpo": report(0.6, 90), "sft": report(0.6, 10)}, "sft"),  # neither is of the family: fewer tokens
        ({"fewshot": report(0.0), "sft": SKIPPED}, "fewshot"),
        ({"fewshot": report(None), "sft": report(0.0)}, "sft"),
        ({"fewshot": SKIPPED, "sft": SKIPPED}, "fewshot"),
    ],
)
def test_choose_arm(reports: dict[str, dict[str, Any]], chosen: str) -> None:
    assert choose_arm(reports) == chosen == choose_arm(dict(reversed(reports.items())))


def test_choose_arm_needs_a_report() -> None:
    with pytest.raises(BadInput, match="no arm"):
        choose_arm({})


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RoutingClone:
    """A clone whose arm fewshot found demonstrations, and whose arm sft had nothing to do."""
    monkeypatch.chdir(tmp_path)
    clone = RoutingClone(tmp_path)
    write_arm(clone, "fewshot", clone.champion.model_copy(update={"prompt": SHOWN}), report(1.0))
    write_arm(clone, "sft", clone.champion, SKIPPED)
    return clone


def write_arm(clone: RoutingClone, arm: str, release: Release, found: dict[str, Any]) -> None:
    folder = clone.root / "data/routing/candidates" / arm
    write_candidate(folder, release)
    write_json(folder / "report.json", found)


def run(clone: RoutingClone, reply: Any, *, port: int = 0) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    with FakeModelServer(reply, port=port) as server:
        metrics = evaluate(clone.params(), clone.settings(server.url))
    return metrics, server.bodies


def summary(clone: RoutingClone) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(
        (clone.root / "data/routing/evaluation/summary.json").read_text(encoding="utf-8")
    )
    return found


def rows(clone: RoutingClone, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (clone.root / "data/routing/evaluation" / name).read_text().splitlines()]


def test_metrics_compare_the_roles_on_the_same_items(clone: RoutingClone) -> None:
    metrics, _ = run(clone, right_if_shown)
    assert {role: found["score"] for role, found in summary(clone).items()} == {
        "champion": 0.5,
        "candidate": 1.0,
        "anchor": 0.5,
    }
    assert metrics["chosen_arm"] == "fewshot" and metrics["arms"]["sft"]["score"] is None
    assert metrics == json.loads((clone.root / "data/routing/metrics/evaluate.json").read_text())


def test_a_release_in_two_roles_is_asked_once(clone: RoutingClone) -> None:
    _, bodies = run(clone, right_if_shown)
    assert len(bodies) == 2 * (12 + 2)  # champion = anchor, and the candidate; holdout and showcase


def test_an_unchanged_candidate_copies_the_answers(clone: RoutingClone) -> None:
    write_arm(clone, "fewshot", clone.champion, report(0.5))
    metrics, bodies = run(clone, right_if_shown)
    assert metrics["candidate_equals_champion"] and len(bodies) == 12 + 2
    assert all(row["champion"] == row["candidate"] == row["anchor"] for row in rows(clone, "scores.jsonl"))


def test_the_files_of_the_contract_are_written(clone: RoutingClone) -> None:
    run(clone, right_if_shown)
    answers = pq.read_table(clone.root / "data/routing/evaluation/answers.parquet")
    assert {"item_id", "release_id", "role", "repeat", "output", "input_tokens"} < set(answers.column_names)
    assert answers.num_rows == 3 * 12 and "latency_ms" not in answers.column_names
    timed = pq.read_table(clone.root / "data/routing/timings/answers.parquet")
    assert timed.drop_columns("latency_ms") == answers and min(timed["latency_ms"].to_pylist()) > 0
    scores = rows(clone, "scores.jsonl")
    assert set(scores[1]) == {"item_id", "metric", "slice", "slices", "champion", "candidate", "anchor"}
    assert [s["metric"] for s in scores] == ["quality"] * 12 + ["tokens"] * 12 and scores[12]["champion"] > 0
    assert [(s["slice"], s["champion"], s["candidate"]) for s in scores[:2]] == [
        ("cards", 1.0, 1.0),
        ("loans", 0.0, 1.0),
    ]


def test_the_showcase_holds_both_answers_beside_the_right_one(clone: RoutingClone) -> None:
    run(clone, right_if_shown)
    second = {"champion": target("cards"), "candidate": target("loans"), "expected": target("loans")}
    assert rows(clone, "showcase.jsonl")[1] == second | {"text": "the loan number showcase1 is too dear"}


def test_the_outputs_repeat_byte_by_byte_and_hold_no_times(clone: RoutingClone) -> None:
    seen, port = [], free_port()
    for forgets in (False, False, True):
        if forgets:
            shutil.rmtree(clone.root / "home/answers")
        run(clone, right_if_shown, port=port)
        seen.append({p.name: p.read_bytes() for p in (clone.root / "data/routing/evaluation").iterdir()})
    assert seen[0] == seen[1] == seen[2]
    timings = json.loads((clone.root / "data/routing/timings/evaluate.json").read_text())
    assert set(timings) == {"seconds", "p95_latency_ms"} and timings["p95_latency_ms"]["champion"] > 0
    times = (clone.root / "data/routing/timings/latencies.jsonl").read_text().splitlines()
    assert len(times) == 12 and json.loads(times[0])["champion"] > 0


def test_no_text_and_no_score_of_the_holdout_is_in_the_metrics(
    clone: RoutingClone, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics, _ = run(clone, right_if_shown)
    assert "number" not in (clone.root / "data/routing/metrics/evaluate.json").read_text()
    assert all(set(metrics[role]) == {"release_id", "unscored"} for role in summary(clone))
    assert "0.5" not in capsys.readouterr().err


def test_a_failed_request_is_unscored(clone: RoutingClone) -> None:
    def reply(body: dict[str, Any]) -> Any:
        is_bad = "holdout3 " in body["messages"][-1]["content"]
        return (400, {"error": {"message": "too long"}}) if is_bad else right_label(body)

    metrics, _ = run(clone, reply)
    champion = summary(clone)["champion"]
    assert (champion["n"], metrics["champion"]["unscored"], champion["score"]) == (11, 1, 1.0)
    assert rows(clone, "scores.jsonl")[3]["champion"] is None


def test_a_server_that_answers_nothing_breaks_the_run(clone: RoutingClone) -> None:
    with pytest.raises(ModelServerUnreachable, match="answered none of 14 requests: HTTP 404: unknown model"):
        run(clone, lambda body: (404, {"error": {"message": "unknown model"}}))


def test_an_empty_holdout_names_the_command(clone: RoutingClone) -> None:
    clone.write_holdout("holdout", 0)
    with pytest.raises(BadInput, match="ratchet holdout add routing"):
        run(clone, right_label)


def test_a_missing_showcase_is_no_error(clone: RoutingClone) -> None:
    (clone.root / "data/demo/routing/holdout/showcase.jsonl").unlink()
    run(clone, right_label)
    assert rows(clone, "showcase.jsonl") == []


def test_a_malformed_holdout_line_is_named(clone: RoutingClone) -> None:
    clone.write("data/demo/routing/holdout/holdout.jsonl", '{"text": "x", "expected": "cards"}\n{"text": "y"}\n')
    with pytest.raises(BadRecord, match=r"holdout\.jsonl:2"):
        run(clone, right_label)


def test_a_holdout_that_a_release_was_shown_is_refused_by_its_items(clone: RoutingClone) -> None:
    shown = Demonstration(input="MY card number holdout4 is lost!", output=target("cards"))
    prompt = SHOWN.model_copy(update={"demonstrations": (*SHOWN.demonstrations, shown)})
    write_arm(clone, "fewshot", clone.champion.model_copy(update={"prompt": prompt}), report(1.0))
    told = r"1 items of the holdout are demonstrations in the candidate's prompt, such as item_\w{16}: take them out"
    with FakeModelServer(right_label) as server, pytest.raises(HoldoutTouched, match=told):
        evaluate(clone.params(), clone.settings(server.url))
    assert server.bodies == []


def test_a_missing_arm_names_the_stage_to_run(clone: RoutingClone) -> None:
    (clone.root / "data/routing/candidates/sft/report.json").unlink()
    with pytest.raises(BadInput, match="dvc repro tune@sft"):
        run(clone, right_label)


def test_a_free_text_feature_is_scored_by_its_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    clone = RoutingClone(tmp_path, scorer="token_f1", output_schema=None)
    for arm in ("fewshot", "sft"):
        write_arm(clone, arm, clone.champion, SKIPPED)
    run(clone, lambda body: "cards team")
    champion = summary(clone)["champion"]
    assert champion["low"] <= champion["score"] <= champion["high"] and 0.3 < champion["score"] < 0.4


def test_an_unchanged_release_is_never_asked_again(clone: RoutingClone) -> None:
    port = free_port()
    run(clone, right_if_shown, port=port)
    before = [times(clone), (clone.root / "data/routing/evaluation/answers.parquet").read_bytes()]
    _, bodies = run(clone, right_if_shown, port=port)
    assert bodies == [] and before[0] == times(clone)  # a recorded answer keeps the time it took
    changed = clone.champion.model_copy(update={"prompt": SHOWN.model_copy(update={"text": "Which team?"})})
    write_arm(clone, "fewshot", changed, report(1.0))
    _, bodies = run(clone, right_if_shown, port=port)
    assert len(bodies) == 12 + 2 and all("Which team?" in body["messages"][0]["content"] for body in bodies)


def test_times_that_the_gate_weighs_are_taken_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    clone = RoutingClone(tmp_path, gate={"objective": "latency", "anchor_margin": 0.02})
    for arm in ("fewshot", "sft"):
        write_arm(clone, arm, clone.champion, SKIPPED)
    port = free_port()
    assert [len(run(clone, right_label, port=port)[1]) for _ in range(2)] == [14, 14]
    told = json.loads((clone.root / "data/routing/timings/evaluate.json").read_text())
    assert told["p95_latency_ms"] == {}  # times are what is gated here, so they stay sealed


def times(clone: RoutingClone) -> bytes:
    return (clone.root / "data/routing/timings/latencies.jsonl").read_bytes()


def test_drawn_answers_are_scored_by_their_mean(clone: RoutingClone, capsys: pytest.CaptureFixture[str]) -> None:
    fields = json.loads((clone.root / "params.yaml").read_text())
    clone.write("params.yaml", json.dumps(fields | {"evaluate": {"concurrency": 1, "repeats": 4, "seed": 1}}))
    drawn = clone.champion.model_copy(update={"decoding": Decoding(temperature=1.0)})
    write_arm(clone, "fewshot", drawn, report(1.0))
    asked: dict[str, int] = {}

    def reply(body: dict[str, Any]) -> str:  # the drawn answer is right three times in four
        text = body["messages"][-1]["content"]
        asked[text] = asked.get(text, 0) + bool(body["temperature"])
        return "?" if asked[text] == 1 and body["temperature"] else right_label(body)

    port = free_port()
    _, bodies = run(clone, reply, port=port)
    assert len(bodies) == 14 + 4 * 14 and {row["candidate"] for row in rows(clone, "scores.jsonl")[:12]} == {0.75}
    assert "asked once and not 4 times: champion, anchor" in capsys.readouterr().err
    assert summary(clone)["candidate"]["n"] == 12 and run(clone, reply, port=port)[1] == []


STAGE = "import sys; from tasks.evaluate import main; sys.exit(main())"


def stage(clone: RoutingClone, url: str) -> subprocess.Popen[str]:
    settings = clone.settings(url)
    environ = {"RATCHET_HOME": str(settings.home), "RATCHET_CACHE": str(settings.cache), "RATCHET_MODELSERVER_URL": url}
    environ |= {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    return subprocess.Popen(
        [sys.executable, "-c", STAGE], cwd=clone.root, env=environ, stderr=subprocess.PIPE, text=True
    )


def test_after_kill_9_only_what_is_missing_is_asked(clone: RoutingClone) -> None:
    with FakeModelServer(right_if_shown) as server:
        server.delay_s = 0.1
        killed = stage(clone, server.url)
        wait_for(lambda: len(server.bodies) >= 17)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        server.delay_s = 0
    asked_before = len(server.bodies)
    _, bodies = run(clone, right_if_shown, port=server.http.server_address[1])
    assert 0 < len(bodies) <= 28 - asked_before + 8  # at most what was under way, `concurrency` of them
    assert all(row["candidate"] == 1.0 for row in rows(clone, "scores.jsonl")[:12])


SERVER = """
import sys, threading, time
from benchmarks.scratch import free_port
from tests.fake_model_server import FakeModelServer
from tests.routing_clone import right_if_shown
with FakeModelServer(right_if_shown) as server:
    server.delay_s = 0.1
    print(server.url, flush=True)
    while True:
        print(len(server.bodies), flush=True)
        time.sleep(0.02)
"""


def test_what_a_server_answered_before_it_died_is_kept(clone: RoutingClone) -> None:
    command, root = [sys.executable, "-c", SERVER], Path(__file__).resolve().parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        evaluating = stage(clone, server.stdout.readline().strip())
        wait_for(lambda: int(server.stdout.readline()) >= 10)  # type: ignore[union-attr]
        server.kill()
    _, told = evaluating.communicate(timeout=60)
    assert evaluating.returncode == 1 and "answers are kept: run again, and only the rest is asked" in told
    kept = next((clone.root / "home/answers").glob("*/routing.jsonl")).read_text().count("\n")
    assert kept >= 2 and f"{kept} of 14" in told


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)
