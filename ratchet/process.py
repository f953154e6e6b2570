"""Ties a child process to the life of its parent (Linux only)."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from ratchet.errors import RatchetError

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent thread ends (prctl(2), PR_SET_PDEATHSIG).

    Without it a killed `dvc repro` leaves its trainer behind, which goes on writing into the outputs of the next try.
    """
    if not sys.platform.startswith("linux"):
        raise RatchetError("Ratchet runs on Linux only: stages are tied to their parent by prctl(2), which others lack")
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent died before the call took effect
        os.kill(os.getpid(), signal.SIGKILL)
