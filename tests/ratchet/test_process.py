import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

CHILD = """
import time
from ratchet.process import die_with_parent
die_with_parent()
print("ready", flush=True)
time.sleep(60)
"""
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}], stdout=subprocess.PIPE, text=True)
child.stdout.readline()
print(child.pid, flush=True)
child.wait()
"""


def is_gone(pid: int, limit_s: float = 5) -> bool:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def test_child_dies_with_its_killed_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert is_gone(child)


def test_child_of_a_living_parent_lives_on(tmp_path: Path) -> None:
    code = "from ratchet.process import die_with_parent; die_with_parent(); print('done')"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"done\n"
