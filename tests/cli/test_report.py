"""`ratchet report`: it finds the right run, prints what is there, and says what is not."""

from __future__ import annotations

import json

import pytest

from ratchet.files import write_json, write_whole
from ratchet.rollouts import KIND
from ratchet.runs import Run, change_run, open_run
from ratchet.settings import Settings
from ratchet.store import Store


def add_run(settings: Settings, store: Store, run_id: str, started_at: str, *names: str) -> None:
    open_run(store, Run(run_id=run_id, feature="routing", started_at=started_at))
    change_run(store, run_id, state="done", outcome="accept")
    for name in names:
        write_whole(settings.home / "reports" / run_id / name, f"{name} of {run_id}\n")


@pytest.fixture
def runs(routing: Settings, store: Store) -> Settings:
    """Two runs with reports, and a later one without."""
    for number in (1, 2):
        add_run(
            routing, store, f"routing-{number}", f"2026-01-0{number}", "report.html", "report.md", "release_card.md"
        )
    add_run(routing, store, "routing-3", "2026-01-03")
    write_json(routing.home / "reports/routing-2/metrics/gate.json", {"verdict": "accept"})
    return routing


def test_a_feature_is_its_latest_run_that_has_a_report(ratchet, runs: Settings) -> None:
    ended = ratchet("report", "routing", "--no-open")
    assert ended.status == 0 and ended.out.strip() == str(runs.home / "reports/routing-2/report.html")


def test_a_run_is_found_by_its_id(ratchet, runs: Settings) -> None:
    assert "routing-1/report.html" in ratchet("report", "routing-1", "--no-open").out


def test_markdown_and_card_are_printed(ratchet, runs: Settings) -> None:
    assert ratchet("report", "routing", "--markdown").out == "report.md of routing-2\n"
    assert ratchet("report", "routing-1", "--card").out == "release_card.md of routing-1\n"


def test_the_facts_as_json(ratchet, runs: Settings) -> None:
    facts = json.loads(ratchet("report", "routing", "--json").out)
    assert facts["run_id"] == "routing-2" and facts["gate"] == {"verdict": "accept"}
    assert facts["card"].endswith("release_card.md")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "no run and no feature is called 'nothing'; features: routing"),
        ("routing-3", "run routing-3 has no report: it is done"),
    ],
)
def test_what_is_not_there_is_said(ratchet, runs: Settings, name: str, message: str) -> None:
    ended = ratchet("report", name, "--no-open")
    assert ended.status == 2 and message in ended.err


def test_a_feature_without_a_report_says_how_to_get_one(ratchet) -> None:
    ended = ratchet("report", "routing")
    assert ended.status == 2 and "`ratchet run routing` makes one" in ended.err


def test_without_a_run_the_page_of_a_local_repro_is_taken(ratchet, routing: Settings) -> None:
    write_whole(routing.repo / "data/routing/report.html", "x")
    assert "data/routing/report.html" in ratchet("report", "routing", "--no-open").out
    ended = ratchet("report", "routing", "--card")
    assert ended.status == 2 and "only a published run has a card" in ended.err


def test_a_run_that_its_data_stopped_has_the_report_on_the_data(ratchet, routing: Settings, store: Store) -> None:
    add_run(routing, store, "routing-9", "2026-01-09", "data_report.html")
    ended = ratchet("report", "routing", "--no-open")
    assert "data_report.html" in ended.out and "stopped by its data" in ended.out
    assert ratchet("report", "routing", "--markdown").status == 2


def test_the_history_tells_promised_beside_realised(ratchet, routing: Settings, store: Store) -> None:
    assert "No rollout has ended yet" in ratchet("report", "routing", "--history").out
    rates = {"signal": "complaint", "segment": None, "stable": 0.2, "canary": 0.1}
    shown = {"signals": [rates], "users": {"stable": 100, "canary": 100}, "effect": {"low": 0.02, "high": None}}
    ids = {"rollout_id": "ro_1", "feature": "routing", "champion_id": "rel_a", "candidate_id": "rel_" + "b" * 8}
    times = {"started_at": "2026-01-02T00:00:00Z", "step_started_at": "2026-01-02T00:00:00Z"}
    body = ids | times | {"salt": "s", "policy": {}, "state": "promoted", "evidence": shown}
    store.create_document(KIND, "ro_1", "routing", body)
    out = ratchet("report", "routing", "--history").out
    assert "+10.0 (" in out and "100/100" in out and "promoted" in out
    (kept,) = json.loads(ratchet("report", "routing", "--history", "--json").out)
    assert kept["promised"] is None and kept["measured"]["estimate"] == pytest.approx(0.1)
