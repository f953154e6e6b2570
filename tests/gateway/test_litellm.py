"""The receipt with LiteLLM in front of the gateway and behind it; skipped where LITELLM names no `litellm` command."""

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
import pytest

from gateway.limits import Limits
from tests.gateway.conftest import Gateway, Serving, Shop
from tests.gateway.fake_model_server import FakeModelServer

pytestmark = pytest.mark.slow
BODY = {"model": "m", "user": "u1", "messages": [{"role": "user", "content": "my card is lost"}]}


@contextmanager
def litellm(folder: Path, model: str, base: str) -> Iterator[str]:
    """LiteLLM's proxy with one model `m`."""
    command = os.environ.get("LITELLM")
    if command is None:
        pytest.skip("needs LITELLM, the path of a `litellm` command with its proxy installed")
    config = folder / "litellm.yaml"
    params = f"{{model: openai/{model}, api_base: '{base}/v1', api_key: none}}"
    config.write_text(f"model_list: [{{model_name: m, litellm_params: {params}}}]\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    unsafe = "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"  # its word; it listens on loopback here
    environ = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", unsafe: "true"}
    options = ["--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]
    with (folder / "litellm.log").open("w") as log:
        process = subprocess.Popen([command, *options], env=environ, stdout=log, stderr=log, cwd=folder)
        try:
            await_it(url, process)
            yield url
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


def ids(streamed: str) -> set[str]:
    lines = [line[6:] for line in streamed.splitlines() if line.startswith("data: {")]
    return {json.loads(line)["id"] for line in lines}


def test_the_receipt_survives_litellm_in_front(gateway: Gateway, tmp_path: Path) -> None:
    with litellm(tmp_path, "routing", gateway.url) as url, httpx.Client(timeout=60, trust_env=False) as client:
        whole = client.post(f"{url}/v1/chat/completions", json=BODY).json()
        streamed = client.post(f"{url}/v1/chat/completions", json=BODY | {"stream": True}).text
    receipts = [f"chatcmpl-{record.interaction_id}" for record in gateway.shop.interactions()]
    assert [whole["id"], *ids(streamed)] == receipts
    assert gateway.say(whole["id"], "thumb", True).json()["stored"]


def test_the_receipt_is_ours_with_litellm_behind(
    shop: Shop, fake: FakeModelServer, limits: Limits, tmp_path: Path
) -> None:
    with litellm(tmp_path, "tiny", fake.url) as url:
        path = shop.root / "backends.yaml"
        path.write_text(f"backends: {{it: {{preset: llamacpp, url: '{url}', models: {{tiny: m}}}}}}")
        shop.settings = dataclasses.replace(shop.settings, backends=path)
        with Serving(shop, dataclasses.replace(limits, try_s=60)) as gateway:
            whole, streamed = gateway.ask(), gateway.ask(stream=True)
    receipts = [f"chatcmpl-{record.interaction_id}" for record in shop.interactions()]
    assert [whole.json()["id"], *ids(streamed.text)] == receipts
