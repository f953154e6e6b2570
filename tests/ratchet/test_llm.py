"""ratchet.llm: many requests, adapters, and a server of one's own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from ratchet.errors import ModelServerUnreachable
from ratchet.llm import ask_all, load_adapter, model_server, started_server
from ratchet.settings import Settings
from tests.fake_model_server import FakeModelServer

NOBODY = "http://127.0.0.1:9"


def body(text: str) -> dict[str, object]:
    return {"model": "tiny", "messages": [{"role": "user", "content": text}]}


def echo(asked: dict[str, object]) -> str:
    return str(asked["messages"][-1]["content"])  # type: ignore[index]


def test_answers_keep_the_order_of_the_requests() -> None:
    with FakeModelServer(echo) as server:
        answers = ask_all([body(f"q{i}") for i in range(20)], base_url=server.url, concurrency=8)
    assert [a.text for a in answers] == [f"q{i}" for i in range(20)]


def test_an_answer_carries_tokens_latency_and_finish_reason() -> None:
    with FakeModelServer(echo) as server:
        (answer,) = ask_all([body("two words")], base_url=server.url, concurrency=1)
    assert (answer.input_tokens, answer.output_tokens, answer.finish_reason, answer.error) == (2, 2, "stop", None)
    assert answer.latency_ms > 0


def test_no_requests_give_no_answers() -> None:
    assert ask_all([], base_url=NOBODY, concurrency=4) == []


def test_requests_run_at_once_but_not_more_than_asked() -> None:
    with FakeModelServer(echo) as server:
        server.delay_s = 0.05
        ask_all([body("q")] * 12, base_url=server.url, concurrency=3)
    assert server.most_in_flight == 3


def test_each_answer_is_told_once_with_its_place() -> None:
    told: dict[int, str] = {}
    with FakeModelServer(echo) as server:
        ask_all(
            (body(f"q{i}") for i in range(3)),
            base_url=server.url,
            concurrency=2,
            on_answer=lambda index, answer: told.__setitem__(index, answer.text),
        )
    assert told == {0: "q0", 1: "q1", 2: "q2"}


def test_a_body_is_made_when_it_is_sent() -> None:
    made: list[int] = []
    bodies = (made.append(i) or body("q") for i in range(50))  # type: ignore[func-returns-value]
    lead: list[int] = []
    with FakeModelServer(echo) as server:
        ask_all(bodies, base_url=server.url, concurrency=3, on_answer=lambda i, _: lead.append(len(made) - len(lead)))
    assert max(lead) <= 3 and len(made) == 50


def test_one_failure_stops_the_others() -> None:
    with FakeModelServer(echo) as server, pytest.raises(OSError, match="disk full"):

        def keep(index: int, answer: object) -> None:
            raise OSError("disk full")

        ask_all([body("q")] * 100, base_url=server.url, concurrency=2, on_answer=keep)
    assert len(server.bodies) <= 4


def test_a_refused_request_is_an_answer_with_its_reason() -> None:
    refusal = (404, {"error": {"message": "the model `x` does not exist"}})
    with FakeModelServer(lambda asked: refusal) as server:
        (answer,) = ask_all([body("q")], base_url=server.url, concurrency=1)
    assert answer.text == "" and answer.error == "HTTP 404: the model `x` does not exist"


@pytest.mark.parametrize("document", [{}, {"choices": []}, {"choices": [{"message": None}]}, [], "text", None])
def test_a_reply_that_is_no_chat_completion_is_a_failed_answer(document: object) -> None:
    with FakeModelServer(lambda asked: (200, document)) as server:
        (answer,) = ask_all([body("q")], base_url=server.url, concurrency=1)
    assert answer.error == "the answer is not an OpenAI chat completion"


def test_a_busy_server_is_asked_again() -> None:
    replies = iter([(503, {"error": {"message": "busy"}}), "done"])
    with FakeModelServer(lambda asked: next(replies)) as server:
        (answer,) = ask_all([body("q")], base_url=server.url, concurrency=1, retry_after_s=0.01)
    assert answer.text == "done"


def test_a_server_that_is_down_says_what_to_do() -> None:
    with pytest.raises(ModelServerUnreachable, match=r"http://127.0.0.1:9.*make up.*RATCHET_MODELSERVER_URL"):
        ask_all([body("q")] * 3, base_url=NOBODY, concurrency=2, retry_after_s=0.01)


def test_an_adapter_is_loaded_once_under_its_release_id(tmp_path: Path) -> None:
    with FakeModelServer(echo) as server:
        for _ in range(2):
            load_adapter(server.url, "rel_1", tmp_path / "adapter", key="secret")
    assert server.loaded == [{"lora_name": "rel_1", "lora_path": str(tmp_path / "adapter")}]
    assert server.authorizations == ["Bearer secret"]


def test_a_refused_adapter_shows_the_reason_of_the_server(tmp_path: Path) -> None:
    with FakeModelServer(echo) as server, pytest.raises(ModelServerUnreachable, match=r"no adapter_config\.json"):
        load_adapter(server.url, "rel_1", tmp_path / "broken")


def test_loading_into_a_server_that_is_down_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelServerUnreachable, match="make up"):
        load_adapter(NOBODY, "rel_1", tmp_path)


def test_a_given_address_is_used_as_it_is(tmp_path: Path) -> None:
    settings = Settings.from_env({"RATCHET_MODELSERVER_URL": NOBODY, "RATCHET_HOME": str(tmp_path)})
    with model_server(settings, "embedded:none", str(tmp_path)) as url:
        assert url == NOBODY


def test_a_started_server_ends_with_the_block() -> None:
    code = "import os,time; print('loading'); print('modelserver ready http://h:' + str(os.getpid())); time.sleep(60)"
    with started_server([sys.executable, "-u", "-c", code], timeout_s=20) as url:
        process_id = int(url.rsplit(":", 1)[1])
        os.kill(process_id, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(process_id, 0)


def test_a_server_that_fails_to_start_is_quoted() -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such model')"]
    with (
        pytest.raises(ModelServerUnreachable, match=r"(?s)ended with 1.*no such model"),
        started_server(command, timeout_s=20),
    ):
        pass


def test_a_server_that_never_gets_ready_is_ended() -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with pytest.raises(ModelServerUnreachable, match="not ready"), started_server(command, timeout_s=0.2):
        pass
