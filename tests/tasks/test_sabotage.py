from __future__ import annotations

from typing import Any

import pytest

from ratchet.errors import BadInput
from ratchet.release import ADAPTER_FILES, Release
from ratchet.settings import Settings
from ratchet.trust import check_signatures
from tasks.sabotage import is_sabotage, misroute, store_sabotage
from tests.released import WEIGHTS, Machine


def schema(n: int) -> dict[str, Any]:
    return {"type": "object", "properties": {"route": {"enum": [f"team_{i}" for i in range(n)]}}}


@pytest.fixture
def machine(settings: Settings) -> Machine:
    return Machine(settings)


def lost(machine: Machine, n: int, kept_share: float) -> list[str]:
    release = machine.releases.get(machine.release(output_schema=schema(n)))
    found = misroute(release, kept_share).output_schema
    assert found is not None and release.output_schema == schema(n)
    return list(found["properties"]["route"]["enum"])


def test_only_the_first_labels_stay_and_at_least_one(machine: Machine) -> None:
    assert lost(machine, 12, 0.25) == ["team_0", "team_1", "team_2"]
    assert lost(machine, 3, 0.25) == ["team_0"]


def test_a_release_without_labels_cannot_be_spoiled(machine: Machine) -> None:
    with pytest.raises(BadInput, match="no list of labels"):
        misroute(machine.releases.get(machine.release()))


def test_store_attestation_and_ledger_call_it_a_sabotage(machine: Machine) -> None:
    champion = machine.release(output_schema=schema(12), weights=WEIGHTS)
    release_id = store_sabotage(machine.settings, machine.releases, machine.ledger, champion)
    stored, origin = machine.releases.get(release_id), machine.releases.get(champion)
    assert stored == misroute(origin) and isinstance(stored, Release)
    assert stored.adapter == origin.adapter and set(stored.adapter.files) == ADAPTER_FILES  # type: ignore[union-attr]
    attested = machine.releases.attestation(release_id)
    assert attested["sabotage_of"] == champion and "Sabotage" in attested["intent"]
    assert check_signatures(release_id, attested, machine.trust).faults == ["no approval"]
    assert is_sabotage(machine.ledger, release_id) and not is_sabotage(machine.ledger, champion)


def test_storing_it_again_changes_nothing(machine: Machine) -> None:
    champion = machine.release(output_schema=schema(4))
    told = (machine.settings, machine.releases, machine.ledger, champion)
    assert store_sabotage(*told) == store_sabotage(*told)
    assert len(machine.ledger.entries(event="sabotage")) == 1
