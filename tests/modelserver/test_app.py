"""The HTTP protocol, over a real port: the OpenAI client, errors, adapters."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from fastapi.testclient import TestClient

from modelserver.app import create_app
from modelserver.engine import Engine
from modelserver.weights import NAME
from tests.modelserver.conftest import KEY

LABELS = ["card_lost", "card_delivery", "loan"]
SCHEMA = {"type": "object", "properties": {"route": {"type": "string", "enum": LABELS}}, "required": ["route"]}
ENUM = {"type": "json_schema", "json_schema": {"name": "r", "schema": SCHEMA, "strict": True}}
KEYED = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def client(address: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def http(address: str) -> httpx.Client:
    return httpx.Client(base_url=address, timeout=60)


def body(text: str = "Tell me a story about a card.", **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": NAME, "messages": messages, "temperature": 0, "max_tokens": 12, **more}


def test_enum_is_enforced_for_the_openai_client(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(**body(response_format=ENUM))
    assert json.loads(answer.choices[0].message.content or "")["route"] in LABELS
    assert answer.choices[0].finish_reason == "stop" and answer.model == NAME


@pytest.mark.parametrize("more", [{}, {"response_format": ENUM}, {"stop": [" the"]}, {"temperature": 1.0, "seed": 3}])
def test_a_stream_says_the_same_and_ends_with_usage(client: openai.OpenAI, more: dict[str, Any]) -> None:
    whole = client.chat.completions.create(**body(**more))
    chunks = list(client.chat.completions.create(**body(**more), stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == whole.choices[0].finish_reason
    assert chunks[-1].usage and whole.usage
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_a_stream_without_usage_ends_with_its_reason(http: httpx.Client) -> None:
    lines = [line for line in http.post("/v1/chat/completions", json=body(stream=True)).text.splitlines() if line]
    assert lines[-1] == "data: [DONE]" and '"finish_reason": "length"' in lines[-2]
    assert not any('"usage"' in line for line in lines)


def test_usage_counts_tokens(client: openai.OpenAI, engine: Engine) -> None:
    usage = client.chat.completions.create(**body()).usage
    assert usage is not None and usage.completion_tokens == 12
    assert usage.prompt_tokens == len(engine.text.encode_chat(body()["messages"]))
    assert usage.total_tokens == usage.prompt_tokens + 12


def test_content_in_parts_is_text(client: openai.OpenAI) -> None:
    parts = [
        {
            "role": "user",
            "content": [{"type": "text", "text": "Tell me a story "}, {"type": "text", "text": "about a card."}],
        }
    ]
    first, second = (client.chat.completions.create(**body() | more) for more in ({}, {"messages": parts}))
    assert first.choices[0].message.content == second.choices[0].message.content


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"n": 2}, "n:"),
        ({"top_p": 0.5}, "top_p"),
        ({"logprobs": True}, "logprobs"),
        ({"tools": [{"type": "function"}]}, "tools: this parameter is not supported"),
        ({"frequency_penalty": 1}, "frequency_penalty"),
        ({"guided_regex": "x"}, "guided_regex: this parameter is not supported"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "messages"),
        ({"temperature": 9}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "json_schema"),
        ({"messages": [{"role": "user", "content": "word " * 2100}]}, "maximum context length is 2048"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(http: httpx.Client, change: dict[str, Any], told: str) -> None:
    reply = http.post("/v1/chat/completions", json=body() | change)
    assert reply.status_code == 400 and reply.json()["error"]["code"] == 400
    assert told in reply.json()["error"]["message"]


def test_a_schema_that_cannot_be_enforced_is_refused(http: httpx.Client) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": {}}}}
    form = {"type": "json_schema", "json_schema": {"name": "r", "schema": schema}}
    reply = http.post("/v1/chat/completions", json=body(response_format=form))
    assert reply.status_code == 400 and "'items' of a" in reply.json()["error"]["message"]


@pytest.mark.parametrize("content", [b"{", b"[]", b"[" * 200_000, b"\xff"])
def test_a_body_that_is_no_json_object_is_refused(http: httpx.Client, content: bytes) -> None:
    reply = http.post("/v1/chat/completions", content=content, headers={"content-type": "application/json"})
    assert reply.status_code == 400 and "body" in reply.json()["error"]["message"]


def test_a_large_body_is_refused_while_it_is_read(http: httpx.Client) -> None:
    parts = (b" " * (1 << 20) for _ in range(6))
    reply = http.post("/v1/chat/completions", content=parts, headers={"content-type": "application/json"})
    assert reply.status_code == 413 and "larger" in reply.json()["error"]["message"]


def test_a_web_page_is_kept_out(http: httpx.Client) -> None:
    as_text = http.post("/v1/chat/completions", content=json.dumps(body()), headers={"content-type": "text/plain"})
    rebound = http.post("/v1/chat/completions", json=body(), headers={"host": "evil.example:8601"})
    assert (as_text.status_code, rebound.status_code) == (400, 400)


def test_unknown_paths_and_models_are_404(http: httpx.Client, client: openai.OpenAI) -> None:
    assert http.get("/v1/nothing").json()["error"]["code"] == 404
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.chat.completions.create(**body(model="nobody"))


def test_adapters_come_and_go(http: httpx.Client, client: openai.OpenAI, adapters: list[Path]) -> None:
    load = {"lora_name": "rel_http", "lora_path": str(adapters[0])}
    for _ in range(2):
        assert http.post("/v1/load_lora_adapter", json=load, headers=KEYED).status_code == 200
    other = load | {"lora_path": str(adapters[1])}
    assert http.post("/v1/load_lora_adapter", json=other, headers=KEYED).status_code == 400
    assert {"rel_http", NAME} <= {model.id for model in client.models.list()}
    with ThreadPoolExecutor(2) as pool:
        told = list(pool.map(lambda m: client.chat.completions.create(**body(model=m)), (NAME, "rel_http")))
    assert told[0].choices[0].message.content != told[1].choices[0].message.content
    gone = {"lora_name": "rel_http"}
    codes = [http.post("/v1/unload_lora_adapter", json=gone, headers=KEYED).status_code for _ in range(2)]
    assert codes == [200, 404] and http.post("/v1/chat/completions", json=body(model="rel_http")).status_code == 404


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": KEY}])
@pytest.mark.parametrize("path", ["/v1/load_lora_adapter", "/v1/unload_lora_adapter"])
def test_adapters_ask_for_the_key(http: httpx.Client, path: str, headers: dict[str, str]) -> None:
    reply = http.post(path, json={"lora_name": "x", "lora_path": "/x"}, headers=headers)
    assert reply.status_code == 401 and KEY not in reply.text


def test_an_adapter_that_is_none_is_refused(http: httpx.Client, tmp_path: Path) -> None:
    reply = http.post("/v1/load_lora_adapter", json={"lora_name": "x", "lora_path": str(tmp_path)}, headers=KEYED)
    assert reply.status_code == 400 and "adapter_config.json" in reply.json()["error"]["message"]


def test_health_says_when_the_engine_has_ended(model_path: str) -> None:
    engine = Engine(model_path, "m")
    with TestClient(create_app(engine)) as client:
        assert client.get("/health").status_code == 200
        engine.close()
        assert client.get("/health").status_code == 503
        assert client.post("/v1/chat/completions", json=body(model="m")).status_code == 503
