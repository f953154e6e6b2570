"""tasks.gate: the verdict on paired scores, and the stage's files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ratchet.errors import BadInput
from ratchet.features import GatePolicy
from ratchet.stats import exact_mcnemar_greater
from tasks.gate import Decision, Looks, PairedScores, decide, gate, main
from tests.routing_clone import RoutingClone

POLICY = GatePolicy(alpha=0.05, min_items=20, anchor_margin=0.02)
FIRST = Looks(looks=1, advisory=False)
Score = float | None


def scores(champion: list[Score], candidate: list[Score], anchor: list[Score] | None = None) -> PairedScores:
    by_item = [dict(zip(map(str, range(999)), s, strict=False)) for s in (champion, anchor or champion, candidate)]
    anchor_id = "old" if anchor is None else "first"
    return PairedScores("old", anchor_id, "new", champion=by_item[0], anchor=by_item[1], candidate=by_item[2])


def pairs(both: int, only_new: int, only_old: int, neither: int) -> tuple[list[Score], list[Score]]:
    old = [1.0] * both + [0.0] * only_new + [1.0] * only_old + [0.0] * neither
    new = [1.0] * both + [1.0] * only_new + [0.0] * only_old + [0.0] * neither
    return list(old), list(new)


def verdict(*table: int, looks: Looks = FIRST) -> Decision:
    return decide(scores(*pairs(*table)), POLICY, looks)


def test_a_clear_gain_is_accepted_with_numbers_that_people_can_read() -> None:
    found = verdict(50, 30, 5, 15)
    assert found.verdict == "accept"
    assert found.reasons[0].startswith("On 100 held-out items the candidate is right on 80.0 %, the champion on 55.0 %")
    assert found.facts["p_value"] == pytest.approx(exact_mcnemar_greater(30, 5))


def test_a_clear_loss_is_rejected() -> None:
    found = verdict(50, 5, 30, 15)
    assert found.verdict == "reject" and "worse than the champion" in found.reasons[0]


@pytest.mark.parametrize("table", [(50, 12, 10, 28), (80, 0, 0, 20)])
def test_no_clear_difference_is_inconclusive(table: tuple[int, int, int, int]) -> None:
    found = verdict(*table)
    assert found.verdict == "inconclusive" and "not enough to tell from chance" in found.reasons[0]


def test_each_look_may_spend_half_of_what_the_one_before_could() -> None:
    assert sum(Looks(n, False).spend(0.05) for n in range(1, 60)) == pytest.approx(0.05)
    assert Looks(0, True).spend(0.05) == Looks(1, False).spend(0.05) == 0.025


def test_a_gain_that_passes_at_the_first_look_fails_at_a_later_one() -> None:
    table = (50, 16, 5, 29)  # p = 0.013
    assert verdict(*table).verdict == "accept"
    later = verdict(*table, looks=Looks(3, False))
    assert later.verdict == "inconclusive" and "3 candidates have met this holdout" in later.reasons[-1]


def test_a_loss_is_held_against_alpha_itself_at_any_look() -> None:
    assert verdict(50, 5, 15, 30, looks=Looks(9, False)).verdict == "reject"  # p = 0.02


def test_an_advisory_verdict_says_so() -> None:
    found = verdict(50, 30, 5, 15, looks=Looks(1, True))
    assert found.verdict == "accept" and "advisory" in found.reasons[-1] and found.facts["advisory"]


def test_too_few_items_are_inconclusive() -> None:
    found = verdict(0, 19, 0, 0)
    assert found.verdict == "inconclusive" and "19 of 19" in found.reasons[0]


def test_the_champion_itself_is_inconclusive() -> None:
    same = PairedScores("one", "one", "one", {"a": 1.0}, {"a": 1.0}, {"a": 1.0})
    assert decide(same, POLICY, FIRST).reasons == (
        "The candidate is the champion: nothing was found that could be better.",
    )


def test_nan_and_none_are_unscored_and_counted_never_zero() -> None:
    old, new = pairs(50, 30, 5, 15)
    old[0], new[1] = float("nan"), None
    found = decide(scores(old, new), POLICY, FIRST)
    assert (found.facts["n"], found.facts["unscored"]) == (98, {"champion": 1, "anchor": 1, "candidate": 1})
    assert found.verdict == "accept"


def test_many_answers_missing_on_one_side_decide_nothing() -> None:
    old, new = pairs(50, 30, 5, 15)
    found = decide(scores(old, [None] * 11 + new[11:]), POLICY, FIRST)
    assert found.verdict == "inconclusive" and "11 of 100" in found.reasons[0]


def test_different_items_are_bad_input() -> None:
    with pytest.raises(BadInput, match="different items, such as 1"):
        decide(scores([1.0, 0.0], [1.0]), POLICY, FIRST)


def test_better_than_the_champion_but_below_the_anchor_is_rejected() -> None:
    old, new = pairs(30, 30, 5, 35)
    found = decide(scores(old, new, anchor=[1.0] * 100), POLICY, FIRST)
    assert found.verdict == "reject" and "lost more than the 2.0 points" in found.reasons[1]


def test_better_than_the_champion_but_unclear_against_the_anchor_is_inconclusive() -> None:
    old, new = pairs(50, 30, 5, 15)
    anchor = [*new[20:], *new[:20]]  # as many right, other items
    found = decide(scores(old, new, anchor=list(anchor)), POLICY, FIRST)
    assert found.verdict == "inconclusive" and "is not ruled out" in found.reasons[1]


def test_both_are_held_where_the_anchor_is_an_older_release() -> None:
    old, new = pairs(50, 30, 5, 15)
    found = decide(scores(old, new, anchor=[0.0] * 60 + [1.0] * 40), POLICY, FIRST)
    assert found.verdict == "accept" and "a loss of 2.0 points or more is ruled out" in found.reasons[1]


def test_items_of_one_session_are_one_piece_of_evidence() -> None:
    old, new = pairs(50, 20, 5, 25)
    alone = decide(scores(old, new), POLICY, FIRST)
    whose = {str(i): "gain" if 50 <= i < 70 else "loss" if i < 75 else f"s{i}" for i in range(100)}
    together = decide(replace(scores(old, new), sessions=whose), POLICY, FIRST)
    assert (alone.verdict, together.verdict) == ("accept", "inconclusive")
    assert together.facts["sessions"] == 27 and "100 held-out items of 27 sessions" in together.reasons[0]


def test_sessions_that_agree_prove_a_gain_and_the_anchor_is_held_by_sessions_too() -> None:
    old, new = pairs(40, 60, 0, 0)
    whose = {str(i): f"s{i // 2}" for i in range(100)}
    found = decide(replace(scores(old, new, anchor=old), sessions=whose), POLICY, FIRST)
    assert found.verdict == "accept" and found.facts["p_value"] == pytest.approx(1e-5)
    assert found.facts["anchor_p_value"] <= 0.025


def test_one_session_decides_nothing() -> None:
    whose = dict.fromkeys(map(str, range(100)), "one")
    found = decide(replace(scores(*pairs(0, 100, 0, 0)), sessions=whose), POLICY, FIRST)
    assert found.verdict == "inconclusive" and "All items are of one session" in found.reasons[0]


def test_free_text_scores_are_compared_by_their_mean() -> None:
    old: list[Score] = [0.2 + 0.01 * (i % 7) for i in range(40)]
    found = decide(scores(old, [s + 0.1 for s in old if s is not None]), POLICY, FIRST)
    assert found.verdict == "accept" and "the candidate scores 0.329" in found.reasons[0]


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RoutingClone:
    """A clone whose releases were evaluated: the candidate wins 9 of 30 items, the champion none."""
    monkeypatch.chdir(tmp_path)
    clone = RoutingClone(tmp_path)
    policy = json.loads((tmp_path / "features/routing/feature.yaml").read_text()) | {"gate": POLICY.model_dump()}
    clone.write("features/routing/feature.yaml", json.dumps(policy))
    write_scores(clone, [(1.0, 1.0)] * 21 + [(0.0, 1.0)] * 9)
    summary = {"n": 30, "unscored": 0, "score": 0.7, "low": 0.5, "high": 0.8}
    names = ("champion", "anchor", "candidate")
    clone.write("data/routing/evaluation/summary.json", json.dumps({role: summary for role in names}))
    roles = {role: {"release_id": f"rel_{role}", "unscored": 0, "tokens_per_answer": 9.5} for role in names}
    arms = {"sft": {"n": 10, "score": 0.9, "low": 0.7, "high": 1.0, "champion_score": 0.6, "tokens_per_answer": 9}}
    metrics = {"feature": "routing", "scorer": "label_accuracy", "chosen_arm": "sft", "arms": arms, **roles}
    clone.write("data/routing/metrics/evaluate.json", json.dumps(metrics | {"holdout_digest": "d1"}))
    clone.write("data/demo/routing/looks.json", json.dumps({"advisory": False, "looks": 1}))
    return clone


def write_scores(clone: RoutingClone, rows: list[tuple[Any, Any]]) -> None:
    found = [
        {"item_id": f"item{i}", "metric": "quality", "slice": "cards", "champion": a, "anchor": a, "candidate": b}
        for i, (a, b) in enumerate(rows)
    ]
    clone.write("data/routing/evaluation/scores.jsonl", "".join(json.dumps(row) + "\n" for row in found))


def test_the_stage_writes_numbers_sentences_and_a_report(clone: RoutingClone) -> None:
    found = gate(clone.params())
    assert found == json.loads((clone.root / "data/routing/metrics/gate.json").read_text())
    assert (found["verdict"], found["difference"]["estimate"], found["alpha_spent"]) == ("accept", 0.3, 0.025)
    assert {"p_value", "looks", "n", "advisory", "chosen_arm", "champion", "candidate"} <= found.keys()
    assert "Better" in (clone.root / "data/routing/report.html").read_text()


def test_the_outputs_repeat_byte_by_byte(clone: RoutingClone) -> None:
    seen = []
    for _ in range(2):
        gate(clone.params())
        seen.append(
            [(clone.root / "data/routing" / name).read_bytes() for name in ("report.html", "metrics/gate.json")]
        )
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "data/routing/evaluation/scores.jsonl",
            '{"item_id": "a", "metric": "quality", "champion": 1}\n',
            "scores.jsonl:1: lacks",
        ),
        (
            "data/routing/evaluation/scores.jsonl",
            '{"item_id": "a", "metric": "quality", "champion": 2, "anchor": 1, "candidate": 1}\n',
            "from 0 to 1",
        ),
        (
            "data/routing/evaluation/scores.jsonl",
            '{"item_id": "a", "metric": "quality", "champion": 1, "anchor": 1, "candidate": 1}\n' * 2,
            "scores.jsonl:2: lacks item_id, metric or a release's score, or repeats an item",
        ),
        ("data/demo/routing/looks.json", "{}", "looks.json: must be"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    clone: RoutingClone, capsys: pytest.CaptureFixture[str], name: str, content: str, message: str
) -> None:
    clone.write(name, content)
    assert main() == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1


def test_a_missing_evaluation_names_the_stage_to_run(clone: RoutingClone) -> None:
    (clone.root / "data/routing/metrics/evaluate.json").unlink()
    with pytest.raises(BadInput, match="dvc repro evaluate"):
        gate(clone.params())


def test_a_rejection_is_exit_code_0(clone: RoutingClone) -> None:
    write_scores(clone, [(1.0, 0.0)] * 30)
    assert main() == 0
    assert json.loads((clone.root / "data/routing/metrics/gate.json").read_text())["verdict"] == "reject"


@pytest.mark.parametrize("rows", [[(1.0, 0.0)] * 30, [(1.0, 1.0)] * 29 + [(0.0, 1.0)], [(1.0, 1.0)] * 30])
def test_a_counted_look_that_promotes_nothing_gives_one_bit_away(clone: RoutingClone, rows: list[Any]) -> None:
    write_scores(clone, [(1.0, 0.0)] * 30)
    first = gate(clone.params())
    page = (clone.root / "data/routing/report.html").read_bytes()
    write_scores(clone, rows)
    assert gate(clone.params()) == first and first["verdict"] == "reject" and first["sealed"]
    assert (clone.root / "data/routing/report.html").read_bytes() == page
    assert b"stay sealed" in page and b"0.800" not in page


def test_an_advisory_verdict_hides_nothing(clone: RoutingClone) -> None:
    write_scores(clone, [(1.0, 0.0)] * 30)
    clone.write("data/demo/routing/looks.json", json.dumps({"advisory": True, "looks": 1}))
    found = gate(clone.params())
    assert not found["sealed"] and found["difference"]["estimate"] == -1.0 and found["champion"]["score"] == 0.7


def test_too_few_items_are_told_sealed_or_not(clone: RoutingClone) -> None:
    write_scores(clone, [(1.0, 0.0)] * 3)
    found = gate(clone.params())
    assert found["verdict"] == "inconclusive" and "Too few items" in found["reasons"][0] and "difference" not in found


def test_an_evaluation_without_items_names_the_stage_to_run(clone: RoutingClone) -> None:
    write_scores(clone, [])
    with pytest.raises(BadInput, match="quality was not measured"):
        gate(clone.params())


def set_policy(clone: RoutingClone, **changes: Any) -> None:
    path = clone.root / "features/routing/feature.yaml"
    fields = json.loads(path.read_text())
    path.write_text(json.dumps(fields | {"gate": fields["gate"] | changes}))


def add_metric(
    clone: RoutingClone, metric: str, champion: float, candidate: float, name: str = "scores", step: float = 1.0
) -> None:
    folder = clone.root / "data/routing" / ("timings" if name == "latencies" else "evaluation")
    folder.mkdir(exist_ok=True)
    with (folder / f"{name}.jsonl").open("a") as file:
        for i in range(30):
            times = {"champion": champion + step * i, "anchor": champion + step * i, "candidate": candidate + step * i}
            file.write(json.dumps({"item_id": f"item{i}", "metric": metric, "slice": None, **times}) + "\n")


def test_a_better_candidate_that_is_too_dear_is_rejected(clone: RoutingClone) -> None:
    add_metric(clone, "tokens", 100.0, 150.0)
    assert gate(clone.params())["verdict"] == "accept"
    set_policy(clone, margins={"tokens": 0.1})
    found = gate(clone.params())
    assert found["verdict"] == "reject" and found["sealed"]
    set_policy(clone, margins={"tokens": 0.6})
    found = gate(clone.params())
    assert found["verdict"] == "accept"
    assert found["guards"]["tokens against the champion"]["estimate"] == pytest.approx(-50 / 114.5)


def test_a_further_metric_is_guarded_and_more_of_it_is_better(clone: RoutingClone) -> None:
    path = clone.root / "features/routing/feature.yaml"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"metrics": ["schema_valid"]}))
    set_policy(clone, margins={"schema_valid": 0.1})
    add_metric(clone, "schema_valid", 0.0, 1.0, step=0.0)
    found = gate(clone.params())
    assert found["verdict"] == "accept"
    assert found["guards"]["schema_valid against the champion"]["estimate"] == pytest.approx(1.0)


def test_a_guard_that_was_scored_too_seldom_decides_nothing_and_gives_no_score_away(clone: RoutingClone) -> None:
    path = clone.root / "features/routing/feature.yaml"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"metrics": ["groundedness"]}))
    set_policy(clone, margins={"groundedness": 0.1})
    with (clone.root / "data/routing/evaluation/scores.jsonl").open("a") as file:
        for i in range(30):
            score = 1.0 if i < 5 else None
            row = {"item_id": f"item{i}", "metric": "groundedness", "champion": score, "anchor": score}
            file.write(json.dumps(row | {"candidate": score}) + "\n")
    seen = []
    for quality in ((0.0, 1.0), (1.0, 0.0)):
        text = (clone.root / "data/routing/evaluation/scores.jsonl").read_text().splitlines()[30:]
        write_scores(clone, [quality] * 30)
        with (clone.root / "data/routing/evaluation/scores.jsonl").open("a") as file:
            file.write("\n".join(text) + "\n")
        seen.append(gate(clone.params()))
    assert seen[0] == seen[1] and seen[0]["verdict"] == "inconclusive" and "guards" not in seen[0]
    assert seen[0]["reasons"] == ["groundedness against the champion: 5 items were scored for both, and 20 are needed."]


def test_a_tenant_that_is_harmed_by_a_better_candidate_is_named(clone: RoutingClone) -> None:
    rows = [(1.0, 0.0)] * 8 + [(0.0, 1.0)] * 60
    found = [
        {"item_id": f"i{i}", "metric": "quality", "slice": None, "champion": a, "anchor": a, "candidate": b}
        | {"slices": {"tenant": "acme" if i < 8 else "bolt"}}
        for i, (a, b) in enumerate(rows)
    ]
    clone.write("data/routing/evaluation/scores.jsonl", "".join(json.dumps(row) + "\n" for row in found))
    decided = gate(clone.params())
    assert decided["verdict"] == "accept" and set(decided["harmed_slices"]) == {"tenant / acme"}
    assert any("Worse in slice tenant / acme" in reason for reason in decided["reasons"])


def test_an_equally_good_but_cheaper_candidate_wins_on_cost(clone: RoutingClone) -> None:
    write_scores(clone, [(1.0, 1.0)] * 30)
    add_metric(clone, "tokens", 100.0, 60.0)
    set_policy(clone, objective="cost", margins={"quality": 0.15})
    assert gate(clone.params())["verdict"] == "reject"  # 30 items cannot rule out a loss of 2 points to the anchor
    set_policy(clone, objective="cost", margins={"quality": 0.2}, anchor_margin=0.2)
    found = gate(clone.params())
    assert found["verdict"] == "accept" and "spares the champion's cost (+34.9 %" in found["reasons"][0]


def test_a_cheaper_but_worse_candidate_stays_out(clone: RoutingClone) -> None:
    write_scores(clone, [(1.0, 1.0)] * 10 + [(1.0, 0.0)] * 20)
    add_metric(clone, "tokens", 100.0, 60.0)
    set_policy(clone, objective="cost")
    assert gate(clone.params())["verdict"] == "reject"


def test_latency_is_read_from_the_timings(clone: RoutingClone) -> None:
    write_scores(clone, [(1.0, 1.0)] * 30)
    set_policy(clone, objective="latency", anchor_margin=0.2)
    with pytest.raises(BadInput, match="latency_ms was not measured"):
        gate(clone.params())
    add_metric(clone, "latency_ms", 900.0, 300.0, "latencies")
    assert gate(clone.params())["verdict"] == "accept"
