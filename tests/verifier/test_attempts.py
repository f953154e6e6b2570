from verifier.attempts import MOST_NAMES, Attempts


def test_a_patient_guesser_gets_twenty_tries_a_day():
    now = [0.0]
    attempts, tries = Attempts(lambda: now[0]), 0
    for now[0] in range(0, 86_000, 60):
        if attempts.wait_s("ana") <= 0:
            attempts.note_failure("ana")
            tries += 1
    assert tries == 20


def test_the_wait_is_told_in_seconds():
    attempts = Attempts(lambda: 100.0)
    for _ in range(5):
        attempts.note_failure("ana")
    assert attempts.wait_s("ana") == 300
    assert attempts.wait_s("bob") == 0


def test_a_flood_of_names_does_not_fill_the_memory():
    attempts = Attempts(lambda: 0.0)
    for number in range(MOST_NAMES + 50):
        attempts.note_failure(f"name{number}")
    assert len(attempts._failed_at) == MOST_NAMES
