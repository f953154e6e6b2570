"""Other people's clients, in an environment of their own that `make test-clients` makes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

PLACE = Path(__file__).resolve().parents[2] / ".clients"


def client_program(name: str) -> str:
    """A program of the clients' Python environment; the test is skipped where that was not made."""
    if not (PLACE / "ready").is_file():
        pytest.skip("needs other people's clients, which `make test-clients` installs into .clients")
    return str(PLACE / "python" / "bin" / name)


def node_program() -> str:
    """Node, where the clients' packages for it are installed beside it; else the test is skipped."""
    node = shutil.which("node")
    if node is None or not (PLACE / "node_modules").is_dir():
        pytest.skip("needs node and the packages that `make test-clients` installs into .clients where there is npm")
    return node
