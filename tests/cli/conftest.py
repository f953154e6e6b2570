import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from cli.main import main
from ratchet.settings import Settings


class Ended(NamedTuple):
    """How a command ended and what it printed."""

    status: int
    out: str
    err: str


Ratchet = Callable[..., Ended]


@pytest.fixture
def ratchet(routing: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ratchet:
    """Run `ratchet ...` in the clone of `routing`, where no part is running."""
    nowhere = {"PREFECT_API_URL": "http://127.0.0.1:9/api", "RATCHET_GATEWAY_URL": "http://127.0.0.1:9"}
    nowhere |= {"RATCHET_VERIFIER_URL": "http://127.0.0.1:9", "RATCHET_MODELSERVER_URL": "http://127.0.0.1:9"}
    places = {"RATCHET_REPO": str(routing.repo), "RATCHET_HOME": str(routing.home), "RATCHET_CACHE": str(routing.cache)}
    for key, value in (nowhere | places | {"COLUMNS": "240", "NO_COLOR": "1", "TERM": "dumb"}).items():
        monkeypatch.setenv(key, value)
    monkeypatch.chdir(routing.repo)

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["ratchet", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        status = ended.value.code
        return Ended(status if isinstance(status, int) else 0, *capsys.readouterr())

    return run
