"""ratchet.rollouts: what a tick decides, and how a record follows its channel."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ratchet.channels import Canary, ChannelState, Move
from ratchet.evidence import UserOutcome
from ratchet.rollout_policy import RolloutPolicy
from ratchet.rollouts import (
    Rollout,
    TickDecision,
    catch_up,
    decide_tick,
    earlier_stable,
    event_of,
)

START = datetime(2026, 1, 2, tzinfo=UTC)
POLICY = RolloutPolicy(steps=(0.2, 0.5), alpha=0.05, margin=0.05, outcome_window_s=60, min_users=5)


def rollout(**changes: Any) -> Rollout:
    fields = {"rollout_id": "ro_1", "feature": "f", "champion_id": "old", "candidate_id": "new", "salt": "s"}
    moments = {"started_at": START, "step_started_at": START}
    return Rollout.model_validate({**fields, **moments, "policy": POLICY, "channel_version": 2, **changes})


def users(pattern: str) -> list[UserOutcome]:
    """`C`/`c` a good/bad canary user, `S`/`s` a good/bad stable user, one a second."""
    window = timedelta(seconds=POLICY.outcome_window_s)
    found = []
    for i, sign in enumerate(pattern):
        met_at, channel = START + timedelta(seconds=i), "canary" if sign in "Cc" else "stable"
        shares = {"complaint": float(sign in "cs")}
        found.append(UserOutcome(f"u{i}", channel, met_at, met_at + window, shares, chance=0.5))  # type: ignore[arg-type]
    return found


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


def test_a_pause_stops_steps_but_not_the_way_back() -> None:
    assert decide("SC" * 5, paused="ana").action == "hold"
    assert decide("Sc" * 12, paused="ana").action == "rollback"


def test_users_of_an_earlier_try_prove_but_raise_no_alarm() -> None:
    later = {"started_at": START + timedelta(hours=1), "step_started_at": START}
    assert decide("Sc" * 12, **later).action == "advance"
    assert decide("sC" * 60, **later, step=1).action == "promote"


def test_a_split_that_is_off_holds_for_a_person() -> None:
    found = decide("S" * 60)
    assert found.action == "hold" and "not split as they should be" in found.reasons[0]


def test_where_nobody_ever_speaks_nothing_is_proven() -> None:
    silent = [user._replace(shares={}) for user in users("SC" * 200)]
    found = decide_tick(rollout(step=1), silent)
    assert found.action == "hold" and "silence tells nothing" in found.reasons[0]


def test_the_evidence_tells_users_effect_and_what_is_missing() -> None:
    found = decide("SCSC" * 9 + "scSC", step=1).evidence
    assert found["users"] == {"stable": 20, "canary": 20} and found["missing_canary_users"] > 0
    assert {s["signal"] for s in found["signals"]} == {"complaint", "split"}


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
