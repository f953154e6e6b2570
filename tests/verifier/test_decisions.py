import json
import threading
import time

import pytest

from ratchet.approvals import ApprovalRequest
from ratchet.errors import SettingsInvalid
from ratchet.signing import public_pem, signing_key
from tests.conftest import POLICY
from tests.released import Machine
from verifier.decisions import Refusal, Verifier

SUBJECT = "rel_" + "0123456789abcdef" * 4


def test_another_trusted_key_stops_the_start(desk, tmp_path):
    other = public_pem(signing_key(tmp_path / "other.key").public_key())
    (desk.settings.trust_dir / "approval.pub").write_text(other)
    with pytest.raises(SettingsInvalid, match="another key"):
        Verifier(desk.settings, desk.clock)


def test_one_code_presented_many_times_at_once_is_signed_once(desk):
    code, verifier, outcomes = desk.code(desk.enrol()), Verifier(desk.settings, desk.clock), []
    fields = {"run_id": "r", "subject": SUBJECT, "digest_prefix": SUBJECT, "approver": "ana", "code": code}
    request = ApprovalRequest(**fields, decision="approve")

    def present():
        try:
            outcomes.append(verifier.decide(request).key_id)
        except Refusal as refusal:
            outcomes.append(refusal.reason)

    threads = [threading.Thread(target=present) for _ in range(5)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert outcomes.count("used_code") == 4


def test_wrong_codes_presented_many_at_once_are_counted_in_time(desk):
    verifier, reasons = Verifier(desk.settings, lambda: time.sleep(0.001) or desk.clock.now), []  # lets others run
    fields = {"run_id": "r", "subject": SUBJECT, "digest_prefix": SUBJECT, "approver": "ana", "code": ""}

    def present():
        with pytest.raises(Refusal) as caught:
            verifier.decide(ApprovalRequest(**fields, decision="approve"))
        reasons.append(caught.value.status)

    threads = [threading.Thread(target=present) for _ in range(40)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sorted(reasons) == [403] * 5 + [429] * 35


@pytest.fixture
def owned(desk):
    """A release of a feature that only ana may approve, or the machine `night`."""
    policy = POLICY | {"approval": {"approvers": ["ana"], "machine_approvers": ["night"]}}
    folder = desk.settings.repo / "features" / "routing"
    folder.mkdir(parents=True)
    (folder / "feature.yaml").write_text(json.dumps(policy))
    return Machine(desk.settings).release(version=None, run="run_1", approve=False)


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("ana", "person", None),
        ("night", "machine", None),
        ("bob", "person", "may_not_approve"),
        ("day", "machine", "may_not_approve"),
    ],
)
def test_who_feature_yaml_does_not_name_gets_no_signature(desk, owned, name, kind, reason):
    answer = desk.send(desk.code(desk.enrol(name, kind)), approver=name, subject=owned, digest_prefix=owned)
    assert (answer.status_code, answer.json().get("reason")) == (403 if reason else 200, reason)


def test_a_release_that_is_not_in_the_store_gets_no_signature(desk, owned):
    answer = desk.send(desk.code(desk.enrol()), subject=SUBJECT)
    assert answer.json()["reason"] == "may_not_approve" and "not in" in answer.json()["message"]
