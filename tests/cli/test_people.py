"""`ratchet people` beside a running verifier."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ratchet.ledger import Ledger
from ratchet.settings import Settings
from ratchet.store import Store
from tests.approval_desk import verifier_on
from tests.cli.conftest import Ratchet


@pytest.fixture
def people(ratchet: Ratchet, routing: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ratchet]:
    with verifier_on(routing) as running:
        monkeypatch.setenv("RATCHET_VERIFIER_URL", running.settings.verifier_url)
        yield ratchet


def test_a_person_is_shown_a_qr_code_that_a_phone_can_scan(people: Ratchet) -> None:
    shown = people("people", "add", "ana").out
    squares = [line for line in shown.splitlines() if set(line) <= set("█▀▄ \xa0") and line.strip()]
    assert len(squares) > 15 and len({len(line) for line in squares}) == 1
    assert "otpauth://totp/Ratchet:ana?secret=" in shown


def test_who_lost_the_phone_is_removed_and_enrolled_anew(people: Ratchet, store: Store) -> None:
    first = people("people", "add", "ana", "--json").out
    assert people("people", "add", "ana").status == 1
    assert people("people", "remove", "ana").status == 0
    assert people("people", "add", "ana", "--json").out != first
    assert people("people", "list", "--json").out.strip().replace("\n", "").replace(" ", "") == '{"ana":"person"}'
    events = [entry.event for entry in Ledger(store.engine).entries(subject="ana")]
    assert events == ["approver enrolled", "approver removed", "approver enrolled"]


def test_nobody_of_that_name_cannot_be_removed(people: Ratchet) -> None:
    ended = people("people", "remove", "eve")
    assert ended.status == 1 and "unknown_name" in ended.err


def test_a_removed_machines_secret_is_gone(people: Ratchet, routing: Settings) -> None:
    people("people", "add", "night", "--machine")
    assert (routing.secrets_dir / "approver-night").is_file()
    people("people", "remove", "night")
    assert not (routing.secrets_dir / "approver-night").exists()
