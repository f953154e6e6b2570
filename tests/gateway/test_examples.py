"""The examples of docs/gateway.md do what they say: they are run as they stand there, but for the address."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ratchet.guards import Guards
from ratchet.presets import BackendSpec
from ratchet.release import ReleasePolicy
from ratchet.store import open_store
from ratchet.tenants import load_tenants
from tests.gateway.clients import PLACE, node_program
from tests.gateway.conftest import Gateway

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "gateway.md").read_text(encoding="utf-8")
THERE = "http://127.0.0.1:8600"


def example(heading: str) -> str:
    """The first block of code under a heading."""
    found = re.search(rf"^#+ {heading}$.*?^```\w*\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None, heading
    return found[1]


@pytest.fixture
def documented(gateway: Gateway) -> Gateway:
    """A gateway with the two features that the examples ask."""
    policy = ReleasePolicy(mode="passthrough", scorer="token_f1")
    gateway.shop.begin("support_routing", gateway.shop.put(text="Name the team.", feature="support_routing"))
    gateway.shop.begin("my_agent", gateway.shop.put(text="", feature="my_agent", policy=policy, output_schema=None))
    return gateway


def check(gateway: Gateway, *command: str | Path) -> None:
    """Run an example; one answer of each mode is stored, the passthrough prompt as it was, and a thumb on the first."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    bodies = gateway.shop.fake.bodies
    assert bodies[0]["messages"][0]["content"].startswith("Name the team.")
    assert bodies[1]["messages"][-1]["content"] == "my card never arrived"
    assert len(bodies) == 2
    ((record, said),) = thumbs(gateway)
    assert (record, said) == ("customer-42", True)


def thumbs(gateway: Gateway) -> list[tuple[str | None, object]]:
    with open_store(gateway.shop.settings.database_url) as store:
        found = [said for _, _, said in store.feedback("support_routing")]
        asked = [store.interaction(said.interaction_id) for said in found]
    return [(record.user_id if record else None, said.value) for record, said in zip(asked, found, strict=True)]


def test_the_python_example_runs(documented: Gateway, tmp_path: Path) -> None:
    program = tmp_path / "example.py"
    program.write_text(example("Python").replace(THERE, documented.url))
    check(documented, sys.executable, program)


def test_the_node_example_runs(documented: Gateway, tmp_path: Path) -> None:
    node, program = node_program(), tmp_path / "example.mjs"
    program.write_text(example("Node").replace(THERE, documented.url))
    (tmp_path / "node_modules").symlink_to(PLACE / "node_modules")
    check(documented, node, program)


def test_the_curl_example_runs(documented: Gateway, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    program = tmp_path / "example.sh"
    program.write_text("set -eu\n" + example("curl").replace(THERE, documented.url).replace("curl ", "curl -sSf "))
    check(documented, "bash", program)


def test_the_examples_of_files_are_valid(tmp_path: Path) -> None:
    backends = yaml.safe_load(example("Backends"))
    for fields in backends["backends"].values():
        BackendSpec.model_validate(fields)
    assert {name for chain in backends["chains"].values() for name in chain} <= set(backends["backends"])
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "tenants.yaml").write_text(example("Tenants"))
    assert load_tenants(tmp_path)["acme"].train is False
    Guards.model_validate(yaml.safe_load(example("Guards"))["guards"])
