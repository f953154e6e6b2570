"""`make setup` and `make demo YES=1` on a bare clone: seconds of each, and the peak memory of all processes together.

python -m benchmarks.bench_demo [--quick] [--json]     (--quick measures neither: both take minutes)
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from benchmarks.report import RESULTS, Result, arguments, say
from benchmarks.scratch import Clone


def main() -> int:
    """Measure and print."""
    options = arguments(__doc__)
    result = Result("bench_demo", options.quick)
    figures: dict[str, float | int | None] = dict.fromkeys(("setup_s", "cycle_s", "peak_gib", "exit_code"))
    if not options.quick:
        with tempfile.TemporaryDirectory() as folder:
            figures = measure(Path(folder))
    result.figures = dict(figures)
    setup, cycle, peak = figures["setup_s"], figures["cycle_s"], figures["peak_gib"]
    result.aim("setup, s", aim=240, got=setup, met=None if setup is None else setup <= 240)
    result.aim("cycle, s", aim=600, got=cycle, met=None if cycle is None else cycle <= 600)
    result.aim("peak memory, GiB", aim=6, got=peak, met=None if peak is None else peak <= 6)
    result.finish(as_json=options.json)
    return 0


def measure(folder: Path) -> dict[str, float | int | None]:
    """Set a clone up with a cache of its own, then run its demo."""
    clone = Clone(folder / "clone")
    environ = {**clone.environ, "RATCHET_CACHE": str(folder / "cache"), "COLUMNS": "150"}
    environ.pop("RATCHET_REPO")
    environ["PATH"] = os.pathsep.join(
        p for p in environ["PATH"].split(os.pathsep) if p != os.path.dirname(sys.executable)
    )
    say("make setup")
    began = time.monotonic()
    subprocess.run(["make", "setup"], cwd=clone.folder, env=environ, check=True, stdout=sys.stderr)
    setup_s = time.monotonic() - began
    say("make demo YES=1")
    peak = Peak(os.getpid())
    began = time.monotonic()
    done = subprocess.run(
        ["make", "demo", "YES=1"], cwd=clone.folder, env=environ, check=False, capture_output=True, text=True
    )
    cycle_s = time.monotonic() - began
    RESULTS.mkdir(parents=True, exist_ok=True)
    told = done.stdout.replace(str(clone.folder), "…")
    (RESULTS / "demo_output.txt").write_text(told, encoding="utf-8")
    sys.stderr.write(done.stdout[-4000:] + done.stderr[-2000:])
    return {
        "setup_s": round(setup_s, 1),
        "cycle_s": round(cycle_s, 1),
        "peak_gib": round(peak.stop() / 2**30, 2),
        "exit_code": done.returncode,
    }


class Peak:
    """Samples the memory of a process's descendants, shared pages counted once where the kernel tells (PSS)."""

    def __init__(self, pid: int) -> None:
        """Begin to sample, twice a second."""
        self.pid = pid
        self.highest = 0
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self._sample, daemon=True)
        self.thread.start()

    def stop(self) -> int:
        """Stop; the highest sum in bytes."""
        self.is_over.set()
        self.thread.join()
        return self.highest

    def _sample(self) -> None:
        while not self.is_over.wait(0.5):
            total = 0
            for child in psutil.Process(self.pid).children(recursive=True):
                try:
                    total += child.memory_full_info().pss
                except (psutil.Error, AttributeError):
                    continue
            self.highest = max(self.highest, total)


if __name__ == "__main__":
    sys.exit(main())
