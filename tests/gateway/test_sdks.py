"""Other people's clients run unchanged: chat, stream, tools, answers by a schema, embeddings, feedback on a receipt."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ratchet.release import ReleasePolicy
from tests.gateway.clients import PLACE, client_program, node_program
from tests.gateway.conftest import Gateway
from tests.gateway.fake_model_server import FakeModelServer

SDK = Path(__file__).parent / "sdk"
ANSWER = '{"route": "cards"}'
CALL = {"id": "t1", "type": "function", "function": {"name": "look_up", "arguments": '{"card": "lost"}'}}


def told(*command: str) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout))


@pytest.fixture
def shop_gateway(gateway: Gateway, fake: FakeModelServer) -> Gateway:
    """A gateway with the managed feature `routing` and the passthrough feature `agent`, whose model likes tools."""
    policy = ReleasePolicy(mode="passthrough", scorer="token_f1")
    gateway.shop.begin("agent", gateway.shop.put(text="", feature="agent", policy=policy, output_schema=None))
    fake.tool_calls = [CALL]
    return gateway


def check(gateway: Gateway, fake: FakeModelServer, found: dict[str, Any], *, embeds: bool = True) -> None:
    first, second = gateway.shop.interactions()
    assert (found["id"], found["stream_id"]) == (
        f"chatcmpl-{first.interaction_id}",
        f"chatcmpl-{second.interaction_id}",
    )
    assert (first.session_id, first.user_id) == ("s-1", "u1")
    assert found["said"] == found["streamed"] == ANSWER
    assert found["tools"] == [["look_up", {"card": "lost"}]] * 2
    assert found["fields"] == {"route": "cards"}
    wanted = [b["response_format"] for b in fake.bodies if "response_format" in b and "tools" not in b][-1]
    assert "route" in wanted["json_schema"]["schema"]["properties"]
    assert found["embedding"] == ([3.0, 1.0] if embeds else None)
    assert found["stored"] and gateway.shop.feedback()[0].interaction_id == first.interaction_id


def test_openais_sdk_for_python_runs_unchanged(shop_gateway: Gateway, fake: FakeModelServer) -> None:
    check(shop_gateway, fake, told(sys.executable, str(SDK / "openai_python.py"), shop_gateway.url))


def test_an_older_openai_sdk_for_python_runs_unchanged(shop_gateway: Gateway, fake: FakeModelServer) -> None:
    check(shop_gateway, fake, told(client_program("python"), str(SDK / "openai_python.py"), shop_gateway.url))


def test_openais_sdk_for_node_runs_unchanged(shop_gateway: Gateway, fake: FakeModelServer, tmp_path: Path) -> None:
    node = node_program()
    shutil.copy(SDK / "openai_node.mjs", tmp_path)
    (tmp_path / "node_modules").symlink_to(PLACE / "node_modules")  # Node looks for packages beside the program
    check(shop_gateway, fake, told(node, str(tmp_path / "openai_node.mjs"), shop_gateway.url))


def test_langchain_runs_unchanged(shop_gateway: Gateway, fake: FakeModelServer) -> None:
    check(shop_gateway, fake, told(client_program("python"), str(SDK / "langchain_python.py"), shop_gateway.url))


def test_llama_index_runs_unchanged(shop_gateway: Gateway, fake: FakeModelServer) -> None:
    found = told(client_program("python"), str(SDK / "llama_index_python.py"), shop_gateway.url)
    check(shop_gateway, fake, found, embeds=False)
