"""tasks.trial: the feature's further metrics, a judge with people's labels, sessions, and scorers that break."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ratchet.answers import AnswerLog
from ratchet.errors import BadInput
from ratchet.features import ScorerSpec
from ratchet.judge import draw, read_answers, write_labels
from ratchet.records import Message
from ratchet.scorers import Item, JudgeServer, score_items
from tasks.evaluate import evaluate
from tasks.gate import gate
from tasks.regions import figures_of
from tests.fake_model_server import FakeModelServer
from tests.routing_clone import TEXTS, RoutingClone, right_if_shown
from tests.tasks.test_evaluate import SHOWN, SKIPPED, report, write_arm

OWN = """
def short(item):
    if "holdout3 " in item.messages[-1].content:
        raise ValueError(item.output)
    return len(item.output) < 100

def broken(item):
    return 1 / 0

def right(item):
    return item.output == item.expected
"""
JUDGE = {"name": "judge", "as": "polite", "rubric": "Is it polite?", "model": "judge"}


def clone_with(root: Path, n: int = 12, **changes: Any) -> RoutingClone:
    clone = RoutingClone(root, **changes)
    clone.write("features/routing/scorers.py", OWN)
    clone.write_holdout("holdout", n)
    clone.write("data/demo/routing/looks.json", json.dumps({"advisory": False, "looks": 1}))
    write_arm(clone, "fewshot", clone.champion.model_copy(update={"prompt": SHOWN}), report(1.0))
    write_arm(clone, "sft", clone.champion, SKIPPED)
    return clone


def run(clone: RoutingClone, judge_url: str | None = None) -> dict[str, Any]:
    with FakeModelServer(right_if_shown) as server:
        given = {"RATCHET_MODELSERVER_URL": server.url} | ({"RATCHET_JUDGE_URL": judge_url} if judge_url else {})
        return evaluate(clone.params(), clone.settings(**given))


def rows(clone: RoutingClone, metric: str) -> list[dict[str, Any]]:
    path = clone.root / "data/routing/evaluation/scores.jsonl"
    return [row for line in path.read_text().splitlines() if (row := json.loads(line))["metric"] == metric]


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_metric_has_a_row_for_each_item(tmp_path: Path) -> None:
    metrics = ["pii_leak", {"name": "length", "unit": "characters", "most": 5}, "schema_valid"]
    clone = clone_with(tmp_path, metrics=metrics)
    found = run(clone)
    assert [len(rows(clone, m)) for m in ("quality", "tokens", "pii_leak", "length", "schema_valid")] == [12] * 5
    assert {row["candidate"] for row in rows(clone, "length")} == {0.0}
    assert {row["champion"] for row in rows(clone, "schema_valid")} == {1.0}
    summary = json.loads((tmp_path / "data/routing/evaluation/summary.json").read_text())
    assert summary["candidate"]["metrics"]["length"]["score"] == 0.0 and "length" not in json.dumps(found)


def test_a_scorer_that_raises_on_an_item_leaves_it_unscored(tmp_path: Path) -> None:
    clone = clone_with(tmp_path, metrics=[{"python": "features/routing/scorers.py:short"}])
    run(clone)
    assert [row["candidate"] for row in rows(clone, "short")] == [None if i == 3 else 1.0 for i in range(12)]


def test_a_scorer_that_breaks_on_too_many_fails_the_stage_without_their_text(tmp_path: Path) -> None:
    clone = clone_with(tmp_path, metrics=[{"python": "features/routing/scorers.py:broken"}])
    with pytest.raises(BadInput, match=r"scorer broken broke on 12 of 12 answers: the scorer raised ZeroDivisionError"):
        run(clone)


def test_the_primary_scorer_may_be_the_teams_own(tmp_path: Path) -> None:
    clone = clone_with(tmp_path, scorer={"python": "features/routing/scorers.py:right"})
    assert run(clone)["scorer"] == "right"
    assert [row["champion"] for row in rows(clone, "quality")] == [1.0, 0.0] * 6
    assert {row["candidate"] for row in rows(clone, "quality")} == {1.0}


def test_the_primary_scorer_may_be_a_command(tmp_path: Path) -> None:
    program = tmp_path / "score.py"
    program.write_text(
        "import json, sys\n"
        "for line in sys.stdin:\n"
        "    row = json.loads(line)\n"
        "    print(json.dumps({'index': row['index'], 'score': row['output'] == row['expected']}))\n"
    )
    run(clone := clone_with(tmp_path, scorer={"command": ["/usr/bin/env", "python3", str(program)]}))
    assert [row["champion"] for row in rows(clone, "quality")] == [1.0, 0.0] * 6


def test_sessions_go_with_the_scores(tmp_path: Path) -> None:
    clone = clone_with(tmp_path)
    items = [{"text": TEXTS["cards"].format(i), "expected": "cards", "session": f"s{i // 2}"} for i in range(4)]
    items.append({"text": TEXTS["loans"].format(9), "expected": "loans"})
    clone.write("data/demo/routing/holdout/holdout.jsonl", "".join(json.dumps(item) + "\n" for item in items))
    run(clone)
    assert [row.get("session") for row in rows(clone, "quality")] == ["s0", "s0", "s1", "s1", None]


def test_where_the_candidate_lost_on_validation_is_a_slice_of_the_holdout(tmp_path: Path) -> None:
    clone = clone_with(tmp_path, n=60)
    lost = [{"figures": figures_of((Message(role="user", content=TEXTS["cards"].format(i)),), {})} for i in range(30)]
    won = [{"figures": figures_of((Message(role="user", content=TEXTS["loans"].format(i)),), {})} for i in range(30)]
    rows_ = [row | {"champion": 1.0, "candidate": 0.0} for row in lost]
    rows_ += [row | {"champion": 0.0, "candidate": 1.0} for row in won]
    clone.write("data/routing/candidates/fewshot/validation.jsonl", "".join(json.dumps(row) + "\n" for row in rows_))
    run(clone)
    found = [(row["slice"], "region found on validation" in row["slices"]) for row in rows(clone, "quality")]
    assert set(found) == {("cards", True), ("loans", False)}


def grade(body: dict[str, Any]) -> str:
    """A judge that finds loans polite, and cards not."""
    return json.dumps({"grade": 5 if '"loans"' in body["messages"][1]["content"].rpartition("[[")[2] else 1})


def test_a_judges_answers_are_recorded_and_labels_are_drawn_from_what_it_scored(tmp_path: Path) -> None:
    clone = clone_with(tmp_path, metrics=[JUDGE])
    with FakeModelServer(grade, models=("judge",)) as judge:
        run(clone, judge.url)
        asked = len(judge.bodies)
        run(clone, judge.url)
    assert asked == len(judge.bodies) == 18  # the releases differ on 6 of 12 items; nothing is asked twice
    assert rows(clone, "polite")[1] | {"item_id": ""} == {
        "item_id": "", "metric": "polite", "slice": "loans", "champion": 0.0, "anchor": 0.0, "candidate": 1.0,
        "human_champion": None, "human_candidate": None, "inclusion": None,
    }  # fmt: skip
    assert len(draw(read_answers(tmp_path / "data/routing/evaluation/judged_polite.jsonl"), 12, seed=1)) == 18


def label(clone: RoutingClone, n: int, human: dict[str, float]) -> None:
    """People label the answers to n items, by the label that the answer gives."""
    drawn = draw(read_answers(clone.root / "data/routing/evaluation/judged_polite.jsonl"), n, seed=1)
    path = clone.root / "data/demo/routing/holdout/judge_polite.jsonl"
    path.unlink(missing_ok=True)
    write_labels(path, [row | {"human": human[json.loads(row["output"])["route"]]} for row in drawn])


def test_the_gate_hears_a_judge_by_peoples_labels_alone(tmp_path: Path) -> None:
    policy = {"anchor_margin": 0.02, "margins": {"polite": 0.05}, "min_items": 20}
    clone = clone_with(tmp_path, n=80, metrics=[JUDGE], gate=policy)
    verdicts = []
    with FakeModelServer(grade, models=("judge",)) as judge:
        for n, human in ((0, {}), (20, {"loans": 1, "cards": 0}), (60, {"loans": 1, "cards": 0}),
                         (60, {"loans": 0, "cards": 1})):  # fmt: skip
            if n:
                label(clone, n, human)
            run(clone, judge.url)
            found = gate(clone.params())
            verdicts.append((found["verdict"], found["sealed"], found["reasons"][0]))
    assert [verdict for verdict, _, _ in verdicts] == ["inconclusive", "inconclusive", "accept", "reject"]
    assert "from 0 labelled items" in verdicts[0][2] and "from 20 labelled items" in verdicts[1][2]
    assert all("0." not in reason for _, _, reason in verdicts[:2])  # no number of the holdout is in it


def test_labels_of_other_answers_are_not_used(tmp_path: Path) -> None:
    clone = clone_with(tmp_path, n=40, metrics=[JUDGE])
    with FakeModelServer(grade, models=("judge",)) as judge:
        run(clone, judge.url)
        label(clone, 40, {"loans": 1, "cards": 0})
        path = tmp_path / "data/demo/routing/holdout/judge_polite.jsonl"
        path.write_text(path.read_text() + json.dumps({"key": "stranger", "inclusion": 0.5, "human": 1}) + "\n")
        run(clone, judge.url)
    assert all(row["human_champion"] is None for row in rows(clone, "polite"))


@pytest.mark.parametrize("reply", ["five stars", '{"grade": 99}'])
def test_a_judge_that_talks_rubbish_fails_the_stage(tmp_path: Path, reply: str) -> None:
    clone = clone_with(tmp_path, metrics=[JUDGE])
    with FakeModelServer(lambda body: reply, models=("judge",)) as judge, pytest.raises(BadInput) as refused:
        run(clone, judge.url)
    assert "scorer polite broke on 12 of 12 answers: the judge gave no grade" in str(refused.value)


def test_without_a_judge_its_metric_fails_the_stage(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="RATCHET_JUDGE_URL"):
        run(clone_with(tmp_path, metrics=[JUDGE]))


def test_what_a_judge_said_before_it_died_is_kept(tmp_path: Path) -> None:
    spec, log, said = ScorerSpec.model_validate(JUDGE), AnswerLog(tmp_path / "log"), []

    def reply(body: dict[str, Any]) -> Any:
        said.append(1)
        return grade(body) if len(said) <= 8 else (400, {"error": {"message": "over quota"}})

    items = [Item(output=f"answer {i}") for i in range(12)]
    with FakeModelServer(reply, models=("judge",)) as judge:
        server = JudgeServer(judge.url, concurrency=1, log=log)
        first = score_items(spec, items, judge=server)
        said.clear()
        second = score_items(spec, items, judge=server)
    assert [s.score is None for s in first] == [False] * 8 + [True] * 4 and len(said) == 4
    assert all(score.score is not None for score in second)
