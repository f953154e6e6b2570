from pathlib import Path

import pyotp
import pytest
from fastapi.testclient import TestClient

from ratchet.approvals import Envelope
from ratchet.settings import Settings, read_secret
from verifier.app import ENROL_SECRET, create_app

SUBJECT = "rel_" + "0123456789abcdef" * 4


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Desk:
    """A running verifier and what an approver does with it."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings, self.clock = settings, clock
        self.token = {"Authorization": f"Bearer {read_secret(settings, ENROL_SECRET)}"}
        self.restart()

    def restart(self) -> None:
        self.client = TestClient(create_app(self.settings, self.clock))

    def enrol(self, name="ana", kind="person"):
        answer = self.client.post("/v1/people", json={"name": name, "kind": kind}, headers=self.token)
        return answer.json()["secret"]

    def code(self, secret, age_s=0):
        return pyotp.TOTP(secret).at(int(self.clock.now) - age_s)

    def send(self, code, **changes):
        body = {"run_id": "run_1", "subject": SUBJECT, "digest_prefix": SUBJECT[4:12], "approver": "ana"}
        return self.client.post("/v1/approvals", json=body | {"code": code, "decision": "approve"} | changes)

    def envelope(self, code, **changes) -> Envelope:
        return Envelope.model_validate(self.send(code, **changes).json())


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    home = {"RATCHET_REPO": str(tmp_path), "RATCHET_HOME": str(tmp_path / "home")}
    return Desk(Settings.from_env(home), Clock())
