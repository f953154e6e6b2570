"""Stage tune: make a candidate by one arm.

Command line: python -m tasks.tune --arm fewshot|sft
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from typing import Any

from ratchet.errors import RatchetError
from ratchet.files import write_json
from ratchet.params import load_params
from ratchet.process import die_with_parent
from ratchet.settings import Settings
from tasks.contenders import write_contender
from tasks.tune import fewshot, sft
from tasks.tune.job import TuneJob, load_job

ARMS = {"fewshot": fewshot.tune_fewshot, "sft": sft.tune_sft}
SKIP_REASONS = {"fewshot": fewshot.skip_reason, "sft": sft.skip_reason}


def tune(job: TuneJob, arm: str) -> dict[str, Any]:
    """Run one arm into an empty folder; where it has nothing to learn from, the candidate is the champion."""
    shutil.rmtree(job.out, ignore_errors=True)
    job.out.mkdir(parents=True)
    reason = SKIP_REASONS[arm](job)
    if reason:
        write_contender(job.out, job.champion)
        report: dict[str, Any] = {"arm": arm, "skipped": reason, "candidate_equals_champion": True}
    else:
        report = ARMS[arm](job)
    write_json(job.out / "report.json", report)
    return report


def main(argv: list[str] | None = None) -> int:
    """Run the stage; a bad input is one line on standard error and its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tasks.tune", description="Make a candidate by one arm.")
    parser.add_argument("--arm", required=True, choices=sorted(ARMS))
    arm = parser.parse_args(argv).arm
    began = time.monotonic()
    try:
        die_with_parent()
        params = load_params()
        report = tune(load_job(params, Settings.from_env(), arm), arm)
        write_json(params.outputs / "timings" / f"tune-{arm}.json", {"seconds": round(time.monotonic() - began, 3)})
    except RatchetError as error:
        print(f"tune {arm}: {error}", file=sys.stderr)
        return error.exit_code
    print(f"tune {arm}: {report.get('skipped') or report['validation']}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
