import pytest

from ratchet.replies import compare_reply, similarity_of, trim_reply

ANSWER = "A new card costs 5 pounds and arrives within 4 working days."
DRESSED = f"Dear Ana,\n\n{ANSWER}\n\nKind regards,\nSam Poole\nSupport, Fernhill"
EDITED = "A new card is free for you and arrives within 4 working days."


@pytest.mark.parametrize("sent", [ANSWER, f"  {ANSWER.upper()}\n", ANSWER.replace(" ", "\n  "), DRESSED])
def test_a_reply_that_was_only_dressed_is_accepted(sent: str) -> None:
    assert compare_reply(ANSWER, sent) == ("accepted", 1.0, None)


def test_an_edited_reply_is_a_correction_without_what_the_suggestion_never_had() -> None:
    found = compare_reply(ANSWER, DRESSED.replace(ANSWER, EDITED))
    assert (found.outcome, found.text) == ("edited", EDITED)
    assert 0.5 < found.similarity < 1


def test_an_edited_reply_keeps_greeting_and_signature_where_the_suggestion_has_them() -> None:
    sent = DRESSED.replace(ANSWER, EDITED)
    assert compare_reply(DRESSED, sent).text == sent


def test_a_reply_about_something_else_is_unrelated() -> None:
    found = compare_reply(ANSWER, "We cannot reset your passcode by mail; please call us from your own phone.")
    assert (found.outcome, found.text) == ("unrelated", None)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Hi Ana!\nYes.", "Yes."),
        ("Yes.\n--\nSam", "Yes."),
        ("Yes.\nCheers\nSam", "Yes."),
        ("Hello,\nThanks", "Hello,\nThanks"[7:]),
        ("Hi Ana, your card is on its way.", "Hi Ana, your card is on its way."),
        ("Thanks\nfor waiting: " + "your card is on its way, " * 5, None),
        ("", ""),
    ],
)
def test_greeting_and_signature_are_lines_of_their_own(text: str, left: str | None) -> None:
    assert trim_reply(text) == (text.strip() if left is None else left)


def test_similarity_counts_shared_pairs_of_words() -> None:
    assert similarity_of("a b c", "a b d") == 0.5
    assert similarity_of("yes", "Yes!") == 1.0
    assert similarity_of("", "") == 1.0 and similarity_of("a", "") == 0.0


def test_a_long_hostile_reply_takes_linear_time() -> None:
    assert trim_reply("x" + "\nthanks" * 100_000 + "\n" * 100_000 + "y").startswith("x")
