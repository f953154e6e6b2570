from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.__main__ import main
from tests.gateway.conftest import Gateway, Shop

ROOT = Path(__file__).resolve().parents[2]


def environ(shop: Shop) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RATCHET_")}
    return kept | shop.environ | {"PYTHONPATH": str(ROOT)}


@pytest.fixture
def process(shop: Shop) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "gateway", "--port", "0"]
    with (shop.root / "log").open("w") as log:
        started = subprocess.Popen(command, cwd=ROOT, env=environ(shop), stdout=subprocess.PIPE, stderr=log, text=True)
        yield started
        started.kill()
        started.wait()
        assert started.stdout is not None
        started.stdout.close()


def ready(process: subprocess.Popen[str], shop: Shop) -> Gateway:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("gateway ready http://127.0.0.1:")
    return Gateway(line.split()[-1], shop)


@pytest.fixture
def any_shop(shop: Shop, database_url: str) -> Shop:
    """The shop with its records in a database of each kind."""
    shop.environ["RATCHET_DATABASE_URL"] = database_url
    shop.settings = dataclasses.replace(shop.settings, database_url=database_url)
    return shop


@pytest.mark.parametrize("is_streamed", [False, True])
def test_an_answer_that_was_received_survives_kill_9(
    any_shop: Shop, process: subprocess.Popen[str], is_streamed: bool
) -> None:
    gateway = ready(process, any_shop)
    receipts = []
    for _ in range(5):
        answer = gateway.ask(stream=is_streamed)
        assert '"finish_reason":"stop"' in answer.text
        receipts.append(answer.headers["x-ratchet-interaction-id"])
    process.kill()
    process.wait()
    assert [i.interaction_id for i in any_shop.interactions()] == receipts


def test_the_log_has_ids_and_no_user_text(process: subprocess.Popen[str], shop: Shop) -> None:
    gateway = ready(process, shop)
    receipt = gateway.ask("my card SECRET").headers["x-ratchet-interaction-id"]
    gateway.say(receipt, "comment", "SECRET", comment="SECRET")
    shop.fake.broken["tiny"] = 500
    gateway.ask("my card SECRET")
    process.terminate()
    process.wait(timeout=15)
    log = (shop.root / "log").read_text()
    assert f"event=answered interaction_id={receipt} feature=routing channel=stable status=200" in log
    assert "SECRET" not in log


def test_a_port_in_use_is_one_line_and_exit_2(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--port", gateway.url.rsplit(":", 1)[1]]) == 2
    said = capsys.readouterr().err
    assert "is in use" in said
    assert said.count("\n") == 1


def test_a_host_beyond_loopback_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("RATCHET_ALLOW_REMOTE", raising=False)
    assert main(["--host", "0.0.0.0"]) == 2
    assert "set RATCHET_ALLOW_REMOTE=1" in capsys.readouterr().err


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "curl http://127.0.0.1:8600/v1/feedback" in capsys.readouterr().out


def test_the_gateway_never_imports_torch() -> None:
    heavy = "{'torch', 'transformers', 'pandas', 'prefect', 'dvc'}"
    program = f"import sys, gateway.app, gateway.__main__; print(sorted({heavy} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
