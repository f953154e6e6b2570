"""tasks.publish: what people read of a run outlives its worktree."""

from __future__ import annotations

from pathlib import Path

from ratchet import git
from ratchet.features import load_feature
from ratchet.files import write_json
from ratchet.ledger import Ledger
from ratchet.release import ReleaseStore, write_candidate
from ratchet.runs import Run, open_run
from ratchet.settings import Settings
from ratchet.store import Store
from ratchet.trust import check_signatures, local_trust
from tasks import version
from tasks.first_release import build_first
from tasks.publish import keep_reports, publish
from tests.tasks.report_facts import evaluated, gate_facts, score_row, write_lines


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def test_a_blocked_run_keeps_the_data_report_and_its_counts(tmp_path: Path) -> None:
    settings = Settings.from_env({"RATCHET_HOME": str(tmp_path / "home")})
    run, data = Run(run_id="r1", feature="routing", started_at="2026-01-01"), tmp_path / "data"
    write(data / "data_report.html", "<p>first")
    write(data / "metrics" / "validate.json", "{}")
    keep_reports(settings, run, data)
    write(data / "data_report.html", "<p>second")
    folder = keep_reports(settings, run, data)
    kept = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert kept == {"data_report.html": "<p>second", "metrics/validate.json": "{}"}


def test_what_a_run_published_is_signed_with_all_that_it_came_from(routing: Settings, store: Store) -> None:
    """A run whose stages are done by hand here: its outputs lie in a worktree, and publish seals and signs them."""
    with version.harvest_worktree(routing, "routing") as harvested:
        write(harvested / "data/routing/raw/log.jsonl", "1\n")
        write(harvested / "data/routing/harvest.json", "{}")
        version.seal_harvest(routing, harvested, "routing", "harvest")
    git.run(routing.repo, "rm", "-q", "dvc.yaml")  # no stage: nothing of it could be missing in the remote
    git.run(routing.repo, "commit", "-q", "-m", "no stages")
    tree = version.open_worktree(routing, "r1", "routing", None)
    write(tree / "dvc.lock", "schema: '2.0'\n")
    data, gate = tree / "data/routing", gate_facts(p_value=1.4e-04, reasons=["+5 points"])
    rows = {"rows": 9, "used": 8, "train": 7, "validation": 1, "set_aside": 1, "reasons": {"no feedback": 1}}
    rows |= {"origins": {"correction": 8}, "languages": {"en": 8}, "tenants": {"default": 8}}
    for name, facts in (("gate", gate), ("evaluate", evaluated(chosen_arm="fewshot")), ("curate", rows)):
        write_json(data / "metrics" / f"{name}.json", facts)
    write_lines(data / "evaluation/scores.jsonl", [score_row(1, 0.0, 1.0, "cards")])
    write_candidate(data / "candidates/fewshot", build_first(routing, load_feature(tree, "routing")))
    run = open_run(store, Run(run_id="r1", feature="routing", started_at="2026", champion_id="rel_0"))
    for _ in range(2):  # repeatable: a crash between two of its lines must not hurt
        done = publish(routing, store, Ledger(store.engine), run, tree)
    assert done.release_id is not None and done.state == "awaiting"
    attestation = ReleaseStore(routing.releases_dir).attestation(done.release_id)
    found = check_signatures(done.release_id, attestation, local_trust(routing))
    assert (found.pipeline, found.approval) == (None, "no approval")
    assert (attestation["commit"], attestation["rows"]) == (done.commit, {"curate": rows})
    assert (attestation["intent"], attestation["gate"]) == ("choose a team", gate)
    assert len(Ledger(store.engine).entries(event="publish")) == 1
