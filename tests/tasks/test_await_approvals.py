"""What becomes of a run while it waits: decisions that arrive by themselves, reminders to a real webhook."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from ratchet.approvals import ApprovalRequest, request_approval
from ratchet.errors import ServiceUnreachable
from ratchet.runs import Run
from ratchet.settings import Settings
from tasks.await_approvals import collect, remind, waiting
from tests.approval_desk import NOW, Desk, verifier_on


@pytest.fixture
def desk(routing: Settings) -> Iterator[Desk]:
    with verifier_on(routing) as people:
        yield Desk(people)


@contextmanager
def webhook(status: int = 200) -> Iterator[tuple[str, list[Any]]]:
    """An address that answers with a status, and what it was sent."""
    got: list[Any] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # limits: http.server asks for this name
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, json.loads(body)))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/hooks/T1?to=team", got
        server.shutdown()


def remind_after(desk: Desk, hours: float, **settings: Any) -> dict[str, Any] | None:
    there = dataclasses.replace(desk.settings, **settings)
    return remind(there, desk.store, waiting(desk.store)[0], now=NOW + timedelta(hours=hours))


def sign_elsewhere(desk: Desk, name: str, decision: str = "approve", reason: str = "") -> None:
    """A decision that the verifier signs and whose answer never arrives."""
    form = desk.form(name, decision, reason=reason)
    request = ApprovalRequest.model_validate({**form, "run_id": "r1", "subject": desk.release})
    request_approval(desk.settings.verifier_url, request)


def collected(desk: Desk) -> Run:
    return collect(*desk.parts, "r1")


def test_a_decision_whose_answer_was_lost_is_found_again(desk: Desk) -> None:
    sign_elsewhere(desk, "ana", "reject", "too long")
    after = collected(desk)
    assert (after.decision, after.answers[0].reason, after.attempts) == ("reject", "too long", 1)
    assert collected(desk) == after


def test_four_eyes_are_collected_one_by_one_and_each_once(desk: Desk) -> None:
    desk.policy(four_eyes=True)
    sign_elsewhere(desk, "bob")
    assert (collected(desk).decision, collected(desk).attempts) == (None, 1)
    sign_elsewhere(desk, "cem")
    assert collected(desk).decision == "approve" and desk.faults() == []


def test_a_decision_on_another_release_under_this_runs_name_is_left_out(desk: Desk) -> None:
    other = desk.machine.release("Other.", version=None, run="r1", approve=False)
    form = {**desk.form("ana", digest_prefix=other), "run_id": "r1", "subject": other}
    request_approval(desk.settings.verifier_url, ApprovalRequest.model_validate(form))
    assert (collected(desk).decision, desk.faults()) == (None, ["no approval"])


def test_a_verifier_that_is_down_is_asked_again_later(desk: Desk) -> None:
    sign_elsewhere(desk, "ana")
    nobody = dataclasses.replace(desk.settings, verifier_url="http://127.0.0.1:9")
    assert collect(nobody, *desk.parts[1:], "r1").decision is None
    assert collected(desk).decision == "approve"


def test_nobody_comes_and_the_run_expires(desk: Desk) -> None:
    desk.policy(expire_after_h=1)
    desk.change(waits_since=(NOW - timedelta(hours=2)).isoformat())
    assert collected(desk).decision == "expired"
    assert waiting(desk.store) == [] and desk.store.lease_owner("improve:routing") is None


def test_a_reminder_goes_out_once_for_each_time_that_went_by(desk: Desk) -> None:
    desk.policy(remind_after_h=10)
    with webhook() as (url, got):
        allowed = {"webhook_url": url, "private_is_allowed": True}
        said = [remind_after(desk, hours, **allowed) is not None for hours in (9, 11, 12, 35, 36)]
    assert said == [False, True, False, True, False]
    path, fact = got[0]
    assert path == "/hooks/T1?to=team"
    assert (fact["run_id"], fact["release_id"], fact["waited_h"], fact["needed"]) == ("r1", desk.release, 11.0, 1)
    assert "ratchet approve r1" in fact["text"]


@pytest.mark.parametrize(("status", "is_allowed"), [(500, True), (302, True), (200, False)])
def test_a_reminder_that_was_not_delivered_goes_out_again(desk: Desk, status: int, is_allowed: bool) -> None:
    with webhook(status) as (url, got), pytest.raises(ServiceUnreachable, match="RATCHET_WEBHOOK_URL"):
        remind_after(desk, 25, webhook_url=url, private_is_allowed=is_allowed)
    assert bool(got) is is_allowed  # an address of a private network is not even called
    assert remind_after(desk, 25) is not None
