"""Seconds of a whole cycle, the share that Prefect, DVC and git take over the bare stages, and a cycle without news.

python -m benchmarks.bench_loop [--quick] [--json]
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import Result, arguments, say
from benchmarks.scratch import Clone

STAGES = ("snapshot", "validate", "data_gate", "curate", "tune --arm fewshot", "tune --arm sft", "evaluate", "gate")
QUICK = {"tune.sft.epochs": 1, "tune.sft.layers": 4, "tune.fewshot.candidates": 1, "tune.fewshot.validation_items": 10}
FEATURE = "support_routing"


def main() -> int:
    """Measure and print."""
    options = arguments(__doc__)
    result = Result("bench_loop", options.quick)
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), result)
    result.finish(as_json=options.json)
    return 0


def measure(folder: Path, result: Result) -> None:
    """One cycle through the flow, one without news, then the same stages alone, all on one model server."""
    clone = Clone(folder / "clone")
    if result.quick:
        clone.set_params(QUICK)
    with clone.up():
        clone.ratchet("people", "add", "demo-machine", "--machine")
        raw = clone.folder / "data" / "demo" / FEATURE / "raw"
        clone.ratchet("import", *(str(path) for path in sorted(raw.glob("*/*/*.jsonl"))))
        held = f"data/demo/{FEATURE}/holdout"
        clone.ratchet("holdout", "add", FEATURE, f"{held}/holdout.jsonl", "--showcase", f"{held}/showcase.jsonl")
        say("a whole cycle through the flow")
        began = time.monotonic()
        run = clone.ratchet_json("run", FEATURE, "--auto-approve")
        cycle_s = time.monotonic() - began
        say("a cycle without news")
        began = time.monotonic()
        again = clone.ratchet("run", FEATURE, check=False)
        idle_s = time.monotonic() - began
        say("the bare stages")
        bare = bare_stages(clone)
    overhead_s = cycle_s - sum(bare.values())
    result.figures = {
        "cycle_s": round(cycle_s, 1),
        "bare_stages_s": {name: round(seconds, 2) for name, seconds in bare.items()},
        "bare_s": round(sum(bare.values()), 1),
        "overhead_s": round(overhead_s, 1),
        "ratio": round(cycle_s / sum(bare.values()), 3),
        "flow_stages": run["stages"],
        "verdict": run["outcome"],
        "no_change_cycle_s": round(idle_s, 1),
        "no_change_exit": again.returncode,
    }
    allowed = 0.10 * sum(bare.values()) + 15
    result.aim(
        "overhead over the bare stages, s", aim=round(allowed, 1), got=round(overhead_s, 1), met=overhead_s <= allowed
    )
    result.aim("a cycle without news, s", aim=30, got=round(idle_s, 1), met=idle_s <= 30 and again.returncode == 3)


def bare_stages(clone: Clone) -> dict[str, float]:
    """Run each stage's command by itself on the bundled data, in a copy without DVC's outputs."""
    shutil.rmtree(clone.folder / "data" / FEATURE, ignore_errors=True)
    seconds = {}
    for stage in STAGES:
        began = time.monotonic()
        clone.run(sys.executable, "-m", *f"tasks.{stage}".split())
        seconds[stage] = time.monotonic() - began
        say(f"{stage}: {seconds[stage]:.1f} s")
    gate = json.loads((clone.folder / "data" / FEATURE / "metrics" / "gate.json").read_text(encoding="utf-8"))
    say(f"verdict on the bundled data: {gate['verdict']}")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
