"""tasks.report_run: a published run's report names commit and data, and its card is attested."""

from __future__ import annotations

import json
from pathlib import Path

from ratchet.ledger import Ledger
from ratchet.release import ReleaseStore, write_candidate
from ratchet.runs import Run
from ratchet.store import Store
from tasks.report_run import report_run
from tests.routing_clone import RoutingClone
from tests.tasks.report_facts import evaluated, gate_facts, score_row, write_lines, write_metrics


def test_the_run_keeps_page_markdown_and_card_with_commit_data_and_safety(tmp_path: Path, store: Store) -> None:
    clone = RoutingClone(tmp_path)
    data, settings = tmp_path / "data/routing", clone.settings()
    write_lines(data / "evaluation/scores.jsonl", [score_row(i, 0.0, 1.0, "cards") for i in range(9)])
    write_metrics(data, "gate", gate_facts())
    write_metrics(data, "evaluate", evaluated())
    clone.write("data/routing/raw.dvc", "outs:\n- md5: 0a1b2c.dir\n  path: raw\n")
    write_candidate(tmp_path / "candidate", clone.champion)
    releases = ReleaseStore(settings.releases_dir)
    release_id = releases.put(tmp_path / "candidate")
    rates = {role: {"estimate": 0.25, "low": 0.2, "high": 0.3} for role in ("champion", "candidate")}
    suites = {"suites": [{"suite": "our own attacks", "items": 8, "attack_success": rates}]}
    clone.write(str(settings.home / "safety/routing/safety.json"), json.dumps(suites))
    run = Run(run_id="routing-1", feature="routing", started_at="2026-01-01", commit="c0ffee")

    card = report_run(settings, store, Ledger(store.engine), releases, run, tmp_path, release_id)

    folder = settings.home / "reports/routing-1"
    for name in ("report.html", "report.md", "release_card.md"):
        text = (folder / name).read_text().replace("\\", "")
        missing = [told for told in ("c0ffee", "0a1b2c.dir", "our own attacks", "routing-1") if told not in text]
        assert (name, missing) == (name, [])
    assert card == (folder / "release_card.md").read_text() and release_id in card
