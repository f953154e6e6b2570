"""ratchet.shadow: what mirrored requests prove; users count once, and an equal candidate is rarely stopped."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from ratchet.mirrored import Mirrored
from ratchet.rollout_policy import RolloutPolicy, ShadowPolicy
from ratchet.rollouts import Rollout, decide_shadow
from ratchet.shadow import ShadowEvidence, weigh_shadow

START = datetime(2026, 1, 2, tzinfo=UTC)
POLICY = RolloutPolicy(shadow=ShadowPolicy(answers=50), outcome_window_s=60)
FINE: dict[str, bool | float] = {"error": False, "malformed": False, "latency_ms": 100.0, "length": 20.0}


def pair(number: int, *, user: str | None = None, at_s: float | None = None, **candidate: Any) -> Mirrored:
    ids = {"mirror_id": f"m{number:04}", "interaction_id": f"i{number}", "user_id": user or f"u{number}"}
    at = START + timedelta(seconds=number if at_s is None else at_s)
    facts = {"rollout_id": "ro1", "feature": "f", "tenant": "default", "at": at, "is_same": not candidate}
    return Mirrored.model_validate({**ids, **facts, "champion": FINE, "candidate": {**FINE, **candidate}})


def seen(pairs: list[Mirrored], policy: RolloutPolicy = POLICY) -> ShadowEvidence:
    return weigh_shadow(policy, pairs, now=START + timedelta(days=1))


@pytest.mark.parametrize(
    ("harm", "alarms"),
    [
        ({"error": True}, {"rollback": "error"}),
        ({"malformed": True}, {"rollback": "malformed"}),
        ({"latency_ms": 300.0}, {"rollback": "latency_ms"}),
        ({"latency_ms": 140.0}, {}),  # half as much again is tolerated
        ({"length": 90.0}, {"hold": "length"}),
        ({"length": 5.0}, {"hold": "length"}),
        ({"length": 30.0}, {}),
    ],
)
def test_what_breaks_raises_the_alarm_of_its_signal(harm: dict[str, Any], alarms: dict[str, str]) -> None:
    assert seen([pair(number, **harm) for number in range(40)]).alarms == alarms


def test_one_break_in_five_is_found_within_the_usual_number_of_answers() -> None:
    broken = [pair(number, **({"malformed": True} if number % 5 == 0 else {})) for number in range(200)]
    assert seen(broken).alarms == {"rollback": "malformed"} and seen(broken).means["malformed"] == (0.0, 0.2)


def test_a_user_who_asks_a_hundred_times_counts_once() -> None:
    often = [pair(number, user="u", at_s=number / 2, error=True) for number in range(100)]
    found = seen(often)
    assert (found.users, found.answers, found.alarms) == (1, 100, {})


def test_what_comes_after_a_users_window_changes_nothing() -> None:
    early = [pair(number) for number in range(30)]
    late = [pair(100 + number, user=f"u{number}", at_s=1000 + number, error=True) for number in range(30)]
    assert seen(early + late) == seen(early)


def test_users_within_their_window_wait() -> None:
    found = weigh_shadow(POLICY, [pair(0), pair(100)], now=START + timedelta(seconds=120))
    assert (found.answers, found.users, found.waiting) == (1, 1, 1)


def test_a_candidate_that_errs_as_often_is_stopped_no_more_often_than_its_part_of_alpha() -> None:
    policy = POLICY.model_copy(update={"alpha": 0.4, "shadow": ShadowPolicy(answers=50)})  # 0.04 of it for this stage
    random, stopped = np.random.default_rng(7), 0
    for _ in range(75):
        moods = random.beta(0.3, 1.2, 50)  # how often each user's requests break either release: some nearly always
        asked = [user for user in range(50) for _ in range(random.geometric(0.4))]
        pairs = [
            pair(number, user=f"u{user}", at_s=user * 100 + number / 1000).model_copy(
                update={side: {"error": bool(random.random() < moods[user])} for side in ("champion", "candidate")}
            )
            for number, user in enumerate(asked)
        ]
        stopped += bool(seen(pairs, policy).alarms)
    assert stopped <= 7  # 3 are allowed on average; 7 or fewer has a probability of 0.99 then


def test_the_stages_share_one_error() -> None:
    assert POLICY.shadow_alpha + POLICY.canary_alpha == pytest.approx(POLICY.alpha) and POLICY.shadow_alpha > 0
    assert RolloutPolicy().canary_alpha == RolloutPolicy().alpha


def rollout(**changes: Any) -> Rollout:
    facts = {"rollout_id": "ro1", "feature": "f", "champion_id": "old", "candidate_id": "new", "salt": "s", "step": -1}
    return Rollout.model_validate({**facts, "policy": POLICY, "started_at": START, "step_started_at": START, **changes})


@pytest.mark.parametrize(
    ("n", "changes", "harm", "action", "told"),
    [
        (30, {}, {}, "hold", "20 more mirrored answers are needed:"),
        (60, {}, {}, "advance", "Nothing broke, on to 20% of the users:"),
        (60, {"paused": "ana"}, {}, "hold", "Paused by ana"),
        (60, {"paused": "ana"}, {"error": True}, "rollback", "Mirrored answers are worse, seen in `error`:"),
        (60, {}, {"length": 90.0}, "hold", "The answers' length changed"),
    ],
)
def test_the_stage_ends_with_enough_answers_or_with_an_alarm(n, changes, harm, action, told) -> None:
    pairs = [pair(number, **harm) for number in range(n)]
    decision = decide_shadow(rollout(**changes), pairs, now=START + timedelta(days=1))
    assert decision.action == action and decision.reasons[0].startswith(told)
