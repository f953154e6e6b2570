"""ratchet.answers: what is recalled, what a crash leaves, what another server may not use."""

from __future__ import annotations

from pathlib import Path

import pytest

from ratchet.answers import AnswerLog, answer_log, request_digest
from ratchet.features import Feature
from ratchet.llm import Answer
from ratchet.release import AdapterRef
from ratchet.settings import Settings
from tests.routing_clone import feature_fields, release

SAID = Answer("café \ud83d", 3, 4, 12.5, "stop")
RELEASE = release(Feature.model_validate(feature_fields()))
BODY = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def log(tmp_path: Path) -> AnswerLog:
    return AnswerLog(tmp_path / "answers")


def record(log: AnswerLog, *keys: str) -> None:
    with log.recording("routing") as keep:
        for key in keys:
            keep(key, SAID)


def test_a_recorded_answer_is_recalled_as_it_was(log: AnswerLog) -> None:
    record(log, "a", "b")
    assert log.recall("routing", ["a", "c"]) == {"a": SAID} and log.recall("other", ["a"]) == {}


def test_a_failed_request_is_not_recorded(log: AnswerLog) -> None:
    with log.recording("routing") as keep:
        keep("a", Answer("", 0, 0, 1.0, None, "HTTP 400: too long"))
    assert log.recall("routing", ["a"]) == {}


@pytest.mark.parametrize("cut", [1, 2, 40])
def test_a_torn_last_line_loses_itself_alone(log: AnswerLog, cut: int) -> None:
    record(log, "a", "b")
    path = log.folder / "routing.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    record(log, "c")
    assert set(log.recall("routing", "abc")) >= {"a", "c"}
    assert ("b" in log.recall("routing", "abc")) == (cut == 1)


@pytest.mark.parametrize("rubbish", [b"\x00\x00\n", b"[1]\n", b'{"request": "a"}\n', b"\xff\xfe\n"])
def test_a_line_that_is_none_of_ours_is_passed_over(log: AnswerLog, rubbish: bytes) -> None:
    log.folder.mkdir()
    (log.folder / "routing.jsonl").write_bytes(rubbish)
    record(log, "b")
    assert log.recall("routing", "ab") == {"b": SAID}


def test_a_request_is_its_content_and_not_the_name_it_is_asked_for_by() -> None:
    digest = request_digest(RELEASE, BODY, 0)
    assert request_digest(RELEASE, BODY | {"model": "other"}, 0) == digest
    adapted = RELEASE.model_copy(update={"adapter": AdapterRef(digest="d2", files={})})
    hotter = BODY | {"temperature": 1}
    others = {request_digest(adapted, BODY, 0), request_digest(RELEASE, hotter, 0), request_digest(RELEASE, BODY, 1)}
    assert len({digest, *others}) == 4


def test_no_server_is_credited_with_the_answers_of_another(tmp_path: Path) -> None:
    addresses = [None, "http://127.0.0.1:1", "https://api.example.com", "https://api.example.com/v2"]
    given = [{"RATCHET_MODELSERVER_URL": url} if url else {} for url in addresses]
    home = {"RATCHET_HOME": str(tmp_path)}
    assert len({answer_log(Settings.from_env(home | each)).folder for each in given}) == 4


def test_an_evaluation_made_elsewhere_is_adopted_once(log: AnswerLog) -> None:
    row = {
        "request": "a",
        "output": "x",
        "input_tokens": 1,
        "output_tokens": 2,
        "finish_reason": "stop",
        "latency_ms": 3.0,
    }
    assert [log.adopt("routing", [row, row | {"request": "b", "output": None}]) for _ in range(2)] == [1, 0]
    assert log.recall("routing", "ab") == {"a": Answer("x", 1, 2, 3.0, "stop")}


def test_nobody_else_may_read_the_answers(log: AnswerLog) -> None:
    record(log, "a")
    assert log.folder.stat().st_mode & 0o77 == 0 and (log.folder / "routing.jsonl").stat().st_mode & 0o77 == 0
