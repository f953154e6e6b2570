"""tasks.confront: what was promised and what users showed stay together, once per ended rollout."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ratchet.ledger import Ledger
from ratchet.release import ReleaseStore
from ratchet.rollouts import KIND
from ratchet.stats import Difference
from ratchet.store import Store
from tasks.confront import EVENT, history_of, keep, realised_gain

PROMISED = {"estimate": 0.1, "low": 0.02, "high": 0.18}
AT = datetime(2026, 1, 2, tzinfo=UTC)


def evidence(canary: float, stable: float) -> dict[str, Any]:
    """What a rollout kept: shares of users who complained, of a hundred each."""
    rates = {"signal": "complaint", "segment": None, "stable": stable, "canary": canary}
    sequence = {"low": 0.02, "high": None}
    return {"signals": [rates], "users": {"stable": 100, "canary": 100}, "effect": sequence}


def put(store: Store, number: int, state: str, kept: dict[str, Any]) -> None:
    body = {"rollout_id": f"ro_{number}", "feature": "f", "champion_id": "rel_old", "candidate_id": f"rel_{number}"}
    times = {"started_at": AT.replace(day=2 + number).isoformat(), "step_started_at": AT.isoformat()}
    rest = {"salt": "s", "policy": {}, "state": state, "evidence": kept}
    store.create_document(KIND, f"ro_{number}", "f", body | times | rest)


@pytest.fixture
def releases(tmp_path: Path) -> ReleaseStore:
    """One release whose gain was promised."""
    found = ReleaseStore(tmp_path / "releases")
    found.attest("rel_1", {"version": "f@v2.0.0", "gate": {"corrected_difference": PROMISED}})
    return found


def test_promised_and_realised_of_each_ended_rollout_in_the_order_of_time(store: Store, releases: ReleaseStore) -> None:
    put(store, 2, "rolled_back", {})
    put(store, 1, "promoted", evidence(0.1, 0.2))
    put(store, 3, "running", evidence(0.1, 0.1))
    first, second = history_of(store, releases, "f")
    assert (first.version, first.ended, first.users) == ("f@v2.0.0", "promoted", (100, 100))
    assert first.promised == Difference(**PROMISED) and first.realised is not None
    assert first.realised.estimate == pytest.approx(0.1)
    assert (second.ended, second.promised, second.realised, second.users) == ("rolled_back", None, None, (0, 0))


def test_a_confidence_sequence_of_the_rollout_is_taken_as_it_is() -> None:
    rates = {"signal": "complaint", "segment": None, "stable": 0.3, "canary": 0.2}
    other = {"signal": "complaint", "segment": "de", "stable": 0.9, "canary": 0.1}
    kept = {"signals": [other, rates], "users": {"stable": 7, "canary": 5}}
    assert realised_gain(kept | {"effect": {"low": 0.02, "high": None}}) == (0.1, 0.02, 1.0)
    unseen = [{**rates, "canary": None}]
    assert realised_gain({"signals": unseen, "effect": {"low": None, "high": None}}) is None


def test_keeping_twice_keeps_once_in_ledger_and_attestation(store: Store, releases: ReleaseStore) -> None:
    put(store, 1, "promoted", evidence(0.1, 0.2))
    ledger = Ledger(store.engine)
    for _ in range(2):
        keep(store, ledger, releases, "f")
    (entry,) = ledger.entries(event=EVENT)
    assert entry.subject == "rel_1" and entry.facts["promised"] == PROMISED
    assert entry.facts["measured"]["estimate"] == pytest.approx(0.1)
    attested = releases.attestation("rel_1")
    assert attested[EVENT]["ended"] == "promoted" and attested["version"] == "f@v2.0.0"
