"""ratchet.scorers.sandbox: what a hostile program tries, and does not get."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from ratchet.scorers import sandbox
from ratchet.scorers.sandbox import Limits, run_python, sandbox_works

pytestmark = pytest.mark.skipif(not sandbox_works(), reason="this machine allows no namespaces")


def said(program: str, **limits: float) -> str:
    return run_python(program, limits=Limits(**limits)).output.strip()  # type: ignore[arg-type]


def test_the_callers_files_are_not_there(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("plant")
    tried = [str(secret), __file__, "/etc/passwd", "/proc/self/environ", "/proc/1/root/etc/passwd"]
    program = f"for p in {tried!r}:\n  try: print(open(p).read())\n  except OSError as e: print(e.errno)"
    assert said(program).split() == ["2"] * len(tried)  # ENOENT
    assert said("import os; print(sorted(os.listdir('/work')))") == "[]"
    shown = {Path(path).parts[1] for path in sandbox._read_only()} | {"dev", "work"}
    assert set(said("import os; print(*os.listdir('/'))").split()) == shown  # and nothing of the old root


def test_the_callers_environment_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "plant")
    assert "plant" not in said("import os; print(os.environ)")


def test_there_is_no_network_not_even_to_this_machine() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        socket.create_connection(("127.0.0.1", port)).close()
        program = f"import socket\ntry: socket.create_connection(('127.0.0.1', {port}), 2); print('in')\n"
        assert said(program + "except OSError as e: print('out')") == "out"
    assert said("import socket; print(socket.if_nameindex())") == "[(1, 'lo')]"


def test_a_fork_bomb_ends_with_the_program_and_leaves_nothing() -> None:
    bomb = "import os, time\nn = 0\ntry:\n  while True:\n    if os.fork() == 0: time.sleep(60)\n    n += 1\n"
    found = run_python(bomb + "except OSError: print(n)", limits=Limits(processes=8))
    assert found.how == "ended" and int(found.output) < 8
    assert not [p for p in Path("/proc").glob("[0-9]*/cmdline") if b"time.sleep(60)" in _read(p)]


def test_out_of_time_ends_every_process() -> None:
    found = run_python("import os, time\nos.fork()\ntime.sleep(59)", limits=Limits(time_s=1))
    assert found.how == "out of time"
    assert not [p for p in Path("/proc").glob("[0-9]*/cmdline") if b"time.sleep(59)" in _read(p)]


def test_a_memory_bomb_is_refused() -> None:
    assert said("try: bytearray(10**9)\nexcept MemoryError: print('refused')") == "refused"


@pytest.mark.parametrize(
    "call",
    [
        "l.unshare(0x10000000)",
        "l.mount(b'none', b'/work', b'tmpfs', 0, None)",
        "l.ptrace(0, 0, 0, 0)",
        "l.chroot(b'/work')",
        "l.setuid(0) or -(os.getuid() != 0)",
        "l.syscall(56 if os.uname().machine == 'x86_64' else 220, 0x10000000 | 17, 0, 0, 0, 0)",
    ],
)
def test_there_is_no_way_to_more_rights(call: str) -> None:
    program = f"import ctypes, os\nl = ctypes.CDLL(None)\nprint({call})"
    expected = "0" if "setuid" in call and sandbox_runs_as_mapped_root() else "-1"
    assert said(program) == expected


def test_the_machine_is_read_only_and_files_are_small() -> None:
    program = "import os, sys\nfor p in ('/x', '/lib/x', sys.prefix + '/x', '/dev/x'):\n"
    assert said(program + "  try: open(p, 'w')\n  except OSError as e: print(e.errno)").split() == ["30"] * 4  # EROFS
    full = "import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    full += "try: open('a', 'wb').write(bytes(10**6))\nexcept OSError as e: print(e.errno)"
    assert said(full) == "27"  # EFBIG


def test_endless_output_is_cut() -> None:
    found = run_python("while True: print('x' * 1000)", limits=Limits(output_bytes=5000))
    assert found.status != 0 and len(found.output) == 5000


def test_where_namespaces_are_not_allowed_nothing_is_run(tmp_path: Path) -> None:
    refusing = tmp_path / "unshare"
    refusing.write_text("#!/bin/sh\nexit 1\n")
    refusing.chmod(0o755)
    assert not sandbox_works(str(tmp_path))
    assert not sandbox_works(str(tmp_path / "nothing"))


def sandbox_runs_as_mapped_root() -> bool:
    """A caller who is no root is shown to the program as uid 0 of its own namespace, without any capability."""
    return "--user" in sandbox._unshare(os.defpath)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
