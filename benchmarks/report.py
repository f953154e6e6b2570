"""What every benchmark prints and keeps: one JSON object, and a dated page in docs/results/."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results"


@dataclass
class Result:
    """Figures and aims of one benchmark."""

    name: str
    quick: bool
    began: float = field(default_factory=time.monotonic)
    figures: dict[str, Any] = field(default_factory=dict)
    aims: list[dict[str, Any]] = field(default_factory=list)

    def aim(self, what: str, *, aim: float | str, got: float | None, met: bool | None) -> None:
        """Note an aim; None where it was not measured."""
        self.aims.append({"what": what, "aim": aim, "got": got, "met": met})

    def as_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "name": self.name,
            "machine": machine(),
            "seconds": round(time.monotonic() - self.began, 1),
            "quick": self.quick,
            "figures": self.figures,
            "aims": self.aims,
        }

    def finish(self, *, as_json: bool) -> None:
        """Print the object; a full run is kept in docs/results/ as well."""
        found = self.as_dict()
        text = json.dumps(found, indent=2, sort_keys=False)
        if not self.quick:
            RESULTS.mkdir(parents=True, exist_ok=True)
            day = datetime.now(UTC).date().isoformat()
            command = f"python -m benchmarks.{self.name}"
            page = f"# {self.name}, {day}\n\nCommand: `{command}`\n\n```json\n{text}\n```\n"
            (RESULTS / f"{self.name}.md").write_text(page, encoding="utf-8")
        if not as_json:
            for aim in self.aims:
                met = {True: "met", False: "MISSED", None: "not measured"}[aim["met"]]
                sys.stderr.write(f"{met:<13} {aim['what']}: aim {aim['aim']}, got {aim['got']}\n")
        sys.stdout.write(text + "\n")


def machine() -> str:
    """The machine in a few words."""
    memory = psutil.virtual_memory().total / 2**30
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}"


def arguments(doc: str | None) -> argparse.Namespace:
    """--quick and --json, as every benchmark has them."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="end within two minutes; the same keys, null if not measured"
    )
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON object to standard output")
    return parser.parse_args()


def say(text: str) -> None:
    """Progress, on standard error."""
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {text}\n")
    sys.stderr.flush()
