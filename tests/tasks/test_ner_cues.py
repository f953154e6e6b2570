"""tasks.ner_cues: the words around a name tell it, in capitals and without; everyday words are none."""

from __future__ import annotations

import time

import pytest

from tasks.ner_cues import find_addressees, find_by_cues, find_groups, find_organizations, is_ordinary

FOUND = [
    ("My name is Rubija", "Rubija"),
    ("my name is vitoria and i want a card", "vitoria"),
    ("sometimes people call me višeslav", "višeslav"),
    ("What's your last name? Boyle", "Boyle"),
    ("Name: Åsa Laine\nPhone: 1", "Åsa Laine"),
    ("Hello, this is Dr. Garðar Matthíasson. Who are you?", "Garðar Matthíasson"),
    ("I want to add Irenke Sörös as a beneficiary", "Irenke Sörös"),
    ("Warrane, can I please speak to your boss?", "Warrane"),
    ("Dear Mr. Mahler, thanks", "Mahler"),
    ("Thanks for all\nBest regards,\nLea D. Holm", "Lea D. Holm"),
    ("Enrico shouted at the door", "Enrico"),
    ('Sara: "Who are you?"', "Sara"),
    ("From: Willemine ten Pas\nTo: you", "Willemine ten Pas"),
    ("I spoke to Amanda about it", "Amanda"),
    ("It is about Amanda's daughter", "Amanda"),
]
NOT_FOUND = [
    "Hi, I want to know my balance",
    "Thanks, my card arrived",
    "Is my PIN sent separately?",
    "Please tell me what the Visa card costs",
    "Therefore, I cannot help",
    "what is the name of the bank",
    "This is URGENT",
]


@pytest.mark.parametrize(("text", "name"), FOUND)
def test_a_cue_tells_a_name(text: str, name: str) -> None:
    assert name in {text[start:end] for start, end in find_by_cues(text)}


@pytest.mark.parametrize("text", NOT_FOUND)
def test_everyday_words_after_a_cue_are_no_name(text: str) -> None:
    assert [text[start:end] for start, end in find_by_cues(text)] == []


def test_the_line_above_an_address_is_a_name() -> None:
    text = "Billing address: Ana Dias\n   31401 Old Mill Road"
    assert [text[start:end] for start, end in find_addressees(text, [text.index("31401")])] == ["Ana Dias"]


def test_words_are_ordinary_whatever_their_case_and_ending() -> None:
    assert all(map(is_ordinary, ("Card", "card's", "I’m", "VISA", "Please.")))
    assert not any(map(is_ordinary, ("Anna", "Kowalska's", "D.")))


@pytest.mark.parametrize(
    "piece", ["Ab ", "My name is ", "Mr. ", "Ann's ", "Ab van ", "dear Ab ", "Regards\n", "from: ", "a b "]
)
def test_a_text_four_times_as_long_takes_no_sixteen_times_as_long(piece: str) -> None:
    def least_s(length: int) -> float:
        text = piece * (length // len(piece))
        taken = []
        for _ in range(3):
            began = time.process_time()
            list(find_by_cues(text))
            taken.append(time.process_time() - began)
        return min(taken)

    assert least_s(20_000) < 10 * max(least_s(5_000), 0.002)


def test_companies_and_groups_are_told_by_their_words() -> None:
    text = "I used to work for Usaa Group; Polish and Catholic friends know Persint Software Inc. well"
    assert [text[start:end] for start, end in find_organizations(text)] == ["Usaa Group", "Persint Software Inc."]
    assert [text[start:end] for start, end in find_groups(text)] == ["Polish", "Catholic"]
