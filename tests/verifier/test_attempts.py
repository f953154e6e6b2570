import time

import pytest

from ratchet.errors import SettingsInvalid
from verifier.attempts import MOST_NAMES, Attempts


def test_a_patient_guesser_gets_twenty_tries_a_day(tmp_path):
    now = [0.0]
    attempts, tries = Attempts(tmp_path / "attempts.json", lambda: now[0]), 0
    for now[0] in range(0, 86_000, 60):
        if attempts.wait_s("ana") <= 0:
            attempts.note_failure("ana", is_known=True)
            tries += 1
    assert tries == 20


def test_the_wait_is_told_in_seconds(tmp_path):
    attempts = Attempts(tmp_path / "attempts.json", lambda: 100.0)
    for _ in range(5):
        attempts.note_failure("ana", is_known=True)
    assert attempts.wait_s("ana") == 300
    assert attempts.wait_s("bob") == 0


def test_a_restart_forgets_no_failure_of_an_enrolled_name(tmp_path):
    for _ in range(5):
        Attempts(tmp_path / "attempts.json", time.time).note_failure("ana", is_known=True)
    assert 290 < Attempts(tmp_path / "attempts.json", time.time).wait_s("ana") <= 300


def test_a_damaged_file_stops_the_start(tmp_path):
    (tmp_path / "attempts.json").write_text('{"ana": ["never"]}')
    with pytest.raises(SettingsInvalid, match="damaged"):
        Attempts(tmp_path / "attempts.json", time.time)


def test_a_flood_of_names_fills_neither_memory_nor_disk(tmp_path):
    attempts = Attempts(tmp_path / "attempts.json", lambda: 0.0)
    attempts._failed_at = {f"name{n}": attempts._failed_at for n in range(MOST_NAMES)}
    for number in range(50):
        attempts.note_failure(f"new{number}", is_known=False)
    assert len(attempts._failed_at) == MOST_NAMES
    assert (tmp_path / "attempts.json").stat().st_size < 10
