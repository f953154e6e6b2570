"""tasks.scrub: no personal data is left in a record, and what belongs together keeps its pseudonym."""

from __future__ import annotations

from typing import Any

from ratchet.pii import pseudonym
from ratchet.records import Feedback, Interaction
from tasks.scrub import conversation_of, scrub_feedback, scrub_id, scrub_interaction

KEY = b"k" * 32
MAIL, PHONE = "ana@example.com", "+44 20 7946 0958"


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


def test_no_personal_data_is_left_anywhere_in_a_record() -> None:
    said = scrub_feedback(feedback(), key=KEY, conversation="s1")
    for record in (scrub_interaction(interaction(), key=KEY), said):
        assert MAIL not in record.model_dump_json() and PHONE not in record.model_dump_json()


def test_a_user_has_one_pseudonym_over_conversations_and_as_a_source() -> None:
    first, second = (scrub_interaction(interaction(session_id=s), key=KEY) for s in ("s1", "s2"))
    said = scrub_feedback(feedback(source={"type": "user", "id": MAIL}), key=KEY, conversation="s1")
    assert first.user_id == second.user_id == said.source.id == pseudonym(MAIL, key=KEY, kind="user")
    assert first.session_id != second.session_id


def test_question_answer_and_correction_of_a_conversation_share_pseudonyms() -> None:
    asked = interaction()
    said = scrub_feedback(feedback(value=f"Hello {MAIL}"), key=KEY, conversation=conversation_of(asked))
    assert said.value == scrub_interaction(asked, key=KEY).output.content


def test_labels_thumbs_numbers_and_release_stay_as_they_are() -> None:
    assert scrub_feedback(feedback(value="card_lost_stolen"), key=KEY, conversation="s1").value == "card_lost_stolen"
    assert scrub_feedback(feedback(kind="thumb", value=True), key=KEY, conversation="s1").value is True
    asked = interaction(release_id="rel_" + "4111111111111111" * 4, propensity=0.5, latency_ms=12.5)
    scrubbed = scrub_interaction(asked, key=KEY)
    assert (scrubbed.release_id, scrubbed.propensity, scrubbed.latency_ms) == (asked.release_id, 0.5, 12.5)


def test_an_id_that_is_an_address_is_replaced_in_both_records() -> None:
    asked = scrub_interaction(interaction(interaction_id=MAIL), key=KEY)
    said = scrub_feedback(feedback(interaction_id=MAIL), key=KEY, conversation="s1")
    assert asked.interaction_id == said.interaction_id == scrub_id(MAIL, key=KEY)
    assert scrub_id("chatcmpl-1f3a", key=KEY) == "chatcmpl-1f3a"


def test_without_user_and_session_nothing_is_made_up() -> None:
    scrubbed = scrub_interaction(interaction(user_id=None, session_id=None), key=KEY)
    assert (scrubbed.user_id, scrubbed.session_id) == (None, None)
