"""Action: write a run's report once more with what is known now - commit, data, earlier releases - and its card."""

from __future__ import annotations

from pathlib import Path

import yaml

from ratchet.features import load_feature
from ratchet.ledger import Ledger
from ratchet.release import ReleaseStore
from ratchet.runs import Run
from ratchet.settings import Settings
from ratchet.store import Store
from tasks.confront import keep
from tasks.log_evidence import canary_log, weigh_log
from tasks.report.page import About, write_card, write_report


def report_run(
    settings: Settings, store: Store, ledger: Ledger, releases: ReleaseStore, run: Run, tree: Path, release_id: str
) -> str:
    """Write report.html, report.md and release_card.md into the run's folder of reports. Repeatable.

    Args:
        run: its commit is known.
        tree: the run's worktree.
        release_id: the candidate, which is in the release store.

    Returns:
        The card, which goes into the release's attestation.
    """
    assert run.commit is not None
    data, feature = tree / "data" / run.feature, load_feature(tree, run.feature)
    said = (feedback for _, _, feedback in store.feedback(run.feature))
    about = About(
        run_id=run.run_id,
        commit=run.commit,
        dataset=dataset_version(data / "raw.dvc"),
        history=keep(store, ledger, releases, run.feature),
        safety=settings.home / "safety" / run.feature / "safety.json",
        log=weigh_log(canary_log(release_id, (i for _, i in store.interactions(run.feature)), said)),
    )
    folder = settings.home / "reports" / run.run_id
    write_report(data, feature, about, folder)
    return write_card(data, feature, about, releases.get(release_id), folder)


def dataset_version(pointer: Path) -> str:
    """The digest that DVC knows the raw data by."""
    return str(yaml.safe_load(pointer.read_text(encoding="utf-8"))["outs"][0]["md5"])
