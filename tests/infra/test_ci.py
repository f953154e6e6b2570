"""infra/ci/: the shell that runs a foreign branch's check, and the whole of `ratchet ci` on the bundled features."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.scratch import REPO, Clone

HOSTILE = """#!/usr/bin/env python3
import os, socket, sys
if os.environ.get("HOME", "").startswith("/root") or any("SECRET" in key for key in os.environ):
    sys.exit(11)
with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
    pass  # loopback is there: the model server needs it
try:
    socket.create_connection(("192.0.2.1", 9), timeout=2)
except OSError as error:
    sys.exit(3 if error.errno == 101 else 12)  # the network is unreachable
sys.exit(13)
"""


def has_namespaces() -> bool:
    probe = ["unshare", "--user", "--map-root-user", "--net", "ip", "link", "set", "lo", "up"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


needs_namespaces = pytest.mark.skipif(not has_namespaces(), reason="this machine allows no network namespace")


@needs_namespaces
def test_code_of_a_branch_gets_no_secret_and_no_network(tmp_path: Path) -> None:
    (tmp_path / "ratchet").write_text(HOSTILE)
    (tmp_path / "ratchet").chmod(0o755)
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "MY_SECRET": "s", "AWS_SECRET_ACCESS_KEY": "s"}
    done = subprocess.run(["sh", str(REPO / "infra/ci/check.sh"), "main"], env=environ, cwd=tmp_path, check=False)
    assert done.returncode == 3


def test_without_namespaces_nothing_is_run(tmp_path: Path) -> None:
    for name, code in (("unshare", "exit 1"), ("ratchet", f"touch {tmp_path}/was_here")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{code}\n")
        (tmp_path / name).chmod(0o755)
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["sh", str(REPO / "infra/ci/check.sh")]
    done = subprocess.run(command, env=environ, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 1 and "allows no network namespace" in done.stderr
    assert not (tmp_path / "was_here").exists()


@needs_namespaces
@pytest.mark.slow
def test_the_check_runs_as_plain_shell_on_the_embedded_model(tmp_path: Path) -> None:
    clone = Clone(tmp_path / "clone")
    clone.git("checkout", "-q", "-b", "edit")
    prompt = clone.folder / "features/help_answers/prompts/default.md"
    prompt.write_text(prompt.read_text().replace("one or two sentences", "one short sentence"))
    clone.commit("a shorter answer")
    (tmp_path / "ratchet").write_text(f'#!/bin/sh\nexec {REPO}/.venv/bin/python -m cli.main "$@"\n')
    (tmp_path / "ratchet").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = clone.run("sh", "infra/ci/check.sh", "main", "ci", check=False, PATH=path)
    assert done.returncode == 3, done.stdout + done.stderr  # ten items are too few
    suites = ElementTree.parse(clone.folder / "ci/junit.xml").getroot()
    assert [suite.get("name") for suite in suites] == ["help_answers"] and suites[0].get("tests") == "4"
    assert "| help_answers | prompt | cannot be said |" in (clone.folder / "ci/report.md").read_text()
