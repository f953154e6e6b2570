from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli.run import new_progress
from ratchet.channels import Channels
from ratchet.runs import Run, change_run, open_run
from ratchet.store import Store

RELEASE = "rel_" + "ab" * 32


def waiting_run(store: Store) -> None:
    run = Run(run_id="routing-1", feature="routing", flow_run_id="f", started_at="2026-01-01T00:00:00+00:00")
    open_run(store, run)
    change_run(store, "routing-1", state="awaiting", release_id=RELEASE, outcome="accept")
    store.acquire_lease("improve:routing", "routing-1")


def test_run_without_prefect_says_how_to_start_it(ratchet) -> None:
    ended = ratchet("run", "routing")
    expected = "error: the Prefect server does not answer at http://127.0.0.1:9/api; start it with `make up`\n"
    assert (ended.status, ended.err) == (1, expected)


@pytest.mark.parametrize("arms", ["magic", "sft,magic", ",", ""])
def test_unknown_arm_ends_with_2_and_what_there_is(ratchet, arms: str) -> None:
    ended = ratchet("run", "routing", "--arms", arms)
    assert ended.status == 2 and "there are: fewshot, sft" in ended.err


def test_run_without_a_git_identity_ends_with_2(ratchet, no_git_identity: None) -> None:
    ended = ratchet("run", "routing")
    assert ended.status == 2 and "git config --global user.email" in ended.err


def test_run_with_an_unknown_key_in_params_names_it(ratchet, routing) -> None:
    with (routing.repo / "params.yaml").open("a") as file:
        file.write("colour: red\n")
    ended = ratchet("run", "routing")
    assert ended.status == 2 and "params.yaml: colour: unknown key" in ended.err


def test_run_beside_one_that_waits_is_refused(ratchet, store: Store) -> None:
    waiting_run(store)
    ended = ratchet("run", "routing")
    assert ended.status == 1 and "a second run of routing is refused: run routing-1 waits" in ended.err


@pytest.mark.parametrize("words", ["approve r9", "reject r9 --reason tone"])
def test_decision_on_an_unknown_run_ends_with_2(ratchet, words: str) -> None:
    ended = ratchet(*words.split(), "--digest", "abababab", "--approver", "ana", "--code", "123456")
    assert ended.status == 2 and "no run r9; `ratchet status` lists them" in ended.err


def test_rejection_needs_a_reason(ratchet, store: Store) -> None:
    waiting_run(store)
    words = ["--reason", " ", "--digest", "abababab", "--approver", "ana", "--code", "123456"]
    ended = ratchet("reject", "routing-1", *words)
    assert ended.status == 2 and "needs a reason" in ended.err


def test_decision_on_a_run_that_is_done_ends_with_2(ratchet, store: Store) -> None:
    waiting_run(store)
    change_run(store, "routing-1", state="done")
    ended = ratchet("approve", "routing-1", "--digest", "abababab", "--approver", "ana", "--code", "123456")
    assert ended.status == 2 and "does not wait for an approval: it is done (accept)" in ended.err


def test_decision_without_a_verifier_says_how_to_start_it_and_costs_nothing(ratchet, store: Store, routing) -> None:
    waiting_run(store)
    change_run(store, "routing-1", champion_id="rel_1")
    Channels.of(routing).begin("routing", "rel_1", at=datetime.now(UTC), by="ana", reason="v1")
    ended = ratchet("approve", "routing-1", "--digest", "abababab", "--approver", "ana", "--code", "123456")
    assert ended.status == 1 and "python -m verifier" in ended.err and "goes on waiting" in ended.err


def test_enrolment_without_a_verifier_says_how_to_start_it(ratchet) -> None:
    ended = ratchet("people", "add", "ana")
    assert ended.status == 1 and "http://127.0.0.1:9" in ended.err and "start it" in ended.err


def test_progress_lines_are_shown_once_and_whole(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    log.write_text("tune: > python\ntune: training: 3/45 (7%) 0:16 gone, 3:39 left\ntune: training: 5/4")
    lines, read = new_progress(log, 0)
    assert lines == ["tune: training: 3/45 (7%) 0:16 gone, 3:39 left"]
    log.write_text(log.read_text() + "5 (11%)\n")
    assert new_progress(log, read)[0] == ["tune: training: 5/45 (11%)"]
    assert new_progress(tmp_path / "none.log", 0) == ([], 0)
