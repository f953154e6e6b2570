"""The command line of the model server and of the conversion."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from modelserver.weights import convert
from ratchet.files import write_json


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environ or None)


def test_help_has_examples() -> None:
    assert "python -m modelserver --port 0" in run("modelserver", "--help").stdout


def test_taken_port_is_one_clear_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run("modelserver", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert done.stderr.startswith("error: 127.0.0.1:") and len(done.stderr.splitlines()) == 1


def test_missing_model_says_what_to_do(tmp_path: Path) -> None:
    done = run("modelserver", "--port", "0", RATCHET_CACHE=str(tmp_path), PATH="/usr/bin:/bin")
    assert done.returncode == 2
    assert "make setup" in done.stderr


def test_beyond_loopback_is_refused_without_a_key() -> None:
    done = run("modelserver", "--port", "0", "--host", "0.0.0.0")
    assert done.returncode == 2 and "RATCHET_ALLOW_REMOTE" in done.stderr


def test_a_converted_model_is_left_as_it_is(tmp_path: Path) -> None:
    write_json(tmp_path / "model" / "ratchet.json", {"digest": "x"})
    assert convert(tmp_path / "model") == tmp_path / "model"
    assert [p.name for p in (tmp_path / "model").iterdir()] == ["ratchet.json"]


@pytest.mark.slow
def test_conversion_is_deterministic(tmp_path: Path) -> None:
    first, second = (convert(tmp_path / name) for name in ("a", "b"))
    assert (first / "ratchet.json").read_text() == (second / "ratchet.json").read_text()
