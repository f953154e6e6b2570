"""tasks.scrub: no personal data is left in a record, and what belongs together keeps its pseudonym."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ratchet.features import Privacy
from ratchet.pii import PATTERNS, pseudonym
from ratchet.records import Feedback, Interaction
from tasks.ner import Detector, load_detector
from tasks.scrub import Item, Names, scrub_id, scrub_records

KEY = b"k" * 32
MAIL, PHONE = "ana@example.com", "+44 20 7946 0958"
PRIVACY = Privacy()


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load_detector(PRIVACY)


def interaction(**changes: Any) -> Interaction:
    fields = {
        "interaction_id": "i1",
        "feature": "routing",
        "user_id": MAIL,
        "session_id": "s1",
        "segment": MAIL,
        "at": "2026-01-05T10:00:00Z",
        "input": {"messages": [{"role": "user", "content": f"I am {MAIL}"}], "variables": {MAIL: [PHONE]}},
        "output": {"content": f"Hello {MAIL}", "tool_calls": [{"to": MAIL}]},
        "contexts": [{"id": MAIL, "text": PHONE}],
        "custom": {"who": MAIL},
    }
    return Interaction.model_validate(fields | changes)


def feedback(**changes: Any) -> Feedback:
    fields = {"feedback_id": "f1", "interaction_id": "i1", "at": "2026-01-05T10:00:00Z", "kind": "correction"}
    fields |= {"value": f"call {PHONE}", "source": {"type": "agent", "id": MAIL}, "comment": MAIL, "note": PHONE}
    return Feedback.model_validate(fields | changes)


def talk(*texts: str, **variables: Any) -> Interaction:
    messages = [{"role": "user", "content": text} for text in texts]
    return interaction(input={"messages": messages, "variables": variables}, output={"content": "ok"}, contexts=[])


def scrub(detector: Detector, asked: Interaction, said: Feedback | None = None, privacy: Privacy = PRIVACY) -> Any:
    return scrub_records([Item(asked, said)], detector, privacy, key=KEY)[0]


def contents(record: Interaction) -> list[str]:
    return [message.content for message in record.input.messages]


def test_no_personal_data_is_left_anywhere_in_a_record(detector: Detector) -> None:
    for record in scrub_records([Item(interaction()), Item(interaction(), feedback())], detector, PRIVACY, key=KEY):
        assert record is not None
        assert MAIL not in record.model_dump_json() and PHONE not in record.model_dump_json()


def test_a_user_has_one_pseudonym_over_conversations_and_as_a_source(detector: Detector) -> None:
    first, second = (scrub(detector, interaction(session_id=s)) for s in ("s1", "s2"))
    said = scrub(detector, interaction(), feedback(source={"type": "user", "id": MAIL}))
    assert first.user_id == second.user_id == said.source.id == pseudonym(MAIL, key=KEY, kind="user")
    assert first.session_id != second.session_id


def test_question_answer_and_correction_of_a_conversation_share_pseudonyms(detector: Detector) -> None:
    said = scrub(detector, interaction(), feedback(value=f"Hello {MAIL}"))
    assert said.value == scrub(detector, interaction()).output.content


def test_labels_thumbs_numbers_and_release_stay_as_they_are(detector: Detector) -> None:
    assert scrub(detector, interaction(), feedback(value="card_lost_stolen")).value == "card_lost_stolen"
    assert scrub(detector, interaction(), feedback(kind="thumb", value=True)).value is True
    asked = interaction(release_id="rel_" + "4111111111111111" * 4, propensity=0.5, latency_ms=12.5)
    scrubbed = scrub(detector, asked)
    assert (scrubbed.release_id, scrubbed.propensity, scrubbed.latency_ms) == (asked.release_id, 0.5, 12.5)


def test_an_id_that_is_an_address_is_replaced_in_both_records(detector: Detector) -> None:
    asked = interaction(interaction_id=MAIL)
    said = scrub(detector, asked, feedback(interaction_id=MAIL))
    assert scrub(detector, asked).interaction_id == said.interaction_id == scrub_id(MAIL, key=KEY)
    assert scrub_id("chatcmpl-1f3a", key=KEY) == "chatcmpl-1f3a"


def test_without_user_and_session_nothing_is_made_up(detector: Detector) -> None:
    scrubbed = scrub(detector, interaction(user_id=None, session_id=None))
    assert (scrubbed.user_id, scrubbed.session_id) == (None, None)


def test_a_first_name_after_the_full_one_has_its_pseudonym(detector: Detector) -> None:
    first, second, third = contents(scrub(detector, talk("My name is Anna Kowalska", "Anna again", "my name is Tom")))
    assert first.removeprefix("My name is ") == second.removesuffix(" again")
    assert third.removeprefix("my name is ") != second.removesuffix(" again")


def test_a_first_name_before_the_full_one_keeps_its_own_as_when_it_stood_alone(detector: Detector) -> None:
    alone = contents(scrub(detector, talk("my name is Anna")))[0]
    assert contents(scrub(detector, talk("my name is Anna", "I am Anna Kowalska")))[0] == alone


def test_names_of_the_metadata_are_replaced_in_any_case_and_by_their_parts(detector: Detector) -> None:
    asked = talk("its zbigniew wolański here", "Zbigniew wants a card", customer={"name": "Zbigniew Wolański"})
    whole, part = contents(scrub(detector, asked))
    assert re.fullmatch(r"its <PERSON_\w{4}> here", whole)
    assert part == whole.removeprefix("its ").removesuffix(" here") + " wants a card"
    assert "Wolański" not in scrub(detector, asked).model_dump_json()


def test_a_name_of_the_metadata_that_is_a_word_is_replaced_with_its_capital_only(detector: Detector) -> None:
    asked = talk("will you tell Will that it will rain", first_name="Will")
    assert re.fullmatch(r"will you tell <PERSON_\w{4}> that it will rain", contents(scrub(detector, asked))[0])


def test_which_keys_hold_names_is_the_features_choice(detector: Detector) -> None:
    asked = talk("gold is what i want", tier="Gold", name="Silver")
    chosen = Privacy(names=("tier",))
    scrubbed = scrub(detector, asked, privacy=chosen)
    assert contents(scrubbed)[0].endswith(" is what i want") and "<PERSON" in contents(scrubbed)[0]
    assert scrubbed.input.variables["name"] == "Silver"


def test_a_correction_uses_the_names_of_its_interaction(detector: Detector) -> None:
    asked = talk("My name is Zbigniew Wolański", "thanks")
    said = scrub(detector, asked, feedback(value="Good day to you Zbigniew and goodbye"))
    mark = contents(scrub(detector, asked))[0].removeprefix("My name is ")
    assert said.value == f"Good day to you {mark} and goodbye"


def test_a_record_is_the_same_whatever_is_scrubbed_with_it(detector: Detector) -> None:
    items = [Item(talk("I am Anna Kowalska")), Item(talk("Anna called Tom Miller")), Item(interaction(), feedback())]
    together = scrub_records(items, detector, PRIVACY, key=KEY)
    assert together == [scrub_records([item], detector, PRIVACY, key=KEY)[0] for item in items]


def test_patterns_alone_leave_names() -> None:
    privacy = Privacy(entities=PATTERNS)
    asked = talk("My name is Anna Kowalska", MAIL, name="Anna Kowalska")
    first, second = contents(scrub(load_detector(privacy), asked, privacy=privacy))
    assert first == "My name is Anna Kowalska" and second.startswith("<EMAIL_")


def test_a_record_that_would_not_be_valid_is_none(detector: Detector) -> None:
    asked = Interaction.model_construct(**(interaction().__dict__ | {"tenant": "../x"}))
    assert scrub(detector, asked) is None


def test_of_two_names_that_share_a_part_the_earlier_has_it() -> None:
    names = Names()
    names.learn("Anna  Kowalska")
    names.learn("Anna Berg")
    assert [names.same_as(name) for name in ("anna", "berg", "tom", "anna berg")] == [
        "anna kowalska",
        "anna berg",
        "tom",
        "anna berg",
    ]
