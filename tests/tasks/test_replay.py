from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.limits import Limits
from ratchet.errors import BadInput, BadRecord, ServiceUnreachable
from ratchet.features import Feature, ScorerSpec
from ratchet.keys import Keys
from ratchet.params import ReplayParams
from ratchet.records import Feedback
from ratchet.store import open_store
from tasks.replay import ReplayMessage, ReplayReport, load_messages, replay
from tests.gateway.conftest import SCHEMA, Gateway, Serving, Shop, label_of_question
from tests.gateway.fake_model_server import FakeModelServer

FEATURE = Feature(name="routing", intent="route", owners=("a",), scorer="label_accuracy", output_schema=SCHEMA)
ALWAYS = ReplayParams(
    thumb_rate=1, correction_rate=1, rephrase_rate=1, noise=0, thumb_threshold=0.35, concurrency=4, seed=17
)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with FakeModelServer(label_of_question) as fake, Serving(Shop(tmp_path, fake), Limits()) as running:
        yield running


def message(number: int, text: str, expected: str, *, session: str | None = None) -> ReplayMessage:
    return ReplayMessage(text=text, expected=expected, session=session or f"s{number}", user=f"u{number}")


def play(gateway: Gateway, messages: list[ReplayMessage], feature: Feature = FEATURE, **rates: Any) -> ReplayReport:
    changed = ALWAYS.model_copy(update=rates)
    return asyncio.run(
        replay(messages, feature=feature, gateway_url=gateway.url, rates=changed, on_progress=lambda: None)
    )


def said(gateway: Gateway) -> set[tuple[str, Any, str]]:
    return {(f.kind, f.value, f.source.type) for f in gateway.shop.feedback()}


def spoken(feedback: list[Feedback]) -> list[tuple[str, str, str]]:
    return sorted((f.kind, str(f.value), f.source.id) for f in feedback)


def test_a_right_answer_gets_a_thumb_and_no_correction(gateway: Gateway) -> None:
    report = play(gateway, [message(1, "my card is lost", "cards")])
    assert (report.sent, report.failed, report.corrections, report.rephrases) == (1, 0, 0, 0)
    assert ("thumb", True, "user") in said(gateway)


def test_a_wrong_answer_gets_thumb_down_a_correction_and_is_asked_again(gateway: Gateway) -> None:
    report = play(gateway, [message(1, "my card is lost", "loans")])
    assert (report.thumbs, report.corrections, report.rephrases) == (1, 1, 1)
    assert said(gateway) == {("thumb", False, "user"), ("correction", "loans", "agent")}
    asked = [(i.session_id, i.user_id, i.input.messages[0].content) for i in gateway.shop.interactions()]
    assert asked == [("s1", "u1", "my card is lost"), ("s1", "u1", "my card is lost (asked again)")]


def test_noise_turns_every_thumb_and_draws_any_label(gateway: Gateway) -> None:
    play(gateway, [message(i, "my card is lost", "cards") for i in range(5)], noise=1, correction_rate=0)
    assert said(gateway) == {("thumb", False, "user")}


def test_without_rates_nothing_is_said(gateway: Gateway) -> None:
    report = play(gateway, [message(1, "my card", "loans")], thumb_rate=0, correction_rate=0, rephrase_rate=0)
    assert (report.sent, gateway.shop.feedback()) == (1, [])


def test_turns_of_a_session_are_sent_in_order(gateway: Gateway) -> None:
    play(gateway, [message(i, f"card {i}", "cards", session="one") for i in range(6)])
    assert [i.input.messages[0].content for i in gateway.shop.interactions()] == [f"card {i}" for i in range(6)]


def test_a_replay_says_the_same_each_time(gateway: Gateway) -> None:
    messages = [message(i, f"card {i}", ("cards", "loans")[i % 2]) for i in range(20)]
    play(gateway, messages, thumb_rate=0.5, correction_rate=0.5, noise=0.2)
    once = spoken(gateway.shop.feedback())
    play(gateway, messages, thumb_rate=0.5, correction_rate=0.5, noise=0.2)
    assert spoken(gateway.shop.feedback()) == sorted(once * 2)


def test_a_free_text_is_thumbed_by_its_words_and_never_corrected(gateway: Gateway) -> None:
    free = FEATURE.model_copy(update={"scorer": ScorerSpec(name="token_f1"), "output_schema": None})
    play(gateway, [message(1, "my card", "route cards"), message(2, "my card", "something else")], free)
    assert said(gateway) == {("thumb", True, "user"), ("thumb", False, "user")}


def test_a_dead_gateway_is_told_of_with_what_to_start() -> None:
    with pytest.raises(ServiceUnreachable, match="start it with"):
        play(Gateway("http://127.0.0.1:9", None), [message(1, "x", "cards")])  # type: ignore[arg-type]


def test_messages_are_read_with_label_or_expected(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": "cards"}, {"text": "b", "expected": "x", "session": "s", "user": "u", "article": 1}]
    path = tmp_path / "m.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [(m.text, m.expected) for m in load_messages(path)] == [("a", "cards"), ("b", "x")]
    assert (load_messages(path)[1].session, load_messages(path)[1].user) == ("s", "u")


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"text": "a", "label": "x"}\n{"text": "b"}\n')
    with pytest.raises(BadRecord, match=r"m\.jsonl:2"):
        load_messages(path)
    with pytest.raises(BadInput, match="no such file"):
        load_messages(tmp_path / "other")


def test_a_gateway_that_asks_for_keys_is_given_one(tmp_path: Path) -> None:
    with FakeModelServer(label_of_question) as fake:
        shop = Shop(tmp_path, fake)
        shop.settings = dataclasses.replace(shop.settings, keys_are_required=True)
        with open_store(shop.settings.database_url) as store:
            key = Keys(store.engine).add("replay", role="admin", tenant="*", at=datetime.now(UTC))
        with Serving(shop, Limits()) as running:
            told = {"feature": FEATURE, "gateway_url": running.url, "rates": ALWAYS, "on_progress": lambda: None}
            asked = [message(1, "my card is lost", "loans")]
            assert asyncio.run(replay(asked, gateway_key=key.token, **told)).corrections == 1
            assert asyncio.run(replay(asked, **told)).failed == 1
