"""tasks.slices: what was asked decides the slice, and what all items share is none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ratchet.records import HoldoutItem, Message
from tasks.slices import by_kind, slices_of

NOW = datetime(2026, 1, 5, tzinfo=UTC)


def item(number: int, text: str = "where is my card, please tell me", **origin: str) -> HoldoutItem:
    asked = (Message(role="user", content=text),)
    return replace(HoldoutItem(f"i{number}", asked, {}, (), "cards"), at=NOW + timedelta(days=number), **origin)  # type: ignore[arg-type]


def test_each_item_is_in_one_slice_of_every_kind_that_varies() -> None:
    words = ["why", "why is it", "why is it so late here"]
    items = [item(i, words[i % 3], tenant=("acme", "bolt")[i % 2], segment="gold") for i in range(6)]
    found = slices_of(items)
    assert [row["length"] for row in found] == ["short", "middling", "long"] * 2
    assert [row["time"] for row in found] == ["earlier"] * 3 + ["later"] * 3
    assert [row["tenant"] for row in found] == ["acme", "bolt"] * 3 and "segment" not in found[0]


def test_languages_are_told_apart_where_the_text_is_long_enough() -> None:
    texts = ["where is my new card, it has not arrived yet", "wo ist meine neue Karte, sie ist noch nicht da", "eh"]
    assert [row["language"] for row in slices_of([item(i, t) for i, t in enumerate(texts)])] == ["en", "de", "short"]


def test_alike_items_and_no_items_have_no_slices() -> None:
    assert slices_of([replace(item(0), at=None), replace(item(1), at=None)]) == [{}, {}] and slices_of([]) == []


def test_rows_are_repeated_by_kind_and_what_an_item_lacks_is_no_slice() -> None:
    rows = [{"item_id": "a", "slice": "cards", "slices": {"tenant": "acme"}}, {"item_id": "b", "slice": "loans"}]
    assert [row["slice"] for row in by_kind(rows)["tenant"]] == ["acme", None] and set(by_kind(rows)) == {"tenant"}
