import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sklearn.metrics import cohen_kappa_score

from ratchet.blind import LabelBook, cohens_kappa
from ratchet.features import Feature
from ratchet.records import read_holdout
from ratchet.review import Item, read_items
from ratchet.store import Store
from tests.routing_clone import feature_fields, target

NOW = datetime(2026, 1, 5, tzinfo=UTC)
FEATURE = Feature.model_validate(feature_fields())
TEXT = Feature.model_validate(feature_fields(output_schema=None, scorer="token_f1"))
ITEMS = [
    Item.model_validate({"item_id": f"b{n}", "messages": [{"role": "user", "content": f"q{n}"}]}) for n in range(6)
]


@pytest.fixture
def book(store: Store) -> LabelBook:
    return LabelBook(store, FEATURE)


def label(book: LabelBook, labels: str, who: str) -> None:
    """Label the first items, c for cards and l for loans; a dash leaves one out."""
    for item, letter in zip(ITEMS, labels, strict=False):
        if letter != "-":
            book.decide(item, who, target({"c": "cards", "l": "loans"}[letter]), NOW)


def test_kappa_is_that_of_scikit_learn_and_of_a_worked_table() -> None:
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    assert cohens_kappa(pairs) == pytest.approx(0.4)  # .7 observed, .5 by chance
    firsts, seconds = zip(*pairs, strict=True)
    assert cohens_kappa(pairs) == pytest.approx(cohen_kappa_score(firsts, seconds))
    assert cohens_kappa([("a", "b"), ("b", "a")]) == pytest.approx(-1)


def test_kappa_of_nothing_or_of_one_label_is_not_defined() -> None:
    assert cohens_kappa([]) is None and cohens_kappa([("a", "a")] * 3) is None


def test_agreement_is_over_the_items_that_both_labelled(book: LabelBook) -> None:
    label(book, "cclc--", "ana"), label(book, "ccll", "ben"), label(book, "----c", "eve")
    (found,) = book.agreements(ITEMS)
    assert (found.reviewers, found.items, found.share) == (("ana", "ben"), 4, 0.75)
    assert found.kappa == pytest.approx(0.5)


def test_labels_make_a_holdout_file_without_what_is_in_dispute(book: LabelBook, tmp_path: Path) -> None:
    label(book, "ccl", "ana"), label(book, "clc", "ben"), label(book, "-l-", "eve")
    written = book.write(tmp_path / "out.jsonl", ITEMS)
    items = read_holdout(tmp_path / "out.jsonl", FEATURE)
    assert [(i.messages[0].content, i.expected) for i in items] == [("q0", target("cards")), ("q1", target("loans"))]
    assert written.disputed == 1


def test_a_label_keeps_the_origin_of_its_item_out_of_the_reviewers_sight(store: Store, tmp_path: Path) -> None:
    line = {"item_id": "b", "messages": [{"role": "user", "content": "q"}], "session": "s1", "tenant": "acme"}
    (tmp_path / "blind.jsonl").write_text(json.dumps(line | {"at": "2026-01-05T00:00:00Z", "output": "an answer"}))
    (item,) = read_items(tmp_path / "blind.jsonl", is_blind=True).items
    book = LabelBook(store, FEATURE)
    book.decide(item, "ana", target("cards"), NOW)
    book.write(tmp_path / "out.jsonl", [item])
    (kept,) = read_holdout(tmp_path / "out.jsonl", FEATURE)
    assert (kept.session, kept.tenant, kept.at, item.output) == ("s1", "acme", NOW, None)


def test_nothing_labelled_writes_nothing(book: LabelBook, tmp_path: Path) -> None:
    assert book.write(tmp_path / "out.jsonl", ITEMS).rows == [] and not (tmp_path / "out.jsonl").exists()


def test_last_text_counts_where_two_people_write_and_no_agreement_is_claimed(store: Store) -> None:
    book = LabelBook(store, TEXT)
    book.decide(ITEMS[0], "ben", "five pounds", NOW + timedelta(seconds=1))
    book.decide(ITEMS[0], "ana", "it is five", NOW)
    assert [row["expected"] for row in book.labelled(ITEMS).rows] == ["five pounds"] and book.agreements(ITEMS) == []


def test_label_may_be_changed_and_survives_a_restart(book: LabelBook, store: Store) -> None:
    label(book, "c", "ana"), label(book, "l", "ana")
    assert not book.decide(ITEMS[0], "ana", target("loans"), NOW)
    again = LabelBook(store, FEATURE)
    again.refresh()
    assert [d.target for d in again.decisions(ITEMS[0].key)] == [target("loans")]


def test_contexts_and_variables_go_with_the_item(store: Store, tmp_path: Path) -> None:
    asked = {"item_id": "b", "messages": [{"role": "user", "content": "q"}], "contexts": [{"id": "a", "text": "t"}]}
    item = Item.model_validate(asked | {"variables": {"n": 1}})
    book = LabelBook(store, TEXT)
    book.decide(item, "ana", "yes", NOW)
    book.write(tmp_path / "o.jsonl", [item])
    (read,) = read_holdout(tmp_path / "o.jsonl", TEXT)
    assert (read.contexts[0].text, read.variables) == ("t", {"n": 1})
    assert set(json.loads((tmp_path / "o.jsonl").read_text())) == {"messages", "contexts", "variables", "expected"}
