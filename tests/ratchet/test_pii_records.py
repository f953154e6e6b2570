"""ratchet.pii_records: texts are changed wherever a person may have written them, ids and numbers are not."""

from __future__ import annotations

from ratchet.features import Privacy
from ratchet.pii_records import COMMENT_CHARS, rewrite_texts, scrub_before_storage
from ratchet.records import Feedback, Interaction

KEY = b"k" * 32
MAIL = "ana@example.com"
ASKED = Interaction.model_validate(
    {
        "interaction_id": "i1",
        "feature": "routing",
        "user_id": MAIL,
        "session_id": "s1",
        "at": "2026-01-05T10:00:00Z",
        "input": {"messages": [{"role": "user", "content": MAIL}], "variables": {MAIL: [MAIL]}},
        "output": {"content": MAIL, "tool_calls": [{"to": MAIL}]},
        "contexts": [{"id": "c", "text": MAIL}],
        "note": MAIL,
        "release_id": "rel_1",
    }
)
SAID = Feedback.model_validate(
    {
        "feedback_id": "f1",
        "interaction_id": "i1",
        "at": "2026-01-05T10:00:00Z",
        "kind": "comment",
        "value": MAIL,
        "source": {"type": "user", "id": MAIL},
        "comment": MAIL,
    }
)


def test_before_storage_texts_are_scrubbed_and_ids_stay() -> None:
    stored = scrub_before_storage(ASKED, Privacy(), key=KEY, conversation="s1")
    assert (stored.user_id, stored.session_id, stored.interaction_id) == (MAIL, "s1", "i1")
    assert MAIL not in stored.model_copy(update={"user_id": None}).model_dump_json()
    assert scrub_before_storage(stored, Privacy(), key=KEY, conversation="s1") == stored


def test_before_storage_feedback_shares_its_interactions_pseudonyms() -> None:
    asked = scrub_before_storage(ASKED, Privacy(), key=KEY, conversation="s1")
    said = scrub_before_storage(SAID, Privacy(), key=KEY, conversation="s1")
    assert said.value == said.comment == asked.output.content
    assert said.source.id == MAIL


def test_what_is_allowed_or_not_selected_is_stored_as_it_came() -> None:
    for privacy in (Privacy(allow=(MAIL,)), Privacy(entities=("PHONE",))):
        assert scrub_before_storage(ASKED, privacy, key=KEY, conversation="s1") == ASKED


def test_a_comment_that_grows_beyond_its_limit_is_cut_and_not_lost() -> None:
    row = {"comment": "a@b.co " * (COMMENT_CHARS // 7)}
    changed = rewrite_texts(row, lambda text: text.replace("a@b.co", "<EMAIL_0000>"))
    assert len(changed["comment"]) == COMMENT_CHARS
