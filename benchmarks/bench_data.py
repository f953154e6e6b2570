"""The data part at 10,000, 100,000 and 1,000,000 interactions: seconds, rows/s and peak memory of each stage.

Each stage runs as the command that a run uses, in a scratch clone, interleaved with the bare library that it stands on
(benchmarks/bare_data.py). Memory is the resident memory of the whole process tree, so pages that two processes share
count twice. Command line: python -m benchmarks.bench_data [--quick] [--json]
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from benchmarks.made_traffic import write_raw
from benchmarks.report import Result, arguments, say
from benchmarks.scratch import Clone

SIZES = (10_000, 100_000, 1_000_000)
NER_ROWS = 50_000
MOST_S, MOST_BYTES = 900, 6 << 30  # a step that takes more is ended: null
FEATURE = "support_routing"


class Step(NamedTuple):
    """A command, and what it is compared with; `rows` where it is not all of them."""

    name: str
    command: tuple[str, ...]
    bare: tuple[str, ...] = ()
    rows: int | None = None


def main() -> None:
    """Measure, print, keep."""
    given = arguments(__doc__)
    result = Result("bench_data", given.quick)
    measured: dict[str, dict[str, Any]] = {str(size): {} for size in SIZES}
    for size in SIZES[:1] if given.quick else SIZES:
        with tempfile.TemporaryDirectory(prefix="bench-data-") as folder:
            measured[str(size)] = measure(Path(folder), size, ner_rows=200 if given.quick else min(NER_ROWS, size))
    result.figures = {"feedback_share": 0.2, "rows": measured}
    _aims(result, measured)
    result.finish(as_json=given.json)


def measure(folder: Path, size: int, *, ner_rows: int) -> dict[str, Any]:
    """All steps at one size."""
    clone = Clone(folder / "clone")
    raw = clone.folder / "data" / "demo" / FEATURE / "raw"
    shutil.rmtree(raw)
    work = folder / "work"
    work.mkdir()
    say(f"{size:,} rows: making them")
    lines = write_raw(raw, size, flat=work / "flat.jsonl")
    _write_texts(work, ner_rows)
    found: dict[str, Any] = {"lines": lines}
    for step in steps(work, ner_rows):
        rows = step.rows or size
        found[step.name] = {"ours": _timed(clone, step.command, rows, step.name)}
        if step.name == "snapshot" and (clone.folder / "data" / FEATURE / "snapshot.parquet").is_file():
            shutil.copy2(clone.folder / "data" / FEATURE / "snapshot.parquet", work)
        for bare in step.bare:
            command = (sys.executable, "-m", "benchmarks.bare_data", bare, str(work))
            found[step.name][bare] = bared = _timed(clone, command, rows, f"  bare {bare}")
            ours = found[step.name]["ours"]
            found[step.name][f"ratio_to_{bare}"] = round(ours["s"] / bared["s"], 2) if ours and bared else None
    return found


def steps(work: Path, ner_rows: int) -> list[Step]:
    """What is measured, in the order in which it can be run."""
    ratchet, python = str(Path(sys.executable).with_name("ratchet")), sys.executable
    scrub = (ratchet, "scrub", "--field", "text", "--json")
    return [
        Step("import", (ratchet, "import", str(work / "flat.jsonl"), "--feature", FEATURE), ("sqlite",)),
        Step("scrub_patterns", (*scrub, "--no-ner", str(work / "texts.jsonl")), ("json",)),
        Step("scrub_names", (*scrub, str(work / "few.jsonl")), (), ner_rows),
        Step("snapshot", (python, "-m", "tasks.snapshot"), ("duckdb", "pydantic")),
        Step("validate", (python, "-m", "tasks.validate"), ("gx",)),
        Step("curate", (python, "-m", "tasks.curate"), ("datasketch",)),
    ]


def _write_texts(work: Path, ner_rows: int) -> None:
    """The questions alone, a row each, as `ratchet scrub` reads them."""
    with (work / "flat.jsonl").open(encoding="utf-8") as lines, (work / "texts.jsonl").open("w") as texts:
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if "input" in row:
                texts.write(json.dumps({"text": row["input"]["messages"][-1]["content"]}) + "\n")
    with (work / "texts.jsonl").open(encoding="utf-8") as texts, (work / "few.jsonl").open("w") as few:
        few.writelines(line for _, line in zip(range(ner_rows), texts, strict=False))


def _timed(clone: Clone, command: Sequence[str], rows: int, name: str) -> dict[str, Any] | None:
    """Seconds, rows/s and peak memory of a command and all its children; None where it failed or took too much."""
    say(f"  {name}")
    began = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=clone.folder,
        env={**clone.environ, "PYTHONPATH": str(clone.folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    peak = 0
    while process.poll() is None:
        peak = max(peak, _resident(process.pid))
        if time.monotonic() - began > MOST_S or peak > MOST_BYTES:
            os.killpg(process.pid, signal.SIGKILL)
        time.sleep(0.05)
    seconds = time.monotonic() - began
    if process.returncode != 0:
        told = (process.stderr.read() if process.stderr else "").strip().splitlines()
        say(f"  {name} ended with {process.returncode} after {seconds:.0f} s: {told[-1][:200] if told else ''}")
        return None
    return {"s": round(seconds, 2), "rows_per_s": round(rows / seconds), "peak_mib": peak >> 20}


def _resident(pid: int) -> int:
    try:
        tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return 0
    total = 0
    for process in tree:
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total


def _aims(result: Result, measured: dict[str, dict[str, Any]]) -> None:
    largest, smaller = measured[str(SIZES[-1])], measured[str(SIZES[-2])]
    stages = ("import", "scrub_patterns", "snapshot", "validate", "curate")
    ours = {name: _figures(largest, name) for name in stages}
    known = {name: found for name, found in ours.items() if found}
    peak = max((found["peak_mib"] for found in known.values()), default=None)
    _at_most(result, "peak memory of any stage at 1,000,000 interactions, MiB", 3072, peak)
    both = ours["validate"], ours["curate"]
    seconds = round(both[0]["s"] + both[1]["s"], 1) if both[0] and both[1] else None
    _at_most(result, "validate and curate of 1,000,000 interactions, s", 180, seconds)
    grown = {n: _ratio(found, _figures(smaller, n), "s") for n, found in known.items()}
    slopes = [ratio / 10 for ratio in grown.values() if ratio is not None]
    _at_most(result, "time per row at 1,000,000 over that at 100,000, worst stage", 1.2, _worst(slopes))
    memory = [_ratio(found, _figures(smaller, n), "peak_mib") for n, found in known.items()]
    _at_most(
        result, "peak memory at 1,000,000 over that at 100,000, worst stage", 1.5, _worst([m for m in memory if m])
    )


def _figures(measured: dict[str, Any], name: str) -> dict[str, Any] | None:
    found = measured.get(name, {}).get("ours")
    return dict(found) if found else None


def _ratio(large: dict[str, Any], small: dict[str, Any] | None, key: str) -> float | None:
    return large[key] / small[key] if small and small[key] else None


def _worst(ratios: Sequence[float]) -> float | None:
    return round(max(ratios), 2) if ratios else None


def _at_most(result: Result, what: str, aim: float, got: float | None) -> None:
    result.aim(what, aim=aim, got=got, met=None if got is None else got <= aim)


if __name__ == "__main__":
    main()
