import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ratchet.features import Feature
from ratchet.records import Feedback, Interaction, Source
from ratchet.settings import Settings
from ratchet.store import Store
from ratchet.verdicts import FeedbackBook, to_value
from tests.routing_clone import feature_fields, target
from tests.tasks.batch import Batch

NOW = datetime(2026, 1, 5, tzinfo=UTC)
FEATURE = Feature.model_validate(feature_fields())
ASKED = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def book(settings: Settings, store: Store) -> FeedbackBook:
    asked = Interaction(
        interaction_id="i1", feature="routing", at=NOW, input=ASKED, output={"content": target("cards")}
    )
    store.add_interactions([asked])
    return FeedbackBook(store, FEATURE)


def said(store: Store) -> list[Feedback]:
    return [record for _, _, record in store.feedback("routing")]


def test_decision_is_feedback_of_an_agent_with_a_bare_label(book: FeedbackBook, store: Store) -> None:
    assert book.decide_on("i1", "ana", target("loans"), NOW)
    stored = said(store)[0]
    assert (stored.kind, stored.value, stored.source, stored.at) == (
        "correction",
        "loans",
        Source(type="agent", id="ana"),
        NOW,
    )


def test_same_word_again_adds_nothing_also_after_a_restart(book: FeedbackBook, store: Store) -> None:
    book.decide_on("i1", "ana", target("loans"), NOW)
    assert not book.decide_on("i1", "ana", target("loans"), NOW)
    again = FeedbackBook(store, FEATURE)
    again.refresh()
    assert not again.decide_on("i1", "ana", target("loans"), NOW + timedelta(days=1))
    assert len(said(store)) == 1


def test_two_windows_that_say_the_same_at_once_store_it_once(book: FeedbackBook, store: Store) -> None:
    other = FeedbackBook(store, FEATURE)
    assert [b.decide_on("i1", "ana", target("loans"), NOW) for b in (book, other)] == [True, False]


@pytest.mark.parametrize("step_s", [60, 0, -3600])  # also where the clock stands still or is set back
def test_last_of_a_changed_mind_counts_whatever_the_clock_says(book: FeedbackBook, store: Store, step_s: int) -> None:
    for n, label in enumerate(["loans", "cards", "loans"]):
        assert book.decide_on("i1", "ana", target(label), NOW + n * timedelta(seconds=step_s))
    assert [one.value for one in sorted(said(store), key=lambda one: one.at)] == ["loans", "cards", "loans"]
    assert len({one.at for one in said(store)}) == 3 and [d.target for d in book.decisions("i1")] == [target("loans")]


def test_curate_makes_the_example_that_the_reviewer_decided_last(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    batch = Batch(tmp_path)
    batch.correct(8)
    doubted = batch.ask("which of the two is it", "cards")
    batch.say(doubted, "thumb", False, by="user:u")
    store.add_interactions([Interaction.model_validate(row) for row in batch.interactions])
    book = FeedbackBook(store, FEATURE)
    for n, label in enumerate(["loans", "cards", "loans"]):
        book.decide_on(doubted, "ana", target(label), NOW + timedelta(hours=8, seconds=n))
    batch.feedback += [one.model_dump(mode="json") for one in said(store)]
    batch.run()
    assert [row["label"] for row in batch.examples() if row["interaction_id"] == doubted] == ["loans"]


def test_other_feedback_of_agents_is_no_decision(book: FeedbackBook, store: Store) -> None:
    source = Source(type="agent", id="ana")
    store.add_feedback(
        [Feedback(feedback_id="x", interaction_id="i1", at=NOW, kind="correction", value="loans", source=source)]
    )
    book.refresh()
    assert book.decisions("i1") == [] and book.of("ana") == []


def test_decision_whose_label_left_the_schema_is_open_again(book: FeedbackBook, store: Store) -> None:
    book.decide_on("i1", "ana", target("loans"), NOW)
    narrower = {"type": "object", "properties": {"route": {"type": "string", "enum": ["cards", "boats"]}}}
    later = FeedbackBook(store, Feature.model_validate(feature_fields(output_schema=narrower)))
    later.refresh()
    assert later.decisions("i1") == []


def test_value_says_no_more_than_it_must() -> None:
    schema = {"type": "object", "properties": {"route": {"enum": ["cards"]}, "why": {"type": "string"}}}
    wide = Feature.model_validate(feature_fields(output_schema=schema))
    both = json.dumps({"route": "cards", "why": "lost"})
    assert to_value(FEATURE, target("cards")) == "cards" == to_value(wide, target("cards"))
    assert to_value(wide, both) == {"route": "cards", "why": "lost"} and wide.wrap_target(to_value(wide, both)) == both
    assert to_value(Feature.model_validate(feature_fields(output_schema=None)), '{"a": 1}') == '{"a": 1}'
