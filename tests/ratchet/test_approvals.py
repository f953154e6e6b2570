import os
import subprocess
import sys
from datetime import UTC, datetime

import pyotp
import pytest

from ratchet.approvals import (
    APPROVAL_TYPE,
    Approval,
    ApprovalRequest,
    Envelope,
    enrol,
    may_approve,
    request_approval,
    verify_approval,
)
from ratchet.errors import ApprovalRefused, BadInput, ServiceUnreachable
from ratchet.features import Feature
from ratchet.settings import Settings, read_secret
from ratchet.signing import public_pem, sign, signing_key

SUBJECT = "rel_" + "0123456789abcdef" * 4
OTHER = "rel_" + "f" * 64


def approval(**changes):
    fields = {"run_id": "run_1", "subject": SUBJECT, "approver": "ana", "approver_kind": "person"}
    return Approval(**(fields | {"decision": "approve", "at": datetime(2026, 1, 2, tzinfo=UTC)} | changes))


def feature(**policy):
    fields = {"name": "routing", "intent": "route", "owners": ["ana"], "scorer": "exact_match"}
    return Feature.model_validate(fields | {"approval": policy})


@pytest.fixture
def trust(tmp_path):
    folder = tmp_path / "trust"
    folder.mkdir()
    key = signing_key(tmp_path / "state" / "approval.key")
    (folder / "approval.pub").write_text(public_pem(key.public_key()))
    return folder


@pytest.fixture
def signed(trust, tmp_path):
    key = signing_key(tmp_path / "state" / "approval.key")

    def signed(payload_type=APPROVAL_TYPE, **changes):
        statement = approval(**changes).model_dump(mode="json")
        return Envelope(statement=statement, **sign(key, payload_type, statement)._asdict())

    return signed


def check(trust, envelope, subject=SUBJECT, run_id="run_1"):
    return verify_approval(envelope, trust_dir=trust, subject=subject, run_id=run_id)


def test_a_signed_approval_verifies_also_after_a_trip_through_json(trust, signed):
    envelope = Envelope.model_validate_json(signed().model_dump_json())
    assert check(trust, envelope) == approval()


@pytest.mark.parametrize("change", [{"decision": "approve"}, {"approver": "bob"}, {"subject": OTHER}, {"more": 1}])
def test_a_tampered_statement_is_refused(trust, signed, change):
    envelope = signed(decision="reject")
    tampered = envelope.model_copy(update={"statement": envelope.statement | change})
    with pytest.raises(ApprovalRefused, match="not signed by"):
        check(trust, tampered)


@pytest.mark.parametrize("signature", ["", "AAAA", "not base64!", "é"])
def test_a_malformed_signature_is_refused(trust, signed, signature):
    with pytest.raises(ApprovalRefused, match="not signed by"):
        check(trust, signed().model_copy(update={"signature": signature}))


def test_the_key_id_proves_nothing(trust, signed, tmp_path):
    statement = approval().model_dump(mode="json")
    forged = sign(signing_key(tmp_path / "mallory.key"), APPROVAL_TYPE, statement)
    with pytest.raises(ApprovalRefused, match="not signed by"):
        check(trust, Envelope(statement=statement, signature=forged.signature, key_id=signed().key_id))


def test_a_signature_for_another_type_of_document_is_refused(trust, signed):
    with pytest.raises(ApprovalRefused, match="not signed by"):
        check(trust, signed("application/vnd.ratchet.checkpoint+json"))


def test_an_approval_of_another_release_is_refused(trust, signed):
    with pytest.raises(ApprovalRefused, match=f"for {SUBJECT}, not for {OTHER}"):
        check(trust, signed(), subject=OTHER)


def test_an_approval_of_another_run_is_refused(trust, signed):
    with pytest.raises(ApprovalRefused, match="run run_1, not for run run_2"):
        check(trust, signed(), run_id="run_2")


def test_without_a_trusted_key_nothing_is_approved(tmp_path, signed):
    with pytest.raises(ApprovalRefused, match="no trusted approval key"):
        check(tmp_path / "empty", signed())


@pytest.mark.parametrize(("approvers", "may"), [([], True), (["ana"], True), (["bob"], False)])
def test_a_person_must_be_listed_unless_the_list_is_empty(approvers, may):
    reason = may_approve(feature(approvers=approvers), approval())
    assert (reason is None) is may


@pytest.mark.parametrize(("machines", "may"), [([], False), (["ana"], True), (["bob"], False)])
def test_a_machine_must_always_be_listed(machines, may):
    reason = may_approve(feature(machine_approvers=machines), approval(approver_kind="machine"))
    assert (reason is None) is may


def test_a_machine_listed_among_the_people_may_not_approve():
    assert "machine ana" in str(may_approve(feature(approvers=["ana"]), approval(approver_kind="machine")))


@pytest.fixture(scope="module")
def verifier(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    environ = {"RATCHET_REPO": str(home), "RATCHET_HOME": str(home)}
    command = [sys.executable, "-m", "verifier", "--port", "0"]
    process = subprocess.Popen(command, env=os.environ | environ, text=True, stdout=subprocess.PIPE)
    yield process.stdout.readline().split()[-1], Settings.from_env(environ)
    process.kill()
    process.communicate()


def request(name, code):
    fields = {"run_id": "run_1", "subject": SUBJECT, "digest_prefix": SUBJECT[4:14], "approver": name, "code": code}
    return ApprovalRequest(**fields, decision="approve")


def test_an_enrolled_person_approves_over_http(verifier):
    address, settings = verifier
    enrolment = enrol(address, read_secret(settings, "verifier-enrol"), "ana", "person")
    code = pyotp.parse_uri(enrolment.otpauth_uri).now()
    envelope = request_approval(address, request("ana", code))
    assert check(settings.trust_dir, envelope).approver == "ana"


def test_a_refusal_carries_its_reason(verifier):
    with pytest.raises(ApprovalRefused, match="wrong_code") as caught:
        request_approval(verifier[0], request("nobody", "123456"))
    assert caught.value.reason == "unknown_approver_or_wrong_code"


def test_enrolling_with_a_wrong_token_is_refused(verifier):
    with pytest.raises(ApprovalRefused, match="wrong_token"):
        enrol(verifier[0], "00", "eve", "person")


def test_a_verifier_that_is_not_there_is_named_with_what_to_do():
    with pytest.raises(ServiceUnreachable, match="python -m verifier"):
        request_approval("http://127.0.0.1:9", request("ana", "123456"))


def test_a_server_that_is_not_a_verifier_is_named(verifier):
    with pytest.raises(BadInput, match="is not a verifier"):
        request_approval(f"{verifier[0]}/elsewhere", request("ana", "123456"))


def test_a_request_hides_its_code_when_printed():
    assert "987654" not in repr(request("ana", "987654"))
