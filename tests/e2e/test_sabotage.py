"""The second act of the demo on real parts: a worse release goes live, and is back with Prefect killed half-way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.scratch import Clone
from tests.e2e.conftest import require_model

pytestmark = pytest.mark.slow
Facts = dict[str, Any]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    require_model()
    return Clone(tmp_path_factory.mktemp("sabotage") / "clone")


@pytest.fixture(scope="module")
def facts(clone: Clone) -> Facts:
    clone.ratchet("demo", "--sabotage")
    told: Facts = json.loads((clone.settings.home / "demo" / "front_desk-sabotage.json").read_text(encoding="utf-8"))
    return told


def test_users_bring_the_sabotaged_release_back(facts: Facts) -> None:
    assert (facts["state"], facts["signal"]) == ("rolled_back", "complaint")
    assert 0 < facts["users_met_it"] < facts["users_all"]


def test_the_gateway_serves_the_former_release_to_everybody(facts: Facts) -> None:
    assert facts["serves_now"] == [facts["champion_id"]]


def test_it_came_back_without_prefect(facts: Facts) -> None:
    assert facts["prefect_killed_at"] is not None and facts["prefect_killed_at"] <= facts["back_at"]
    assert facts["ticks_without_prefect"] >= 1


def test_the_ledger_names_the_sabotage_its_approver_and_its_end(clone: Clone, facts: Facts) -> None:
    events = {e["event"]: e["facts"] for e in clone.ratchet_json("audit", "log") if e["subject"] == facts["release_id"]}
    assert {"sabotage", "approve", "rollout started by hand", "canary", "rollback"} <= set(events)
    assert (events["approve"]["approver"], events["approve"]["kind"]) == ("demo-machine", "machine")
    assert "worse" in events["rollback"]["reason"]
    assert clone.ratchet_json("audit", "verify")["whole"]


def test_nothing_of_it_is_left_running(clone: Clone, facts: Facts) -> None:
    channel = json.loads(next(Path(clone.settings.channels_dir).glob("front_desk*.json")).read_text(encoding="utf-8"))
    assert channel["stable"] == facts["champion_id"] and channel["canary"] is None
