"""tasks.evaluate: the choice of an arm, and the files of one trial."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from ratchet.errors import BadInput, BadRecord, ModelServerUnreachable
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


def run(clone: RoutingClone, reply: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    with FakeModelServer(reply) as server:
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
    columns = ["item_id", "release_id", "role", "output", "input_tokens", "output_tokens", "finish_reason"]
    assert answers.column_names == columns and answers.num_rows == 3 * 12
    scores = rows(clone, "scores.jsonl")
    assert set(scores[1]) == {"item_id", "metric", "slice", "champion", "candidate", "anchor"}
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
    seen = []
    for _ in range(2):
        run(clone, right_if_shown)
        seen.append({p.name: p.read_bytes() for p in (clone.root / "data/routing/evaluation").iterdir()})
    assert seen[0] == seen[1]
    timings = json.loads((clone.root / "data/routing/timings/evaluate.json").read_text())
    assert set(timings) == {"seconds", "p95_latency_ms"} and timings["p95_latency_ms"]["champion"] > 0
    times = (clone.root / "data/routing/timings/latencies.jsonl").read_text().splitlines()
    assert len(times) == 12 and json.loads(times[0])["champion"] > 0


def test_no_text_and_no_score_of_the_holdout_is_in_the_metrics(
    clone: RoutingClone, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics, _ = run(clone, right_if_shown)
    assert "number" not in (clone.root / "data/routing/metrics/evaluate.json").read_text()
    assert all(set(metrics[role]) == {"release_id", "unscored", "tokens_per_answer"} for role in summary(clone))
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
