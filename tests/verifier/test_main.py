import os
import signal
import socket
import subprocess
import sys

import httpx
import pytest

from verifier.__main__ import main


def start(tmp_path, *arguments):
    environ = os.environ | {"RATCHET_REPO": str(tmp_path), "RATCHET_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "verifier", *arguments]
    return subprocess.Popen(command, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.fixture
def running(tmp_path):
    process = start(tmp_path, "--port", "0")
    yield process, process.stdout.readline().split()[-1]
    process.kill()
    process.communicate()


def test_the_ready_line_names_the_address_and_an_interrupt_ends_it_quietly(running):
    process, address = running
    assert httpx.get(f"{address}/healthz").status_code == 200
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    assert "Traceback" not in process.stderr.read()


def test_a_second_verifier_on_the_same_state_is_refused(running, tmp_path):
    second = start(tmp_path, "--port", "0")
    _, said = second.communicate(timeout=30)
    assert second.returncode == 2
    assert "another verifier runs" in said and said.count("\n") == 1


def test_a_port_in_use_is_one_line_and_exit_2(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("RATCHET_HOME", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["--port", str(taken.getsockname()[1])]) == 2
    said = capsys.readouterr().err
    assert "in use" in said and said.count("\n") == 1


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.com"])
def test_a_host_beyond_loopback_needs_leave(tmp_path, capsys, monkeypatch, host):
    monkeypatch.setenv("RATCHET_HOME", str(tmp_path))
    assert main(["--host", host]) == 2
    assert "RATCHET_ALLOW_REMOTE=1" in capsys.readouterr().err


def test_help_shows_examples(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "examples:" in capsys.readouterr().out
