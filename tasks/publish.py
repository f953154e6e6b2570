"""Action: put what a run computed where others find it - release store, DVC remote, the run's branch, the ledger."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ratchet import git
from ratchet.features import load_feature
from ratchet.files import read_json, sha256_file
from ratchet.ledger import Ledger
from ratchet.release import ReleaseStore
from ratchet.runs import Run, change_run
from ratchet.settings import Settings
from ratchet.store import Store
from ratchet.trust import pipeline_key, sign_claims
from tasks import version
from tasks.report_run import report_run

# Scrubbed text stays on this machine, outside git; of evaluation/ not the holdout.
KEPT = ("report.html", "data_report.html", "card.md", "review.jsonl", "blind.jsonl", "evaluation/showcase.jsonl")


def publish(settings: Settings, store: Store, ledger: Ledger, run: Run, tree: Path) -> Run:
    """Seal the run: commit and push its outputs, store and attest the candidate, record the verdict. Repeatable."""
    data = tree / "data" / run.feature
    gate = read_json(data / "metrics" / "gate.json")
    evaluated = read_json(data / "metrics" / "evaluate.json")
    commit = version.seal_run(
        settings, tree, run.run_id, run.feature, f"{run.feature}: run {run.run_id}, {gate['verdict']}"
    )
    releases = ReleaseStore.of(settings)
    release_id = releases.put(data / "candidates" / evaluated["chosen_arm"])
    keep_reports(settings, run, data)
    card = report_run(settings, store, ledger, releases, run.model_copy(update={"commit": commit}), tree, release_id)
    before = releases.attestation(run.champion_id).get("commit") if run.champion_id else None
    claims = _claims(tree, run, commit, gate) | {"card": card, "authors": authors_of(tree, run.feature, before)}
    releases.attest(release_id, sign_claims(pipeline_key(settings), release_id, claims))
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


def keep_reports(settings: Settings, run: Run, data: Path) -> Path:
    """Copy what people read of a run out of its worktree; a blocked run has the data's report only. Repeatable.

    Returns the folder.
    """
    reports = settings.home / "reports" / run.run_id
    reports.mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        if (data / name).is_file():
            (reports / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(data / name, reports / name)
    for name in ("metrics", "timings"):
        if (data / name).is_dir():
            shutil.copytree(data / name, reports / name, dirs_exist_ok=True)
    return reports


def rows_of(data: Path) -> dict[str, Any]:
    """The counts of rows that the stages wrote, by stage."""
    found = {}
    for stage in ("snapshot", "validate", "curate"):
        path = data / "metrics" / f"{stage}.json"
        if path.is_file():
            found[stage] = read_json(path)
    return found


def authors_of(tree: Path, feature: str, since: str | None) -> list[str]:
    """Who changed a feature's files between the champion's commit (None: ever) and the run's, sorted, in lower case.

    Each by name, address and the address's first part, as approvers may be enrolled by any of them.
    """
    span = f"{since}..HEAD" if since and git.resolve(tree, since) else "HEAD"
    lines = git.run(tree, "log", "--format=%an%n%ae", span, "--", f"features/{feature}").lower().splitlines()
    return sorted({name for line in lines for name in (line, line.partition("@")[0]) if name})


def _claims(tree: Path, run: Run, commit: str, gate: dict[str, Any]) -> dict[str, Any]:
    """What the pipeline says of a release: what it came from, what it was trained on, what the gate found."""
    data = tree / "data" / run.feature
    feature = load_feature(tree, run.feature)
    return {
        "run": run.run_id,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "intent": feature.intent,
        "owners": list(feature.owners),
        "rows": rows_of(data),
        "feature": run.feature,
        "commit": commit,
        "tree": git.run(tree, "rev-parse", f"{commit}^{{tree}}"),
        "lock_sha256": sha256_file(tree / "dvc.lock"),
        "dataset": (data / "raw.dvc").read_text(encoding="utf-8"),
        "champion": run.champion_id,
        "gate": gate,
    }
