import logging
import stat

import pytest

from ratchet.approvals import verify_approval

SUBJECT = "rel_" + "0123456789abcdef" * 4
WRONG = "unknown_approver_or_wrong_code"


def verified(desk, envelope, subject=SUBJECT, run_id="run_1"):
    return verify_approval(envelope, trust_dir=desk.settings.trust_dir, subject=subject, run_id=run_id)


def wrong_code(desk, secret):
    near = {desk.code(secret, age_s) for age_s in range(-60, 400, 10)}
    return next(code for code in (f"{n:06d}" for n in range(100)) if code not in near)


def test_a_right_code_gives_a_signature_that_verifies(desk):
    approval = verified(desk, desk.envelope(desk.code(desk.enrol())))
    assert (approval.approver, approval.approver_kind, approval.decision) == ("ana", "person", "approve")
    assert approval.at.timestamp() == desk.clock.now


def test_a_rejection_is_signed_as_such_and_its_reason_only_as_a_digest(desk):
    envelope = desk.envelope(desk.code(desk.enrol()), decision="reject", reason="too terse")
    assert verified(desk, envelope).decision == "reject"
    assert len(envelope.statement["reason_digest"]) == 64
    assert "terse" not in envelope.model_dump_json()


def test_a_machine_is_named_as_one(desk):
    secret = desk.enrol("night-shift", "machine")
    assert verified(desk, desk.envelope(desk.code(secret), approver="night-shift")).approver_kind == "machine"


def test_a_wrong_code_and_an_unknown_approver_get_the_same_answer(desk):
    secret = desk.enrol()
    wrong, unknown = desk.send(wrong_code(desk, secret)), desk.send(desk.code(secret), approver="bob")
    assert wrong.status_code == unknown.status_code == 403
    assert wrong.json() == unknown.json()
    assert wrong.json()["reason"] == WRONG


@pytest.mark.parametrize("code", ["", "12345", "1234567", "abcdef", "１２３４５６"])
def test_a_malformed_code_is_a_wrong_code(desk, code):
    desk.enrol()
    assert desk.send(code).json()["reason"] == WRONG


def test_a_used_code_is_refused(desk):
    code = desk.code(desk.enrol())
    assert desk.send(code).status_code == 200
    assert desk.send(code, run_id="run_2").json()["reason"] == "used_code"


def test_a_code_older_than_the_last_used_is_refused(desk):
    secret = desk.enrol()
    older = desk.code(secret, age_s=60)
    assert desk.send(desk.code(secret)).status_code == 200
    assert desk.send(older).json()["reason"] == "used_code"


def test_the_next_code_works_after_a_used_one(desk):
    secret = desk.enrol()
    assert desk.send(desk.code(secret)).status_code == 200
    desk.clock.now += 30
    assert desk.send(desk.code(secret)).status_code == 200


@pytest.mark.parametrize(("age_s", "status"), [(290, 200), (300, 200), (331, 403), (-30, 200), (-60, 403)])
def test_a_code_lives_for_five_minutes(desk, age_s, status):
    desk.clock.now = 1_800_000_000.0  # the first second of a time step
    assert desk.send(desk.code(desk.enrol(), age_s)).status_code == status


def test_used_codes_stay_used_after_a_restart(desk):
    code = desk.code(desk.enrol())
    assert desk.send(code).status_code == 200
    desk.restart()
    assert desk.send(code).json()["reason"] == "used_code"


def test_the_key_stays_the_same_after_a_restart(desk):
    envelope = desk.envelope(desk.code(desk.enrol()))
    before = desk.client.get("/v1/key").text
    desk.restart()
    assert desk.client.get("/v1/key").text == before == (desk.settings.trust_dir / "approval.pub").read_text()
    assert verified(desk, envelope)


@pytest.mark.parametrize("prefix", ["0123456", "ffffffff", "", "rel_0123", SUBJECT[4:] + "0"])
def test_a_wrong_digest_prefix_is_refused_and_leaves_the_code_unused(desk, prefix):
    code = desk.code(desk.enrol())
    assert desk.send(code, digest_prefix=prefix).json()["reason"] == "wrong_digest_prefix"
    assert desk.send(code, digest_prefix="rel_01234567").status_code == 200


def test_five_failures_lock_the_approver_out_for_five_minutes(desk):
    secret = desk.enrol()
    answers = [desk.send(wrong_code(desk, secret)).status_code for _ in range(6)]
    assert answers == [403] * 5 + [429]
    assert desk.send(desk.code(secret)).json()["reason"] == "too_many_attempts"
    desk.clock.now += 301
    assert desk.send(desk.code(secret)).status_code == 200


def test_one_approver_locked_out_leaves_the_others(desk):
    ana, bob = desk.enrol("ana"), desk.enrol("bob")
    for _ in range(6):
        desk.send(wrong_code(desk, ana))
    assert desk.send(desk.code(bob), approver="bob").status_code == 200


def test_enrolling_needs_the_token(desk):
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        answer = desk.client.post("/v1/people", json={"name": "eve", "kind": "person"}, headers=headers)
        assert (answer.status_code, answer.json()["reason"]) == (403, "wrong_token")
        assert desk.client.get("/v1/people", headers=headers).status_code == 403


def test_a_name_is_enrolled_once(desk):
    desk.enrol("ana")
    answer = desk.client.post("/v1/people", json={"name": "ana", "kind": "machine"}, headers=desk.token)
    assert (answer.status_code, answer.json()["reason"]) == (409, "name_taken")


def test_the_list_of_people_holds_no_secret(desk):
    desk.enrol("ana")
    assert desk.client.get("/v1/people", headers=desk.token).json() == [{"name": "ana", "kind": "person"}]


def test_state_is_readable_by_its_owner_only(desk):
    desk.send(desk.code(desk.enrol()))
    desk.send("wrong")
    folder = desk.settings.verifier_dir
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}
    assert {"people.json", "approval.key", "attempts.json"} < set(modes) and set(modes.values()) == {0o600}


def test_a_malformed_request_is_answered_without_its_input(desk):
    answer = desk.send("123456", decision="perhaps", approver="777 888")
    assert (answer.status_code, answer.json()["reason"]) == (422, "malformed")
    assert not {"123456", "perhaps", "777"} & set(answer.text.replace('"', " ").split())


def test_no_code_and_no_secret_is_logged(desk, caplog):
    caplog.set_level(logging.DEBUG)
    secret = desk.enrol()
    code = desk.code(secret)
    desk.send(code, reason="because it is good")
    desk.send(code)
    assert "approval_signed" in caplog.text and "used_code" in caplog.text
    assert not [word for word in (secret, code, "because") if word in caplog.text]


def test_browsers_and_large_bodies_are_refused(desk):
    assert desk.client.get("/healthz").json() == {"status": "ok"}
    assert desk.client.get("/healthz", headers={"Origin": "http://127.0.0.1:8602"}).status_code == 403
    assert desk.send("1", reason="x" * 20_000).status_code == 413
    chunked = desk.client.post("/v1/approvals", content=iter([b"{}"]))
    assert chunked.status_code == 411
