"""Action: put what a run computed where others find it - release store, DVC remote, the run's branch, the ledger."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ratchet import git
from ratchet.files import read_json, sha256_file
from ratchet.ledger import Ledger
from ratchet.release import ReleaseStore
from ratchet.runs import Run, change_run
from ratchet.settings import Settings
from ratchet.store import Store
from tasks import version


def publish(settings: Settings, store: Store, ledger: Ledger, run: Run, tree: Path) -> Run:
    """Seal the run: commit and push its outputs, store and attest the candidate, record the verdict. Repeatable."""
    data = tree / "data" / run.feature
    gate = read_json(data / "metrics" / "gate.json")
    evaluated = read_json(data / "metrics" / "evaluate.json")
    commit = version.seal_run(
        settings, tree, run.run_id, run.feature, f"{run.feature}: run {run.run_id}, {gate['verdict']}"
    )
    releases = ReleaseStore(settings.releases_dir)
    release_id = releases.put(data / "candidates" / evaluated["chosen_arm"])
    reports = settings.home / "reports" / run.run_id
    reports.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(data / "report.html", reports / "report.html")
    (reports / "evaluation").mkdir(exist_ok=True)
    shutil.copyfile(
        data / "evaluation" / "showcase.jsonl", reports / "evaluation" / "showcase.jsonl"
    )  # not the holdout
    shutil.copytree(data / "metrics", reports / "metrics", dirs_exist_ok=True)
    if (data / "timings").is_dir():
        shutil.copytree(data / "timings", reports / "timings", dirs_exist_ok=True)
    releases.attest(release_id, _attestation(tree, run, commit, gate))
    ledger.append_once(
        "publish", release_id, run=run.run_id, commit=commit, verdict=gate["verdict"], champion=run.champion_id
    )
    return change_run(
        store,
        run.run_id,
        commit=commit,
        outcome=gate["verdict"],
        reasons=gate["reasons"],
        release_id=release_id,
        rows=rows_of(data),
        state="awaiting" if gate["verdict"] == "accept" else "done",
    )


def rows_of(data: Path) -> dict[str, Any]:
    """The counts of rows that the stages wrote, by stage."""
    found = {}
    for stage in ("snapshot", "validate", "curate"):
        path = data / "metrics" / f"{stage}.json"
        if path.is_file():
            found[stage] = read_json(path)
    return found


def _attestation(tree: Path, run: Run, commit: str, gate: dict[str, Any]) -> dict[str, Any]:
    data = tree / "data" / run.feature
    return {
        "run": run.run_id,
        "feature": run.feature,
        "commit": commit,
        "tree": git.run(tree, "rev-parse", f"{commit}^{{tree}}"),
        "lock_sha256": sha256_file(tree / "dvc.lock"),
        "dataset": (data / "raw.dvc").read_text(encoding="utf-8"),
        "champion": run.champion_id,
        "gate": gate,
    }
