from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest

from tests.gateway.conftest import Gateway
from tests.gateway.fake_model_server import FakeModelServer

MESSAGES: list[Any] = [{"role": "user", "content": "my card is lost"}]


def events(answer: httpx.Response) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def test_an_openai_client_streams_the_answer_with_the_receipt_in_each_chunk(gateway: Gateway) -> None:
    stream = gateway.openai.chat.completions.create(model="routing", messages=MESSAGES, stream=True)
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == '{"route": "cards"}'
    assert {(c.id, c.model) for c in chunks} == {(chunks[0].id, "routing")}
    record = gateway.shop.interactions()[0]
    assert chunks[0].id == f"chatcmpl-{record.interaction_id}"
    assert (record.output.content, record.finish_reason) == ('{"route": "cards"}', "stop")
    assert record.usage.output_tokens == 2


def test_chunks_arrive_one_by_one(gateway: Gateway, fake: FakeModelServer) -> None:
    fake.word_delay_s = 0.3
    with gateway.http.stream("POST", "/v1/chat/completions", json=_body()) as answer:
        pieces = answer.iter_raw()  # kept: a generator that is dropped closes the connection
        next(pieces)
        assert gateway.shop.interactions() == []
        assert b"[DONE]" in b"".join(pieces)
    assert len(gateway.shop.interactions()) == 1


def test_usage_is_passed_on_only_to_a_client_that_asked(gateway: Gateway) -> None:
    assert not [e for e in events(gateway.ask(stream=True)) if "usage" in e]
    asked = events(gateway.ask(stream=True, stream_options={"include_usage": True}))
    assert [e["usage"]["completion_tokens"] for e in asked if isinstance(e, dict) and e["usage"]] == [2]
    assert asked[-1] == "[DONE]"


def test_a_client_that_leaves_is_logged_as_aborted_and_the_model_stops(gateway: Gateway, fake: FakeModelServer) -> None:
    fake.reply = lambda body: "word " * 200
    fake.word_delay_s = 0.02
    with gateway.http.stream("POST", "/v1/chat/completions", json=_body()) as answer:
        next(answer.iter_raw())
    record = gateway.shop.await_interactions()[0]
    assert record.finish_reason == "aborted"
    assert 1 <= len((record.output.content or "").split()) < 100


def test_a_stream_that_breaks_in_the_middle_ends_with_an_error_and_is_logged(
    gateway: Gateway, fake: FakeModelServer
) -> None:
    fake.reply = lambda body: "one two three four"
    fake.cut_after = 2
    stream = gateway.openai.chat.completions.create(model="routing", messages=MESSAGES, stream=True)
    with pytest.raises(openai.APIError, match="broke its stream off"):
        list(stream)
    record = gateway.shop.await_interactions()[0]
    assert (record.output.content, record.finish_reason) == ("one two", "aborted")


def test_a_canary_that_fails_before_the_first_chunk_is_answered_by_stable(
    gateway: Gateway, fake: FakeModelServer
) -> None:
    tuned = gateway.shop.put(text="", weights=b"w1")
    gateway.shop.try_canary(tuned)
    fake.broken[tuned] = 500
    answer = gateway.ask(stream=True)
    assert (answer.headers["x-ratchet-release"], events(answer)[-1]) == (gateway.shop.stable, "[DONE]")
    assert gateway.shop.interactions()[0].fallback


def test_an_error_before_the_stream_is_an_ordinary_error(gateway: Gateway, fake: FakeModelServer) -> None:
    fake.broken["tiny"] = 500
    answer = gateway.ask(stream=True)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "backend_error")


def _body() -> dict[str, Any]:
    return {"model": "routing", "messages": MESSAGES, "stream": True}
