import threading
import time

import pytest

from ratchet.approvals import ApprovalRequest
from ratchet.errors import SettingsInvalid
from ratchet.signing import public_pem, signing_key
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
