"""Runs a Python program that nobody trusts: own namespaces, no network, none of the caller's files, hard limits.

The walls are the kernel's: user (or, for root, nobody's id), mount, pid, net, ipc and uts namespaces by util-linux's
`unshare`, a root that holds the interpreter and the C libraries read-only, no capability, no_new_privs, rlimits. System
calls are not filtered, so a hole in the kernel is a hole in the sandbox. Where the machine allows no namespaces there
is no sandbox, and nothing is run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

MB = 1 << 20
C_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
OUT_OF_TIME = 124  # as in jail.py
HELLO = "print('inside')"


@dataclass(frozen=True)
class Limits:
    """What a program may use.

    Attributes:
        time_s: until all of it is ended.
        memory_mb: per process, so all of it is at most this times `processes`.
        processes: its own included.
        files_mb: all that it may write.
        output_bytes: the longest file that it may write, its standard output included.
    """

    time_s: float = 10.0
    memory_mb: int = 256
    processes: int = 8
    files_mb: int = 16
    output_bytes: int = 1 << 16

    def as_rlimits(self) -> dict[str, int]:
        """By the names of resource.RLIMIT_*."""
        return {
            "AS": self.memory_mb * MB,
            "CPU": int(self.time_s) + 1,
            "NPROC": self.processes,
            "FSIZE": self.output_bytes,
            "NOFILE": 64,
            "CORE": 0,
        }


@dataclass(frozen=True)
class Ended:
    """How a program ended (status 0: well), and the first bytes that it wrote to its standard output."""

    how: Literal["ended", "out of time"]
    status: int
    output: str


def run_python(program: str, given: str = "", limits: Limits = Limits(), path: str = os.defpath) -> Ended:
    """Run a program with `given` on its standard input; it sees the standard library and an empty folder.

    Args:
        program: Python source; it runs with `-I -S`, the interpreter of this process.
        given: what it reads from standard input.
        limits: what it may use.
        path: where `unshare` is looked for.

    Returns:
        How it ended; on a machine without sandbox the status is not 0, see `sandbox_works`.
    """
    asked = {
        "python": os.path.realpath(sys.executable),
        "read_only": _read_only(),
        "work_bytes": limits.files_mb * MB,
        "limits": limits.as_rlimits(),
        "time_s": limits.time_s,
        "program": program,
    }
    jail = Path(__file__).with_name("jail.py").read_text(encoding="utf-8")
    command = [*_unshare(path), os.path.realpath(sys.executable), "-I", "-S", "-c", jail, json.dumps(asked)]
    with tempfile.TemporaryFile() as output:
        run = subprocess.run(
            command,
            input=given.encode("utf-8", "replace"),
            stdout=output,
            stderr=subprocess.DEVNULL,
            env={},
            cwd="/",
            check=False,
        )
        output.seek(0)
        said = output.read(limits.output_bytes).decode("utf-8", "replace")
    return Ended("out of time" if run.returncode == OUT_OF_TIME else "ended", run.returncode, said)


@lru_cache
def sandbox_works(path: str = os.defpath) -> bool:
    """Whether this machine lets us build the sandbox: one small program is run in it, once; `path` holds `unshare`."""
    if not sys.platform.startswith("linux") or shutil.which("unshare", path=path) is None:
        return False
    return run_python(HELLO, path=path).output.strip() == "inside"


def _unshare(path: str) -> list[str]:
    """A root needs no user namespace, and its limit of processes counts only once it is somebody else."""
    apart = ["--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child"]
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return [str(shutil.which("unshare", path=path)), *user, *apart]


def _read_only() -> list[str]:
    """The interpreter's own installation and the C libraries; outermost folders only."""
    prefix = str(Path(sys.base_prefix).resolve())
    wanted = sorted({prefix, *(path for path in C_LIBRARIES if os.path.exists(path))})
    return [p for p in wanted if not any(p != other and Path(p).is_relative_to(other) for other in wanted)]
