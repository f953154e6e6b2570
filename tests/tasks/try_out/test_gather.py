"""tasks.try_out.gather: every record is counted once, whatever becomes of it."""

from __future__ import annotations

from pathlib import Path

from tests.tasks.try_out.logs import asked, said, tried


def test_records_are_interactions_feedback_seen_twice_and_rejected(tmp_path: Path) -> None:
    rows = [asked(1, "a"), asked(1, "b"), said(1, "thumb", True), said(1, "thumb", False), asked(2, "c", at="never")]
    found = tried(tmp_path, *rows, {"odd": 1}).intake
    assert (found.records, found.interactions, found.feedback, found.known) == (6, 1, 1, 2)
    assert found.rejected.total() == 2
    assert found.first_rejected is not None and found.first_rejected.startswith("log.jsonl:5: at:")


def test_personal_data_is_counted_by_type_and_by_who_wrote_it(tmp_path: Path) -> None:
    answer = {"content": "Write to help@bank.example."}
    rows = [asked(1, "I am ana@mail.example and eva@mail.example"), asked(2, "hi", output=answer), asked(3, "hi")]
    found = tried(tmp_path, *rows).intake
    assert (dict(found.pii_asked), dict(found.pii_answered), dict(found.pii)) == (
        {"EMAIL": 1},
        {"EMAIL": 1},
        {"EMAIL": 2},
    )
    assert found.pii_interactions == 2
