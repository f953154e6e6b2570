"""One LiteLLM proxy in front of the gateway and behind it: the receipt survives, in answers and in streams."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import openai
import pytest

from gateway.limits import Limits
from tests.gateway.clients import client_program
from tests.gateway.conftest import Gateway, Serving, Shop, label_of_question
from tests.gateway.fake_model_server import FakeModelServer

pytestmark = pytest.mark.slow
MESSAGES = [{"role": "user", "content": "my card is lost"}]
UNSAFE = "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"  # its word; it listens on loopback here


@contextmanager
def litellm(folder: Path, port: int, models: dict[str, tuple[str, str]]) -> Iterator[None]:
    """LiteLLM's proxy with some models, each somebody else's model at an address."""
    listed = [
        {
            "model_name": ours,
            "litellm_params": {"model": f"openai/{theirs}", "api_base": f"{url}/v1", "api_key": "none"},
        }
        for ours, (theirs, url) in models.items()
    ]
    (folder / "litellm.yaml").write_text(json.dumps({"model_list": listed}))
    options = ["--config", "litellm.yaml", "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]
    environ = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", UNSAFE: "true"}
    with (folder / "litellm.log").open("w") as log:
        command = [client_program("python"), client_program("litellm"), *options]
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=log, cwd=folder)
        try:
            await_it(f"http://127.0.0.1:{port}", process)
            yield
        finally:
            process.terminate()
            process.wait()


def await_it(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/health/liveliness", timeout=5, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.5)
    raise RuntimeError("LiteLLM did not come up")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, str]]:
    """A gateway whose models LiteLLM serves, and the address where the same LiteLLM offers the gateway as `front`."""
    client_program("litellm")
    folder, port = tmp_path_factory.mktemp("litellm"), free_port()
    with FakeModelServer(label_of_question) as fake:
        shop = Shop(folder, fake)
        path = shop.root / "backends.yaml"
        path.write_text(f"backends: {{it: {{preset: llamacpp, url: 'http://127.0.0.1:{port}', models: {{tiny: m}}}}}}")
        shop.settings = dataclasses.replace(shop.settings, backends=path)
        with Serving(shop, dataclasses.replace(Limits(), try_s=60)) as gateway:
            models = {"m": ("tiny", fake.url), "front": ("routing", gateway.url)}
            with litellm(folder, port, models):
                yield gateway, f"http://127.0.0.1:{port}/v1"


def ids(chunks: openai.Stream[openai.types.chat.ChatCompletionChunk]) -> set[str]:
    return {chunk.id for chunk in chunks}


def receipts(gateway: Gateway) -> list[str]:
    return [f"chatcmpl-{record.interaction_id}" for record in gateway.shop.interactions()[-2:]]


def test_the_receipt_is_ours_with_litellm_behind(both: tuple[Gateway, str]) -> None:
    gateway, _ = both
    ask = gateway.openai.chat.completions
    whole = ask.create(model="routing", messages=MESSAGES)  # type: ignore[call-overload]
    streamed = ids(ask.create(model="routing", messages=MESSAGES, stream=True))  # type: ignore[call-overload]
    assert [whole.id, *streamed] == receipts(gateway)
    assert whole.choices[0].message.content == '{"route": "cards"}'


def test_the_receipt_survives_litellm_in_front(both: tuple[Gateway, str]) -> None:
    gateway, url = both
    fields = {"model": "front", "messages": MESSAGES, "user": "u1", "extra_body": {"ratchet": {"session": "s-1"}}}
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        whole = client.chat.completions.create(**fields)  # type: ignore[call-overload]
        streamed = ids(client.chat.completions.create(stream=True, **fields))  # type: ignore[call-overload]
    assert [whole.id, *streamed] == receipts(gateway)
    assert {record.session_id for record in gateway.shop.interactions()[-2:]} == {"s-1"}
    assert gateway.say(whole.id, "thumb", True, user="u1").json()["stored"]
