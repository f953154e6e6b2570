"""tasks.curate: feedback becomes examples, every row is accounted for, and the holdout's answers are never read."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st

from ratchet.errors import BadInput
from ratchet.settings import Settings
from tasks.curate import curate, main
from tests.routing_clone import target
from tests.tasks.batch import Batch, question
from tests.tasks.town import Town


@pytest.fixture
def batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Batch:
    monkeypatch.chdir(tmp_path)
    return Batch(tmp_path)


def reasons(metrics: dict[str, Any]) -> dict[str, int]:
    assert metrics["rows"] == metrics["used"] + metrics["set_aside"]
    assert metrics["used"] == metrics["train"] + metrics["validation"]
    return dict(metrics["reasons"])


def test_corrections_and_confirmed_answers_become_examples(batch: Batch) -> None:
    batch.correct(8)
    batch.say(batch.ask("a question that was answered well"), "thumb", True, by="user:u")
    metrics = batch.run()
    assert (metrics["used"], metrics["origins"]) == (9, {"confirmed": 1, "correction": 8})
    assert metrics["labels"] == {"cards": 1, "loans": 8} and metrics["validation"] == 2
    (liked,) = [row for row in batch.examples() if row["origin"] == "confirmed"]
    assert (liked["target"], liked["label"], liked["weight"]) == (target("cards"), "cards", 0.5)


def test_a_bad_label_and_silence_are_set_aside_with_their_reasons(batch: Batch) -> None:
    batch.correct(4)
    batch.say(batch.ask(question(50)), "correction", "mortgages")
    batch.ask(question(51))
    assert reasons(batch.run()) == {"label not in schema": 1, "no feedback": 1}


def test_near_duplicates_collapse_to_one(batch: Batch) -> None:
    for end in ("", " please", "!"):
        batch.say(batch.ask(f"the machine at the station swallowed my card this morning{end}"), "correction", "loans")
    metrics = batch.run()
    assert (metrics["used"], reasons(metrics)) == (1, {"near-duplicate": 2})


@pytest.mark.parametrize(("other", "used", "conflicts"), [("agent:ben", 0, 2), ("user:u", 1, 1)])
def test_of_near_duplicates_with_two_labels_the_heavier_source_is_believed(
    batch: Batch, other: str, used: int, conflicts: int
) -> None:
    for label, by in (("loans", "agent:ana"), ("cards", other)):
        batch.say(batch.ask("one and the same question"), "correction", label, by=by)
    metrics = batch.run()
    assert (metrics["used"], reasons(metrics)) == (used, {"near-duplicates disagree": conflicts})
    assert [row["label"] for row in batch.examples()] == ["loans"] * used


@pytest.mark.parametrize("split", ["holdout", "showcase"])
def test_what_the_holdout_asks_is_left_out_with_its_copies(batch: Batch, split: str) -> None:
    held = "the machine at the station swallowed my card this morning"
    batch.write_holdout([{"text": held, "expected": "cards"}], split)
    for text in (held.upper(), held + " please", held + " please", "quite another thing"):
        batch.say(batch.ask(text), "correction", "loans")
    metrics = batch.run()
    assert (metrics["used"], reasons(metrics)) == (1, {"in holdout": 3})


def test_only_feedback_from_before_the_holdouts_cut_is_used(batch: Batch) -> None:
    batch.write("data/demo/routing/holdout/meta.json", '{"labelled_at": "2026-01-05T12:02:00+00:00"}')
    batch.correct(5)
    batch.say("i0000", "comment", "thanks", by="user:u")
    metrics = batch.run()
    assert (metrics["used"], reasons(metrics)) == (2, {"after the holdout's cut": 3})


def test_the_expected_answers_of_the_holdout_change_nothing(batch: Batch) -> None:
    held = [{"text": question(n), "expected": "cards"} for n in range(3)]
    batch.correct(6)
    batch.write_holdout(held)
    batch.run()
    before = batch.outputs()
    batch.write_holdout([{**row, "expected": "no label at all"} for row in held])
    batch.run()
    assert batch.outputs() == before


def test_two_runs_give_the_same_bytes_whatever_the_order_of_the_lines(batch: Batch) -> None:
    batch.correct(12)
    for number in range(6):
        batch.say(batch.ask(question(40 + number)), "thumb", number % 2 == 0, by="user:u")
    batch.run(["{"])
    before = batch.outputs()
    batch.run(["{"])
    assert batch.outputs() == before and len(before) == 14
    batch.interactions.reverse()
    batch.feedback.reverse()
    batch.run()
    changed = {name for name, content in batch.outputs().items() if content != before[name]}
    assert changed == {"rejected.jsonl", "metrics/snapshot.json", "data_report.html"}  # these count the torn line


def test_a_question_asked_again_counts_against_the_answer(batch: Batch) -> None:
    for text in ("why was my card payment declined", "why was my card payment declined (asked again)"):
        asked = batch.ask(text, session_id="one")
    batch.say(asked, "correction", "loans")
    metrics = batch.run()
    assert (metrics["used"], reasons(metrics)) == (1, {"rephrased without correction": 1})


def test_conversations_that_differ_only_before_the_last_turn_are_not_duplicates(batch: Batch) -> None:
    for start in ("I lost my card in the park yesterday", "the loan you gave me costs too much"):
        turns = [("user", start), ("assistant", "Shall I pass you on?"), ("user", "yes")]
        messages = [{"role": role, "content": content} for role, content in turns]
        batch.say(batch.ask("", input={"messages": messages}), "correction", "loans")
    assert batch.run()["used"] == 2


def test_free_text_answers_that_were_liked_are_all_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    free = Batch(tmp_path, output_schema=None, scorer="token_f1")
    for number in range(10):
        answer = {"content": f"It costs {number} pounds."}
        free.say(free.ask(question(number), output=answer), "thumb", True, by="user:u")
    metrics = free.run()
    assert (metrics["used"], metrics["origins"], metrics["labels"]) == (10, {"confirmed": 10}, {})


def test_nothing_to_learn_from_is_no_error(batch: Batch) -> None:
    batch.say(batch.ask("a question"), "thumb", False)
    metrics = batch.run()
    assert (metrics["train"], metrics["validation"]) == (0, 0)
    assert batch.table("curated/train") == []


def test_no_text_is_in_the_metrics(batch: Batch) -> None:
    batch.correct(3)
    batch.say(batch.ask("x y z"), "correction", "a private label")
    batch.run()
    for path in (batch.root / "data/routing/metrics").iterdir():
        assert "private" not in path.read_text() and "please" not in path.read_text()


def test_a_missing_input_is_one_line_and_exit_code_2(batch: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadInput, match="run the stage validate first"):
        curate(batch.params(), batch.root, Settings.from_env().cache)
    assert main() == 2
    batch.correct(3)
    batch.run()
    shutil.rmtree(batch.root / "data/demo/routing/holdout")
    assert main() == 2
    assert "ratchet holdout add routing" in capsys.readouterr().err


ASKED = st.tuples(st.integers(0, 9), st.integers(0, 3), st.booleans(), st.sampled_from([None, False]))
SAID = st.tuples(
    st.integers(0, 14),
    st.sampled_from(
        [("thumb", True), ("thumb", False), ("correction", "loans"), ("correction", "?"), ("comment", "x")]
    ),
    st.sampled_from(["user:u", "agent:ana", "agent:ben"]),
)
TORN = st.lists(st.sampled_from(["{", "7", '{"interaction_id": "i0000"}', '{"interaction_id": "x", "at": 1}']))


@limits(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ASKED, max_size=12), st.lists(SAID, max_size=14), TORN)
def test_every_row_is_used_quarantined_set_aside_or_rejected(
    batch: Batch, asked: list[tuple[int, int, bool, bool | None]], said: list[Any], torn: list[str]
) -> None:
    batch.interactions, batch.feedback = [], []
    for number, session, fallback, consent in asked:
        text = question(number) if number else ""
        batch.ask(text, session_id=f"s{session}", user_id=f"u{session}", fallback=fallback, consent=consent)
    for number, (kind, value), by in said:
        batch.say(f"i{number:04}", kind, value, by=by)
    curated = batch.run(torn)
    taken, valid = batch.metrics("snapshot"), batch.metrics("validate")
    assert taken["interactions"] + taken["rejected_interactions"] == len(asked) + len(torn)
    assert taken["feedback"] + taken["rejected"] - taken["rejected_interactions"] == len(said)
    assert taken["interactions"] == curated["used"] + curated["set_aside"] + valid["quarantined"]
    assert len(batch.examples()) == curated["used"] == len({row["example_id"] for row in batch.examples()})


def test_who_did_not_consent_and_what_was_a_fallback_is_set_aside(batch: Batch) -> None:
    for changes in ({"consent": False}, {"fallback": True}, {"consent": True}, {"tenant": "default"}):
        batch.say(batch.ask(question(len(batch.interactions)), **changes), "correction", "loans")
    metrics = batch.run()
    assert (metrics["used"], reasons(metrics)) == (2, {"fallback answer": 1, "no consent": 1})


def test_where_consent_is_required_silence_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    strict = Batch(tmp_path, consent="required")
    for consent in (None, True, False):
        strict.say(strict.ask(question(len(strict.interactions)), consent=consent), "correction", "loans")
    metrics = strict.run()
    assert (metrics["used"], metrics["blind"], reasons(metrics)) == (1, 1, {"no consent": 2})


def test_sources_that_prove_right_settle_what_others_leave_open(batch: Batch) -> None:
    for number in range(16):
        asked = batch.ask(question(number))
        batch.say(asked, "correction", "loans")
        batch.say(asked, "correction", "loans", by="user:true")
        batch.say(asked, "correction", "cards", by="user:liar")
    open_question = batch.ask(question(16))
    batch.say(open_question, "correction", "loans", by="user:true")
    batch.say(open_question, "correction", "cards", by="user:liar")
    metrics = batch.run()
    (settled,) = [row for row in batch.examples() if row["interaction_id"] == open_question]
    assert settled["label"] == "loans" and settled["weight"] > 0.8
    assert metrics["reliability"] == {"below 0.5": 1, "0.5 to 0.7": 0, "0.7 to 0.9": 0, "0.9 and above": 2}


def test_what_only_a_liar_says_goes_to_a_person(batch: Batch) -> None:
    for number in range(16):
        asked = batch.ask(question(number))
        batch.say(asked, "correction", "loans")
        batch.say(asked, "correction", "cards", by="user:liar")
    batch.say(batch.ask(question(16)), "correction", "cards", by="user:liar")
    assert reasons(batch.run()) == {"source not reliable enough": 1}
    (line,) = batch.lines("review.jsonl")
    assert (line["reason"], line["interaction_id"]) == ("source not reliable enough", "i0016")


def test_disagreement_goes_to_a_person_with_what_was_said(batch: Batch) -> None:
    asked = batch.ask(question(1))
    batch.say(asked, "correction", "loans", by="agent:ana")
    batch.say(asked, "correction", "cards", by="agent:ben")
    batch.run()
    (line,) = batch.lines("review.jsonl")
    assert [s["target"] for s in line["suggestions"]] == [target("cards"), target("loans")]
    assert line["uncertainty"] == pytest.approx(0.505, abs=0.01)


def test_the_blind_sample_holds_questions_without_answers_and_none_of_the_holdout(batch: Batch) -> None:
    batch.correct(5)
    for number in range(5, 30):
        batch.ask(question(number), answer="loans")
    batch.write_holdout([{"text": question(3).upper(), "expected": "cards"}])
    batch.run()
    drawn = batch.lines("blind.jsonl")
    fields = {"item_id", "messages", "contexts", "variables", "session", "tenant", "at"}
    assert len(drawn) == 29 and all(set(row) == fields for row in drawn)
    assert question(3) not in [row["messages"][0]["content"] for row in drawn]


def test_the_blind_sample_tells_which_items_are_of_one_user_and_not_who(batch: Batch) -> None:
    for number in range(5):
        batch.ask(question(number), user_id="ada-lovelace")
    batch.ask(question(9), user_id=None, session_id=None)
    batch.run()
    drawn = batch.lines("blind.jsonl")
    sessions = [row.get("session") for row in drawn]
    assert len(drawn) == 6 and sessions.count(None) == 1 and len(set(sessions)) == 2
    assert "ada" not in json.dumps(drawn)


def test_the_blind_sample_is_uniform_whether_or_not_anything_was_said(batch: Batch) -> None:
    batch.write_params(curate={"blind_items": 60})
    batch.correct(100)
    for number in range(100, 200):
        batch.ask(question(number))
    batch.run()
    spoken = {question(number) for number in range(100)}
    said = sum(row["messages"][0]["content"] in spoken for row in batch.lines("blind.jsonl"))
    assert len(batch.lines("blind.jsonl")) == 60 and 20 <= said <= 40  # 30 expected; 2.6 standard deviations


def test_an_example_names_the_interactions_and_feedback_of_its_whole_cluster(batch: Batch) -> None:
    text = "the machine at the station swallowed my card this morning"
    for end in ("", " please"):
        batch.say(batch.ask(text + end), "correction", "loans")
    batch.say("i0000", "comment", "thanks", by="user:u")
    batch.run()
    (row,) = batch.examples()
    assert row["interaction_ids"] == '["i0000","i0001"]' and row["feedback_ids"] == '["f0000","f0001","f0002"]'
    assert row["answer"] == target("cards") and row["tenant"] == "default"


def test_a_card_says_what_the_data_is(batch: Batch) -> None:
    batch.correct(4)
    batch.say(batch.ask("x y z"), "thumb", False)
    batch.run()
    card = (batch.root / "data/routing/card.md").read_text()
    assert "| used | 4 |" in card and "| negative without correction | 1 |" in card and "please" not in card


def test_a_doubted_label_stays_where_an_agent_gave_it(batch: Batch) -> None:
    about = {"cards": ["plastic", "chip", "wallet", "terminal"], "loans": ["mortgage", "interest", "lender", "debt"]}
    for number in range(220):
        told, words = ("cards", "loans")[number % 2], about[("cards", "loans")[number % 2]]
        text = f"{words[number // 2 % 4]} {words[number // 8 % 4]} {question(number)} {number * 7919}"
        given = {7: "cards", 9: "cards"}.get(number, told)  # loans that are called cards
        batch.say(batch.ask(text, answer=told), "correction", given, by="agent:ana" if number != 9 else "user:u9")
    metrics = batch.run()
    assert metrics["reasons"]["label looks wrong"] == 1
    queued = [line["interaction_id"] for line in batch.lines("review.jsonl") if line["reason"] == "label looks wrong"]
    assert sorted(queued) == ["i0007", "i0009"]
    assert "i0007" in {row["interaction_id"] for row in batch.examples()}


def run_as_stage(root: Path) -> subprocess.Popen[bytes]:
    places = {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    return subprocess.Popen([sys.executable, "-m", "tasks.curate"], cwd=root, env=os.environ | places, stderr=-3)


@pytest.mark.slow
def test_a_run_that_was_killed_anywhere_leaves_nothing_behind_that_changes_the_next(batch: Batch) -> None:
    batch.correct(40)
    batch.run()
    assert run_as_stage(batch.root).wait() == 0
    before, draw = batch.outputs(), random.Random(1)
    before.pop("timings/curate.json")
    for _ in range(6):
        killed = run_as_stage(batch.root)
        with contextlib.suppress(subprocess.TimeoutExpired):
            killed.wait(timeout=draw.uniform(0.3, 6))
        killed.kill()
        killed.wait()
    assert run_as_stage(batch.root).wait() == 0
    after = batch.outputs()
    assert {name: content for name, content in after.items() if name in before} == before
    assert all(
        name.split("/")[-1].startswith(".") or name == "timings/curate.json" for name in set(after) - set(before)
    )


def test_poisoned_claims_are_set_aside_by_reason_and_a_person_is_asked(batch: Batch) -> None:
    town = Town()
    for route in ("cards", "loans"):
        for _ in range(40):
            batch.say(batch.ask(town.text(route)), "correction", route)
    for _ in range(6):
        batch.say(batch.ask(town.text("cards"), user_id="liar"), "correction", "loans", by="user:liar")
    batch.say(batch.ask(town.text("cards"), user_id="liar"), "correction", "loans", by="user:liar")
    batch.say(batch.interactions[-1]["interaction_id"], "correction", "cards", by="agent:ana")
    metrics = batch.run()
    assert metrics["claims_aside"] == {"against trusted sources": 7}
    assert reasons(metrics)["against trusted sources"] == 6
    lines = [json.loads(line) for line in Path("data/routing/review.jsonl").read_text().splitlines()]
    assert [line["reason"] for line in lines].count("suspicious: against trusted sources") == 6
