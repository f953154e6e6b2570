"""What becomes of an answer that cannot be checked: the run goes on waiting."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ratchet.ledger import Ledger
from ratchet.runs import Run, open_run
from ratchet.settings import Settings
from ratchet.store import Store
from tasks.approve import take_answer

ANSWER = {"decision": "approve", "approver": "ana", "digest_prefix": "abababab", "code": "123456", "reason": ""}


@pytest.fixture
def waiting(store: Store) -> Run:
    release = "rel_" + "ab" * 32
    started = "2026-01-01T00:00:00+00:00"
    return open_run(
        store, Run(run_id="r-1", feature="routing", state="awaiting", release_id=release, started_at=started)
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [({}, "no verifier answers"), ({"approver": ""}, "not filled in right: approver")],
)
def test_what_cannot_be_checked_is_a_refusal(
    settings: Settings, store: Store, waiting: Run, change: dict[str, Any], told: str
) -> None:
    nobody = dataclasses.replace(settings, verifier_url="http://127.0.0.1:9")
    after = take_answer(nobody, store, Ledger(store.engine), waiting, ANSWER | change)
    assert (after.state, after.decision, after.attempts) == ("awaiting", None, 1)
    assert after.refusal is not None and told in after.refusal
