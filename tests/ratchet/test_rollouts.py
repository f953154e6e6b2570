"""ratchet.rollouts: who counts once and how, what a tick decides, and how often it errs (seeded simulations)."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from ratchet.channels import Canary, ChannelState, Move
from ratchet.features import RolloutPolicy
from ratchet.records import Feedback, Input, Interaction, Message, Output, Source
from ratchet.rollouts import (
    Rollout,
    TickDecision,
    UserOutcome,
    catch_up,
    decide_tick,
    earlier_stable,
    event_of,
    is_negative,
    paired_differences,
    user_outcomes,
)

START = datetime(2026, 1, 2, tzinfo=UTC)
POLICY = RolloutPolicy(steps=(0.2, 0.5), alpha=0.05, margin=0.05, outcome_window_s=60, min_users=5)


def rollout(**changes: Any) -> Rollout:
    fields = {"rollout_id": "ro_1", "feature": "f", "champion_id": "old", "candidate_id": "new", "salt": "s"}
    moments = {"started_at": START, "step_started_at": START}
    return Rollout.model_validate({**fields, **moments, "policy": POLICY, "channel_version": 2, **changes})


def answer(number: int, user: str, at_s: float = 1, release: str = "old", **changes: Any) -> Interaction:
    asked = Input(messages=(Message(role="user", content="x"),))
    fields = {"interaction_id": f"i{number}", "feature": "f", "user_id": user, "at": START + timedelta(seconds=at_s)}
    return Interaction(**{**fields, "input": asked, "output": Output(content="y"), "release_id": release, **changes})


def complaint(about: int, at_s: float, kind: str = "thumb", value: Any = False) -> Feedback:
    fields = {"feedback_id": f"f{about}-{at_s}", "interaction_id": f"i{about}", "at": START + timedelta(seconds=at_s)}
    return Feedback(**{**fields, "kind": kind, "value": value, "source": Source(type="agent", id="a")})


def outcomes(answers: list[Interaction], said: list[Feedback], now_s: float = 100) -> list[tuple[str, str, bool]]:
    found = user_outcomes(rollout(), answers, said, now=START + timedelta(seconds=now_s))
    return [(o.user_id, o.channel, o.is_good) for o in found]


def test_silence_is_a_good_outcome_and_a_complaint_a_bad_one() -> None:
    answers = [answer(1, "ana", 1, "new"), answer(2, "bob", 2)]
    assert outcomes(answers, [complaint(2, 30)]) == [("ana", "canary", True), ("bob", "stable", False)]


def test_a_user_whose_window_is_open_is_not_counted_yet() -> None:
    answers = [answer(1, "ana", 1), answer(2, "bob", 50)]
    assert outcomes(answers, [], now_s=61) == []
    assert outcomes(answers, [], now_s=62) == [("ana", "stable", True)]


def test_a_user_counts_once_and_for_the_channel_met_first() -> None:
    answers = [answer(2, "ana", 9, "new"), answer(1, "ana", 3, "old")]
    assert outcomes(answers, [complaint(2, 20)]) == [("ana", "stable", False)]


def test_feedback_after_the_window_never_changes_an_outcome() -> None:
    decided = outcomes([answer(1, "ana", 1)], [complaint(1, 61)], now_s=62)
    late = outcomes([answer(1, "ana", 1), answer(2, "ana", 70)], [complaint(1, 61.5), complaint(2, 71)], now_s=900)
    assert decided == [("ana", "stable", False)] and late == [("ana", "stable", True)]


def test_what_is_no_evidence_is_left_out() -> None:
    answers = [
        answer(1, "before", -1),
        answer(2, "fallback", fallback=True),
        answer(3, "another", release="third"),
        answer(4, "nobody", user_id=None),
    ]
    assert outcomes(answers, [complaint(9, 10)]) == []


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
    assert is_negative(complaint(1, 1, kind, value)) is bad


def users(pattern: str) -> list[UserOutcome]:
    """`C`/`c` a good/bad canary user, `S`/`s` a good/bad stable user, one a second."""
    window = timedelta(seconds=POLICY.outcome_window_s)
    return [
        UserOutcome(
            f"u{i}", "canary" if sign in "Cc" else "stable", START + window + timedelta(seconds=i), sign in "CS"
        )
        for i, sign in enumerate(pattern)
    ]


@pytest.mark.parametrize(
    ("pattern", "differences"),
    [("SsC", [0.5]), ("CS", [0.0]), ("CcSs", [0.0, 0.0]), ("CC", []), ("SCsC", [0.0, 1.0]), ("SSSc", [-1.0])],
)
def test_a_canary_user_is_paired_with_the_control_since_the_last_pairing(
    pattern: str, differences: list[float]
) -> None:
    assert paired_differences(users(pattern)) == differences


def decide(pattern: str, **changes: Any) -> TickDecision:
    return decide_tick(rollout(**changes), users(pattern))


def test_too_few_canary_users_hold_and_say_how_many_are_missing() -> None:
    found = decide("SC" * 3)
    assert found.action == "hold" and "2 more canary users are needed at 20%" in found.reasons[0]


def test_enough_users_without_an_alarm_advance_a_step() -> None:
    assert decide("SC" * 5).action == "advance"


def test_only_users_met_in_the_step_count_for_the_step() -> None:
    later = {"step": 1, "step_started_at": START + timedelta(seconds=115)}
    assert decide("sC" * 60, **later).action == "hold"
    assert decide("sC" * 60, step=1).action == "promote"


def test_the_last_step_waits_for_proof_and_says_about_how_much() -> None:
    found = decide("SCsC" * 5, step=1)
    assert found.action == "hold" and "more canary users would prove it" in found.reasons[0]


def test_a_canary_that_is_worse_rolls_back_at_any_step_and_before_min_users() -> None:
    assert decide("Sc" * 12, policy=POLICY.model_copy(update={"min_users": 500})).action == "rollback"


def test_an_alarm_stays_an_alarm() -> None:
    assert decide("Sc" * 12 + "sC" * 40, step=1).action == "rollback"


def test_the_evidence_shows_both_rates_with_intervals() -> None:
    found = decide("SCSc").evidence
    assert (found["canary"]["good"], found["canary"]["users"], found["stable"]["rate"]) == (1, 2, 1.0)
    assert 0 < found["canary"]["low"] < 0.5 < found["canary"]["high"] < 1 and found["pairs"] == 2


def stream(rng: np.random.Generator, drop: float, n: int = 300) -> list[UserOutcome]:
    is_canary = rng.random(n) < np.where(np.arange(n) < n // 3, 0.2, 0.5)
    good = rng.random(n) < np.where(is_canary, 0.8 - drop, 0.8)
    return users("".join(("cC" if c else "sS")[int(g)] for c, g in zip(is_canary, good, strict=True)))


def test_equal_releases_are_seldom_rolled_back() -> None:
    rng = np.random.default_rng(3)
    backs = sum(decide_tick(rollout(), stream(rng, 0.0)).action == "rollback" for _ in range(400))
    assert backs / 400 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 400)


def test_a_canary_at_the_margin_is_seldom_promoted() -> None:
    rng = np.random.default_rng(4)
    promoted = sum(decide_tick(rollout(step=1), stream(rng, 0.05)).action == "promote" for _ in range(400))
    assert promoted / 400 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 400)


def test_a_canary_20_points_worse_is_caught() -> None:
    rng = np.random.default_rng(5)
    caught = sum(decide_tick(rollout(), stream(rng, 0.2, 600)).action == "rollback" for _ in range(50))
    assert caught >= 48


CANARY = Canary(release_id="new", share=0.5, salt="s", rollout_id="ro_1")


@pytest.mark.parametrize(
    ("channel", "state", "step"),
    [
        (ChannelState(stable="old", canary=CANARY, version=3), "running", 1),
        (ChannelState(stable="new", version=3), "promoted", 0),
        (ChannelState(stable="old", version=3), "rolled_back", 0),
        (ChannelState(stable="third", version=4), "rolled_back", 0),
    ],
)
def test_a_record_catches_up_with_its_channel(channel: ChannelState, state: str, step: int) -> None:
    found = catch_up(rollout(), channel, at=START, why="because")
    assert (found.state, found.step, found.channel_version) == (state, step, channel.version)
    assert found.log == ("2026-01-02T00:00:00+00:00 because",)
    assert catch_up(found, channel, at=START, why="again") == found


def test_a_rollout_that_waits_is_not_ended_by_the_moves_of_others() -> None:
    waiting = rollout(channel_version=None)
    assert catch_up(waiting, ChannelState(stable="old", version=9), at=START, why="") == waiting


def test_a_placed_rollout_takes_champion_and_clock_from_the_channel() -> None:
    state = ChannelState(stable="third", canary=CANARY.model_copy(update={"share": 0.2}), version=9)
    found = catch_up(rollout(channel_version=None), state, at=START + timedelta(hours=1), why="")
    assert found.champion_id == "third" and found.started_at == START + timedelta(hours=1)


def moves(*stables: str) -> list[Move]:
    return [Move(i, stable, None, "by", "why", START.isoformat()) for i, stable in enumerate(stables)]


@pytest.mark.parametrize(
    ("stables", "earlier"),
    [("A", None), ("AAB", "A"), ("ABC", "B"), ("ABA", None), ("ABCB", "A"), ("ABAC", "A")],
)
def test_going_back_never_leads_to_what_was_taken_back(stables: str, earlier: str | None) -> None:
    assert earlier_stable(moves(*stables)) == earlier


def test_moves_are_named_for_the_ledger() -> None:
    stable, canary, promoted = (
        Move(1, "A", None, "", "", ""),
        Move(2, "A", "B", "", "", ""),
        Move(3, "B", None, "", "", ""),
    )
    assert event_of(stable, canary) == ("canary", "B") and event_of(canary, promoted) == ("promote", "B")
    assert event_of(canary, stable) == ("rollback", "B") and event_of(promoted, stable) == ("rollback", "B")
