"""tasks.try_out.counts: what there is, and what is said of it."""

from __future__ import annotations

from pathlib import Path

from tasks.try_out.counts import Counts, Rate
from tests.tasks.try_out.logs import asked, said, tried


def counts(folder: Path, *rows: dict[str, object]) -> Counts:
    return tried(folder, *rows).counts


def test_one_complaint_makes_an_answer_bad_and_a_middling_rating_neither_good_nor_bad(tmp_path: Path) -> None:
    rows = [asked(i, f"question {i}") for i in range(5)]
    feedback = [said(0, "thumb", True), said(0, "rating", 0.0), said(1, "rating", 0.5), said(2, "thumb", True)]
    found = counts(tmp_path, *rows, *feedback, said(3, "comment", "hm"))
    assert (found.judged, found.found_good) == (Rate(1, 3), 1)


def test_a_correction_is_bad_unless_it_says_what_was_answered(tmp_path: Path) -> None:
    label = {"content": '{"route": "cards"}'}
    rows = [asked(1, "a", output=label), asked(2, "b", output=label), asked(3, "c", output=label)]
    found = counts(
        tmp_path,
        *rows,
        said(1, "correction", "cards"),
        said(2, "correction", "loans"),
        said(3, "correction", {"route": "cards"}),
    )
    assert (found.judged, found.corrected) == (Rate(1, 3), 3)


def test_a_preference_can_be_learned_from_and_is_no_verdict(tmp_path: Path) -> None:
    found = counts(tmp_path, asked(1, "a"), said(1, "preference", {"chosen": "x", "rejected": "Answer 1."}))
    assert (found.judged.n, found.compared, found.with_any) == (0, 1, 1)


def test_feedback_on_what_was_not_logged_is_told_apart(tmp_path: Path) -> None:
    found = counts(tmp_path, asked(1, "a"), said(9, "thumb", False))
    assert (found.orphans, found.judged.n, found.said[0].interactions, found.said[0].bad) == (1, 0, 0, 0)


def test_derived_signals_are_held_against_what_people_said(tmp_path: Path) -> None:
    again = asked(2, "How long would a transfer to Spain take", at="2026-01-05T11:01:00Z", session_id="s1")
    rows = [asked(1, "How long does a transfer to Spain take?"), again, asked(3, "Fees?"), asked(4, "Close it")]
    found = counts(tmp_path, *rows, said(1, "thumb", False), said(3, "thumb", True))
    rephrase = found.derived[0]
    assert (rephrase.kind, rephrase.count, rephrase.bad_with, rephrase.bad_without) == (
        "rephrase",
        1,
        Rate(1, 1),
        Rate(0, 1),
    )


def test_who_left_when_the_log_ends_may_come_back_and_has_abandoned_nothing(tmp_path: Path) -> None:
    nothing = {"content": ""}
    found = counts(tmp_path, asked(1, "a", output=nothing), asked(5, "b", output=nothing))
    assert next(d.count for d in found.derived if d.kind == "abandon") == 1


def test_stretches_of_time_hold_every_request_that_has_a_time(tmp_path: Path) -> None:
    found = counts(tmp_path, *(asked(i * 7, f"question {i}") for i in range(60)))
    assert found.bucket == "day"
    assert sum(bucket.interactions for bucket in found.over_time) == 60


def test_users_and_sessions_of_two_tenants_are_different_ones(tmp_path: Path) -> None:
    found = counts(tmp_path, *(asked(i, "a", tenant=t, user_id="u", session_id="s") for i, t in enumerate(("x", "y"))))
    assert (found.size.users, found.size.sessions) == (2, 2)
