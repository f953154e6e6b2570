from __future__ import annotations

from pathlib import Path

import pytest

from ratchet.errors import ReleaseUntrusted, SettingsInvalid
from ratchet.signing import public_pem, signing_key
from ratchet.trust import Trust, check_signatures, load_trust, require_trusted, sign_claims, trust_document
from tests.released import Machine

GATE = {"verdict": "accept", "p_value": 1.4e-04, "reasons": ["better"]}


def faults(machine: Machine, release_id: str, trust: Trust | None = None) -> list[str]:
    return check_signatures(release_id, machine.releases.attestation(release_id), trust or machine.trust).faults


def test_signed_and_approved_is_trusted_and_names_the_approver(machine: Machine) -> None:
    found = machine.release(run="r1", claims={"gate": GATE})
    attestation = machine.releases.attestation(found)
    assert check_signatures(found, attestation, machine.trust).approver == "ana"
    require_trusted(found, attestation, machine.trust)


def test_later_facts_do_not_break_the_pipelines_signature(machine: Machine) -> None:
    found = machine.release(run="r1")
    machine.releases.attest(found, {"version": "v9.0.0"})
    assert faults(machine, found) == []


@pytest.mark.parametrize(
    "change", [{"gate": GATE | {"p_value": 1e-9}}, {"commit": "d" * 40}, {"run": "r2"}, {"feature": "other"}]
)
def test_a_changed_claim_is_found(machine: Machine, change: dict[str, object]) -> None:
    found = machine.release(run="r1", claims={"gate": GATE})
    machine.change_attestation(found, **change)
    assert "its claims are not signed by a trusted pipeline" in faults(machine, found)


def test_a_claim_taken_out_of_the_signed_ones_is_found(machine: Machine) -> None:
    found = machine.release(run="r1", claims={"gate": GATE})
    given = machine.releases.attestation(found)["pipeline"]
    machine.change_attestation(found, pipeline=given | {"signed": ["commit", "feature", "run"]})
    assert faults(machine, found) == ["its claims are not signed by a trusted pipeline"]


def test_signatures_swapped_between_two_releases_are_found(machine: Machine) -> None:
    one, other = machine.release("One."), machine.release("Other.", version="v2.0.0")
    first, second = machine.releases.attestation(one), machine.releases.attestation(other)
    machine.change_attestation(one, pipeline=second["pipeline"], approvals=first["approvals"])
    machine.change_attestation(other, approvals=first["approvals"])
    assert faults(machine, one) == ["its claims are not signed by a trusted pipeline"]
    assert faults(machine, other) == ["its approval is for another release or run"]


def test_an_approval_of_another_run_does_not_count(machine: Machine) -> None:
    found = machine.release(run="r1", approve=False)
    machine.approve(found, "r2")
    assert faults(machine, found) == ["its approval is for another release or run"]


def test_a_rejection_is_no_approval(machine: Machine) -> None:
    found = machine.release(run="r1", approve=False)
    machine.approve(found, "r1", decision="reject")
    assert faults(machine, found) == ["ana rejected it"]


def test_an_altered_approval_is_found(machine: Machine) -> None:
    found = machine.release(run="r1", approve=False)
    machine.approve(found, "r1", decision="reject")
    [envelope] = machine.releases.attestation(found)["approvals"]
    envelope["statement"]["decision"] = "approve"
    machine.change_attestation(found, approvals=[envelope])
    assert faults(machine, found) == ["its approval is not signed by a trusted verifier"]


@pytest.mark.parametrize("given", [[], [{"statement": {}}], [{"statement": [], "signature": 1}], ["x"], "x", 1, None])
def test_a_malformed_approval_is_none(machine: Machine, given: object) -> None:
    found = machine.release(run="r1")
    machine.change_attestation(found, approvals=given)
    assert len(faults(machine, found)) == 1


@pytest.mark.parametrize("pipeline", [None, "x", {}, {"signed": None}, {"signed": [{}], "signature": None}])
def test_a_malformed_signature_of_the_pipeline_is_none(machine: Machine, pipeline: object) -> None:
    found = machine.release(run="r1")
    machine.change_attestation(found, pipeline=pipeline)
    assert len(faults(machine, found)) == 1


def test_each_key_counts_for_its_own_kind_only(machine: Machine, tmp_path: Path) -> None:
    found, trust = machine.release(run="r1"), machine.trust
    swapped = Trust(trust.approval, trust.pipeline)
    assert len(faults(machine, found, swapped)) == 2
    other = signing_key(tmp_path / "other.key").public_key()
    assert faults(machine, found, Trust((other, *trust.pipeline), (other, *trust.approval))) == []


def test_a_stranger_who_signs_both_is_refused_with_both_reasons(machine: Machine, tmp_path: Path) -> None:
    found, stranger = machine.release(run="r1", approve=False), signing_key(tmp_path / "s.key")
    claims = {"feature": "routing", "commit": "c", "run": "r1"}
    machine.releases.attest(found, sign_claims(stranger, found, claims))
    with pytest.raises(ReleaseUntrusted, match="not signed by a trusted pipeline; no approval"):
        require_trusted(found, machine.releases.attestation(found), machine.trust)


def test_the_trust_file_of_a_machine_is_read_back(machine: Machine, tmp_path: Path) -> None:
    found = machine.release(run="r1")
    (tmp_path / "trust.yaml").write_text(trust_document(machine.settings))
    trust = load_trust(tmp_path / "trust.yaml")
    assert public_pem(trust.approval[0]) == public_pem(machine.verifier.public_key())
    assert faults(machine, found, trust) == []


@pytest.mark.parametrize("content", ["", "pipeline: []\napproval: []", "a: [", "pipeline: [x]\napproval: [y]", "[]"])
def test_a_trust_file_that_is_none_stops_the_start(tmp_path: Path, content: str) -> None:
    (tmp_path / "trust.yaml").write_text(content)
    with pytest.raises(SettingsInvalid, match=r"trust\.yaml"):
        load_trust(tmp_path / "trust.yaml")
    with pytest.raises(SettingsInvalid, match="cannot be read"):
        load_trust(tmp_path / "missing.yaml")
