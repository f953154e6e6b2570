"""tasks.try_out.duplicates: copies are counted beyond the first."""

from __future__ import annotations

from pathlib import Path

from tests.tasks.try_out.logs import asked, tried


def test_copies_are_counted_without_regard_to_case_or_whose_address_stands_in_them(tmp_path: Path) -> None:
    texts = [
        "Where is my card? I am ana@a.example",
        "where is my CARD i am bob@b.example!",
        "Fees",
        "Fees",
        "Fees",
        "Other",
    ]
    found = tried(tmp_path, *(asked(i, text) for i, text in enumerate(texts))).duplicates
    assert (found.questions, found.exact) == (6, 3)
    assert found.most[0] == ("Fees", 3)


def test_near_copies_are_found_among_the_different_ones(tmp_path: Path) -> None:
    text = "I sent money to the wrong account yesterday evening and want it back, what can I do about it now"
    found = tried(tmp_path, asked(1, text), asked(2, f"{text} please"), asked(3, "Something else entirely")).duplicates
    assert (found.sampled, found.exact, found.near) == (3, 0, 1)
