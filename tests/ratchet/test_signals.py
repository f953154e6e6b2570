"""ratchet.signals: what behaviour says about an answer, rule by rule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.signals import ABANDONED_AFTER, WITHIN, derive_signals, likeness

AT = datetime(2026, 1, 5, 10, tzinfo=UTC)
ASKED = "How long does a transfer to Spain take?"


def turn(number: int, text: str, minutes: float, **changes: Any) -> dict[str, Any]:
    at = (AT + timedelta(minutes=minutes)).isoformat()
    fields = {"tenant": "default", "session_id": "s", "user_id": "u", "at": at, "interaction_id": f"i{number}"}
    return fields | {"input_text": text, "output": "Two days."} | changes


def found(*texts: str, minutes: float = 1, **first: Any) -> list[tuple[str, str]]:
    turns = [turn(i, text, i * minutes, **(first if i == 0 else {})) for i, text in enumerate(texts)]
    return [(signal.interaction_id, signal.kind) for signal in derive_signals(turns)]


REPHRASED = "How long would a transfer to Spain take"


def test_nearly_the_same_question_soon_after_is_a_rephrase_of_the_answer_before() -> None:
    assert found(ASKED, REPHRASED, "What does it cost?") == [("i0", "rephrase")]


def test_the_same_question_after_ten_minutes_is_a_new_visit() -> None:
    assert found(ASKED, REPHRASED, "What does it cost?", minutes=WITHIN.total_seconds() / 60 + 1) == []


def test_the_very_same_question_was_sent_twice_and_is_no_rephrase() -> None:
    assert found(ASKED, ASKED.upper(), "What does it cost?") == []


def test_a_follow_up_about_the_same_thing_is_no_rephrase() -> None:
    assert found(ASKED, "And does a transfer to Portugal cost anything?", "Fine, what about France?") == []


@pytest.mark.parametrize(
    "text",
    [
        "No, I meant the fee",
        "That's not what I asked",
        "Hm. That is wrong, look again",
        "you misunderstood me",
        "Nein, ich meinte die Gebühr",
        "No es lo que pregunté",
        "Non, je parle des frais",
    ],
)
def test_a_complaint_is_a_rephrase_in_any_words(text: str) -> None:
    assert found(ASKED, text, "What does it cost?")[0] == ("i0", "rephrase")


@pytest.mark.parametrize("text", ["I have an account that's not active, why?", "What is the wrong way to do it?"])
def test_a_word_of_complaint_inside_a_question_is_none(text: str) -> None:
    assert found(ASKED, text, "What does it cost?") == []


@pytest.mark.parametrize(
    "text",
    [
        "Can I speak to a real person?",
        "i want an agent",
        "Please connect me to a representative",
        "live chat please",
        "Ich will mit einem Mitarbeiter sprechen",
        "quiero hablar con una persona",
    ],
)
def test_asking_for_a_person_is_an_escalation(text: str) -> None:
    assert found(ASKED, text, "What does it cost?") == [("i0", "escalation")]


@pytest.mark.parametrize("text", ["I need to add a person to my account", "How long is a transfer to a person abroad?"])
def test_a_person_in_a_question_is_no_escalation(text: str) -> None:
    assert found(ASKED, text, "What does it cost?") == []


@pytest.mark.parametrize(
    "text", ["Thanks! And the cost?", "ok thank you", "Perfect.", "It works now", "Danke, und?", "谢谢"]
)
def test_thanks_accept_the_answer_before(text: str) -> None:
    assert found(ASKED, text, "What does it cost?") == [("i0", "accept")]


@pytest.mark.parametrize(
    "text", ["Thanks in advance for the fee", "Great Wall tickets, how much?", "Thanksgiving hours?"]
)
def test_polite_or_like_words_are_no_accept(text: str) -> None:
    assert found(ASKED, text, "What does it cost?") == []


def test_thanks_with_a_complaint_is_a_complaint() -> None:
    assert found(ASKED, "Thanks, but that's not what I asked", "What does it cost?")[0] == ("i0", "rephrase")


def test_who_asks_again_and_leaves_has_abandoned_the_last_answer() -> None:
    signals = list(derive_signals([turn(0, ASKED, 0), turn(1, REPHRASED, 1)]))
    assert [(s.interaction_id, s.kind) for s in signals] == [("i0", "rephrase"), ("i1", "abandon")]
    assert signals[1].at == AT + timedelta(minutes=1) + ABANDONED_AFTER


def test_leaving_after_an_ordinary_answer_says_nothing_and_after_an_empty_one_is_abandon() -> None:
    assert found(ASKED) == []
    assert found(ASKED, output=" ") == [("i0", "abandon")]


def test_what_the_application_noted_comes_before_what_was_said() -> None:
    assert found(ASKED, "thanks", attributes={"escalated": True}) == [("i0", "escalation")]
    assert found(ASKED, attributes={"copied": True}) == [("i0", "accept")]


def test_turns_of_two_sessions_or_tenants_or_without_one_never_speak_of_each_other() -> None:
    apart: list[dict[str, Any]] = [{"session_id": None}, {"session_id": "t"}, {"tenant": "other"}]
    assert [list(derive_signals([turn(0, ASKED, 0, **one), turn(1, REPHRASED, 1)])) for one in apart] == [[], [], []]
    both: dict[str, Any] = {"session_id": None}
    assert list(derive_signals([turn(0, ASKED, 0, **both), turn(1, REPHRASED, 1, **both)])) == []


def test_times_may_be_datetimes_and_one_session_is_read_at_a_time() -> None:
    taken: list[int] = []

    def turns() -> Any:
        for i in range(100):
            taken.append(i)
            text = ASKED if i % 2 == 0 else REPHRASED
            yield turn(i, text, 0, session_id=f"s{i // 2:03}", at=AT + timedelta(minutes=i))

    signals = derive_signals(turns())
    assert next(signals).kind == "rephrase"
    assert len(taken) <= 3


def test_likeness_is_symmetric_bounded_and_blind_to_case() -> None:
    assert likeness("Où est ma carte ?", "ou est ma carte") == likeness("ou est ma carte", "Où est ma carte ?")
    assert likeness(ASKED, ASKED.lower()) == 1.0
    assert likeness("", "") == 1.0
    assert likeness(ASKED, "zzz") == 0.0


TURN = st.tuples(
    st.text(max_size=40) | st.sampled_from([ASKED, REPHRASED, "thanks", "a human please"]), st.integers(0, 2000)
)


@given(st.lists(TURN, max_size=8))
def test_any_session_gives_known_ids_and_says_one_thing_at_most_of_an_answer(session: list[tuple[str, int]]) -> None:
    turns = [turn(i, text, i * 3, output="x" * (s % 2)) for i, (text, s) in enumerate(session)]
    said = [signal for signal in derive_signals(turns)]
    assert {signal.interaction_id for signal in said} <= {t["interaction_id"] for t in turns}
    assert len({signal.interaction_id for signal in said}) == len(said)
    assert all(0 < signal.confidence <= 1 for signal in said)
    assert [s for s in said if s.kind == "abandon"] in ([], said[-1:])
