"""Processes: one that dies with its parent (Linux only), and work that is shared among some."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

from ratchet.errors import RatchetError

PR_SET_PDEATHSIG = 1
Item = TypeVar("Item")
Done = TypeVar("Done")


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


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def run_each(work: Callable[[Item], Done], items: Sequence[Item], *, workers: int) -> list[Done]:
    """The results of `work` on each item, in order; by `workers` processes that die with this one, or here by 1."""
    if workers < 2 or len(items) < 2:
        return [work(item) for item in items]
    with ProcessPoolExecutor(min(workers, len(items)), get_context("spawn"), initializer=die_with_parent) as pool:
        return list(pool.map(work, items))
