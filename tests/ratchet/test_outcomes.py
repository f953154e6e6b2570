"""ratchet.outcomes: who counts once and how, and what a record of an answer says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ratchet.evidence import UserOutcome
from ratchet.outcomes import answer_signals, canary_draw, is_negative, user_outcomes
from ratchet.records import Feedback, Input, Interaction, Message, Output, Source, Usage

START = datetime(2026, 1, 2, tzinfo=UTC)
SCHEMA = {"type": "object", "required": ["route"]}


def answer(number: int, user: str | None, at_s: float = 1, release: str = "old", **changes: Any) -> Interaction:
    asked = Input(messages=(Message(role="user", content="x"),))
    fields = {"interaction_id": f"i{number}", "feature": "f", "user_id": user, "at": START + timedelta(seconds=at_s)}
    return Interaction(**{**fields, "input": asked, "output": Output(content="y"), "release_id": release, **changes})


def said(about: int, at_s: float, kind: str = "thumb", value: Any = False) -> Feedback:
    fields = {"feedback_id": f"f{about}-{at_s}", "interaction_id": f"i{about}", "at": START + timedelta(seconds=at_s)}
    return Feedback(**{**fields, "kind": kind, "value": value, "source": Source(type="user", id="a")})


def outcomes(answers: list[Interaction], feedback: list[Feedback], now_s: float = 100) -> list[UserOutcome]:
    return user_outcomes(
        answers,
        feedback,
        channel="f",
        drawn=canary_draw("old", "new"),
        window=timedelta(seconds=60),
        since=START,
        now=START + timedelta(seconds=now_s),
    )


def told(answers: list[Interaction], feedback: list[Feedback], now_s: float = 100) -> list[tuple[str, str, float]]:
    return [(o.user_id, o.channel, o.shares["complaint"]) for o in outcomes(answers, feedback, now_s)]


def test_silence_is_no_complaint_once_somebody_has_spoken() -> None:
    answers = [answer(1, "ana", 1, "new"), answer(2, "bob", 2)]
    assert told(answers, [said(2, 30)]) == [("ana", "canary", 0.0), ("bob", "stable", 1.0)]
    assert all("complaint" not in o.shares for o in outcomes(answers, []))


def test_praise_and_response_are_missing_while_nobody_praised() -> None:
    answers = [answer(1, "ana", 1), answer(2, "bob", 2)]
    assert "response" not in outcomes(answers, [said(1, 3)])[0].shares
    found = outcomes(answers, [said(1, 3), said(2, 4, value=True)])
    assert [(o.shares["praise"], o.shares["response"]) for o in found] == [(0.0, 1.0), (1.0, 1.0)]


def test_a_user_whose_window_is_open_is_not_counted_yet() -> None:
    answers = [answer(1, "ana", 1), answer(2, "bob", 50)]
    assert outcomes(answers, [], now_s=61) == []
    assert [o.user_id for o in outcomes(answers, [], now_s=62)] == ["ana"]


def test_a_user_counts_once_and_for_the_channel_drawn_first() -> None:
    answers = [answer(2, "ana", 9, "new"), answer(1, "ana", 3, "old")]
    assert told(answers, [said(2, 20)]) == [("ana", "stable", 0.5)]


def test_feedback_after_the_window_never_changes_an_outcome() -> None:
    decided = told([answer(1, "ana", 1)], [said(1, 61)], now_s=62)
    more = [answer(1, "ana", 1), answer(2, "ana", 70), answer(3, "bob", 1)]
    late = told(more, [said(1, 61.5), said(2, 71), said(3, 5)], now_s=900)
    assert decided == [("ana", "stable", 1.0)] and late[0] == ("ana", "stable", 0.0)


def test_a_fallback_counts_for_what_was_drawn_and_as_nothing_but_a_fallback() -> None:
    fell = answer(1, "ana", 1, "old", fallback=True, attributes={"assigned_release_id": "new"})
    found = outcomes([fell, answer(2, "ana", 5, "new")], [said(1, 6), said(2, 7, value=True)])
    assert (found[0].channel, found[0].shares["fallback"], found[0].shares["complaint"]) == ("canary", 0.5, 0.0)


def test_who_was_not_drawn_is_left_out() -> None:
    answers = [
        answer(1, "before", -1),
        answer(2, "pinned", propensity=1.0),
        answer(3, "another", release="third"),
        answer(4, None),
    ]
    assert outcomes(answers, []) == []


def test_the_chance_of_the_canary_is_kept() -> None:
    found = outcomes([answer(1, "ana", 1, "new", propensity=0.2), answer(2, "bob", 2, propensity=0.8)], [])
    assert [o.chance for o in found] == pytest.approx([0.2, 0.2])


def test_numbers_are_medians_over_the_users_answers() -> None:
    answers = [answer(n, "ana", n, latency_ms=ms) for n, ms in enumerate((100.0, 9000.0, 120.0), 1)]
    assert outcomes(answers, [])[0].numbers["latency_ms"] == 120.0


@pytest.mark.parametrize(
    ("changes", "signal", "value"),
    [
        ({"finish_reason": "content_filter"}, "refusal", True),
        ({"output": Output(content="Sorry, I cannot help with that.")}, "refusal", True),
        ({"finish_reason": "error"}, "error", True),
        ({"finish_reason": "stop"}, "error", False),
        ({"output": Output(content="{}")}, "malformed", True),
        ({"output": Output(content='{"route": "a"}')}, "malformed", False),
        ({"attributes": {"unsafe": True}}, "unsafe", True),
        ({"usage": Usage(output_tokens=7)}, "length", 7.0),
        ({"cost_usd": 0.5}, "cost_usd", 0.5),
    ],
)
def test_what_a_record_says(changes: dict[str, Any], signal: str, value: Any) -> None:
    assert answer_signals(answer(1, "ana", **changes), SCHEMA)[signal] == value


def test_what_a_record_does_not_tell_is_missing() -> None:
    found = answer_signals(answer(1, "ana"), None)
    assert not {"latency_ms", "cost_usd", "unsafe", "malformed"} & set(found)


@pytest.mark.parametrize(
    ("kind", "value", "bad"),
    [
        ("thumb", False, True),
        ("thumb", True, False),
        ("rating", 0.4, True),
        ("rating", 0.5, False),
        ("correction", "other", True),
        ("rephrase", True, True),
        ("rephrase", 0.2, False),
        ("escalation", True, True),
        ("accept", False, True),
        ("comment", "hm", False),
    ],
)
def test_what_says_that_an_answer_was_wrong(kind: str, value: Any, bad: bool) -> None:
    assert is_negative(kind, value) is bad
