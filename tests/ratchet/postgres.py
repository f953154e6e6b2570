"""A real PostgreSQL of Debian's package, on a socket in a folder of its own, for tests."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def missing() -> str | None:
    """Why there is none; None where there is."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "needs psycopg (pip install 'psycopg[binary]')"
    if _programs() is None:
        return "needs PostgreSQL (apt-get install postgresql)"
    if os.getuid() == 0 and not any(user.pw_name == "postgres" for user in pwd.getpwall()):
        return "root may not run PostgreSQL, and there is no user postgres"
    return None


@contextmanager
def postgres_server() -> Iterator[str]:
    """Gives the address of its database `postgres`, without the name."""
    programs = _programs()
    assert programs is not None
    user = "postgres" if os.getuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))  # a socket's path is at most 107 characters
    try:
        if user:
            shutil.chown(folder, user)
        data, options = folder / "data", f"-c listen_addresses= -k {folder}"
        _run([programs / "initdb", "-D", data, "-U", "ratchet", "-A", "trust", "--no-sync"], user)
        _run([programs / "pg_ctl", "-D", data, "-o", options, "-l", folder / "log", "-w", "start"], user)
        try:
            yield f"postgresql+psycopg://ratchet@/{{}}?host={folder}"
        finally:
            _run([programs / "pg_ctl", "-D", data, "-m", "immediate", "stop"], user)
    finally:
        shutil.rmtree(folder)


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


def _run(command: list[object], user: str | None) -> None:
    subprocess.run([str(word) for word in command], user=user, check=True, capture_output=True, timeout=60, cwd="/")
