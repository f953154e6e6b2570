"""The server on the real embedded model, asked by the OpenAI client."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from modelserver.weights import NAME

TEXTS = [f"message {i}: my card {'was stolen' if i % 2 else 'has not arrived'}, what now" for i in range(16)]
LABELS = ["card_lost", "card_delivery", "loan"]


@pytest.fixture(scope="module")
def client(address: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)


def asked(text: str, model: str = NAME, **more: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"route": {"type": "string", "enum": LABELS}}, "required": ["route"]}
    return {
        "model": model,
        "messages": [{"role": "system", "content": "Name the team. " * 8}, {"role": "user", "content": text}],
        "temperature": 0,
        "max_tokens": 24,
        "response_format": {"type": "json_schema", "json_schema": {"name": "r", "schema": schema, "strict": True}},
        **more,
    }


def answer(client: openai.OpenAI, body: dict[str, Any]) -> str:
    return str(client.chat.completions.create(**body).choices[0].message.content)


def test_enum_is_enforced(client: openai.OpenAI) -> None:
    assert json.loads(answer(client, asked(TEXTS[0])))["route"] in LABELS


def test_an_answer_does_not_depend_on_its_batch(client: openai.OpenAI) -> None:
    alone = [answer(client, asked(text)) for text in TEXTS]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda text: answer(client, asked(text)), TEXTS))
    assert together == alone


def test_free_text_does_not_depend_on_its_batch(client: openai.OpenAI) -> None:
    bodies = [asked(text, response_format={"type": "text"}, max_tokens=12) for text in TEXTS[:6]]
    alone = [answer(client, body) for body in bodies]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda body: answer(client, body), bodies)) == alone


def test_stream_says_the_same_with_usage(client: openai.OpenAI) -> None:
    body = asked("hello there", response_format={"type": "text"}, max_tokens=12)
    whole = client.chat.completions.create(**body)
    chunks = list(client.chat.completions.create(**body, stream=True, stream_options={"include_usage": True}))
    said = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert said == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage and whole.usage is not None and whole.usage.completion_tokens == 12


def test_adapters_answer_side_by_side_and_differ_from_the_base(
    client: openai.OpenAI, address: str, adapter: Path
) -> None:
    load = {"lora_name": "rel_test", "lora_path": str(adapter)}
    assert httpx.post(f"{address}/v1/load_lora_adapter", json=load, timeout=60).status_code == 200
    bodies = [asked(t, model=m, response_format={"type": "text"}) for t in TEXTS[:3] for m in (NAME, "rel_test")]
    with ThreadPoolExecutor(6) as pool:
        mixed = list(pool.map(lambda body: answer(client, body), bodies))
    assert mixed == [answer(client, body) for body in bodies]
    assert mixed[0::2] != mixed[1::2]
    assert httpx.post(f"{address}/v1/unload_lora_adapter", json={"lora_name": "rel_test"}).status_code == 200
    with pytest.raises(openai.NotFoundError):
        answer(client, bodies[1])


def test_unknown_model_is_404(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        answer(client, asked("x", model="nobody"))


def test_an_adapter_that_is_not_safetensors_is_refused(address: str, tmp_path: Path) -> None:
    (tmp_path / "adapter_model.bin").write_bytes(b"pickle")
    body = {"lora_name": "bad", "lora_path": str(tmp_path)}
    reply = httpx.post(f"{address}/v1/load_lora_adapter", json=body)
    assert reply.status_code == 400 and "adapter_model.safetensors" in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"n": 2}, "n:"),
        ({"messages": []}, "messages"),
        ({"temperature": 9}, "temperature"),
        ({"response_format": {"type": "grammar"}}, "json_schema"),
        ({"messages": [{"role": "user", "content": "word " * 9000}]}, "context"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(address: str, change: dict[str, Any], told: str) -> None:
    reply = httpx.post(f"{address}/v1/chat/completions", json=asked("x") | change, timeout=60)
    assert reply.status_code == 400
    assert told in reply.json()["error"]["message"]


def test_stop_text_ends_the_answer(client: openai.OpenAI) -> None:
    body = asked("hello there", response_format={"type": "text"}, max_tokens=16)
    whole = answer(client, body)
    cut = whole.split(" ")[2]
    assert answer(client, body | {"stop": cut}) == whole[: whole.index(cut)]


def test_sampling_with_a_seed_repeats(client: openai.OpenAI) -> None:
    body = asked("hello", response_format={"type": "text"}, temperature=1.0, seed=4, max_tokens=8)
    assert answer(client, body) == answer(client, body)


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert NAME in {model.id for model in client.models.list()}
