"""The command line, as its own process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "modelserver", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=os.environ | environ)


def test_help_has_examples() -> None:
    assert "python -m modelserver --port 0" in run("--help").stdout


def test_a_taken_port_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("--port", str(taken.getsockname()[1]))
    assert done.returncode == 2 and "is in use" in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_missing_model_says_what_to_do(tmp_path: Path) -> None:
    done = run("--port", "0", RATCHET_CACHE=str(tmp_path))
    assert done.returncode == 2 and "make setup" in done.stderr and len(done.stderr.splitlines()) == 1


def test_beyond_loopback_is_refused_without_a_key() -> None:
    done = run("--port", "0", "--host", "0.0.0.0", RATCHET_ALLOW_REMOTE="1")
    assert done.returncode == 2 and "RATCHET_MODELSERVER_KEY" in done.stderr


def test_a_number_that_is_none_is_refused() -> None:
    assert run("--threads", "0").returncode == 2


def test_it_says_when_it_is_ready_and_ends_on_sigterm(model_path: str) -> None:
    command = [sys.executable, "-m", "modelserver", "--port", "0", "--model", model_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stderr
        line = process.stdout.readline()
        url = line.removeprefix("modelserver ready ").strip()
        assert httpx.get(f"{url}/health").status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0 and process.stderr.read() == ""
