"""Other people's clients, unchanged: OpenAI's Node SDK, LangChain and LlamaIndex, each skipped where it is missing.

The Node SDK is looked for in node_modules of this clone (`npm install openai`) or in the folder NODE_MODULES
names; the Python frameworks in this environment, or in that of the interpreter that SDK_PYTHON names.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gateway.conftest import Gateway

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).parent / "sdk" / "openai_node.mjs"
PYTHON = os.environ.get("SDK_PYTHON", sys.executable)

LANGCHAIN = """
import sys
from langchain_openai import ChatOpenAI
chat = ChatOpenAI(base_url=sys.argv[1] + "/v1", api_key="none", model="routing", max_retries=0,
                  extra_body={"ratchet": {"session": "s-1"}})
answer = chat.invoke("my card is lost")
print(answer.content)
print(answer.response_metadata["id"] if "id" in answer.response_metadata else answer.id)
print("".join(chunk.content for chunk in chat.stream("my card is lost")))
"""
LLAMA_INDEX = """
import sys
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike
llm = OpenAILike(api_base=sys.argv[1] + "/v1", api_key="none", model="routing", is_chat_model=True, max_retries=0)
answer = llm.chat([ChatMessage(role="user", content="my card is lost")])
print(answer.message.content)
print(answer.raw.id)
print("".join(part.delta or "" for part in llm.stream_chat([ChatMessage(role="user", content="my card is lost")])))
"""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_openai_node_sdk_runs_unchanged(gateway: Gateway, tmp_path: Path) -> None:
    modules = Path(os.environ.get("NODE_MODULES", ROOT / "node_modules"))
    node = shutil.which("node")
    if node is None or not (modules / "openai").is_dir():
        pytest.skip("needs node and `npm install openai` (in the clone, or in the folder NODE_MODULES)")
    shutil.copy(SCRIPT, tmp_path)
    (tmp_path / "node_modules").symlink_to(modules)
    done = run(str(node), str(tmp_path / SCRIPT.name), gateway.url)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    first = gateway.shop.interactions()[0]
    assert told["id"] == f"chatcmpl-{first.interaction_id}"
    assert (first.session_id, first.tenant) == ("s-1", "acme")
    assert told["said"] == told["streamed"] == '{"route": "cards"}'
    assert (told["models"], told["embedding"], told["refused"]) == (["routing"], [3, 1], 404)
    assert told["receipt"] == gateway.shop.interactions()[1].interaction_id


@pytest.mark.parametrize(("module", "program"), [("langchain_openai", LANGCHAIN), ("llama_index", LLAMA_INDEX)])
def test_a_python_framework_runs_unchanged(gateway: Gateway, module: str, program: str) -> None:
    if run(PYTHON, "-c", f"import {module}").returncode:
        pytest.skip(f"needs {module} (here, or in the environment of the interpreter SDK_PYTHON)")
    done = run(PYTHON, "-c", program, gateway.url)
    assert done.returncode == 0, done.stderr[-2000:]
    said, receipt, streamed = done.stdout.splitlines()
    assert said == streamed == '{"route": "cards"}'
    assert gateway.shop.interactions()[0].interaction_id in receipt
