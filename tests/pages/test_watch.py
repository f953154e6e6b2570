"""The course of a rollout's evidence, and the pictures that are drawn of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pages.picture import HIGHEST, bars, course, effect, ticks
from pages.watch import POINTS, Point, Watch, course_of
from ratchet.evidence import UserOutcome
from ratchet.rollout_policy import RolloutPolicy
from ratchet.rollouts import Rollout, decide_tick

AT = datetime(2026, 1, 2, tzinfo=UTC)
ROLLOUT = Rollout(
    rollout_id="ro_1", feature="f", champion_id="rel_a", candidate_id="rel_b", salt="s", policy=RolloutPolicy(),
    started_at=AT, step_started_at=AT, channel_version=2,
)  # fmt: skip


def outcomes(n: int, *, bad_canary: bool = False) -> list[UserOutcome]:
    found = []
    for i in range(n):
        is_canary, at = i % 2 == 0, AT + timedelta(seconds=i + 1)
        complains = is_canary and bad_canary and i % 4 == 0
        channel = "canary" if is_canary else "stable"
        found.append(UserOutcome(f"u{i}", channel, at, at, {"complaint": float(complains)}, chance=0.5))  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize("n", [0, 1, 7, 500])
def test_a_course_ends_where_a_tick_sees_the_evidence(n: int) -> None:
    users = outcomes(n, bad_canary=True)
    facts = decide_tick(ROLLOUT, users).evidence
    points = course_of(ROLLOUT, users, facts)
    assert points[0] == Point(0, 0.0, 0.0) and points[-1].users == n and len(points) <= 2 * POINTS + 2
    assert points[-1].alarm * facts["log_wealth_needed"] == pytest.approx(facts["log_wealth"], abs=1e-3)


def test_a_rollout_is_weighed_once_for_all_who_watch_and_again_when_it_changed() -> None:
    asked: list[str] = []

    def told(rollout: Rollout, now: datetime) -> list[UserOutcome]:
        asked.append(rollout.paused)
        return outcomes(10)

    watch = Watch(told)
    assert watch.look(ROLLOUT) is watch.look(ROLLOUT)
    watch.look(ROLLOUT.model_copy(update={"paused": "ana"}))
    assert asked == ["", "ana"]


def test_who_comes_while_it_is_weighed_sees_the_last_look() -> None:
    watch, first, calls = Watch(lambda *_: calls.pop()()), ROLLOUT, []  # type: ignore[var-annotated]
    calls += [
        lambda: seen.append(watch.look(first.model_copy(update={"paused": "ben"}))) or outcomes(20),
        lambda: outcomes(10),
    ]  # type: ignore[func-returns-value]
    seen = [watch.look(first)]
    after = watch.look(first.model_copy(update={"paused": "ana"}))
    assert seen[1] is seen[0] and after.course[-1].users == 20


def test_of_a_rollout_that_is_over_only_what_decided_it_counts() -> None:
    evidence = decide_tick(ROLLOUT, outcomes(40)).evidence
    over = ROLLOUT.model_copy(
        update={"state": "promoted", "evidence": evidence, "log": ("2026-01-02 Users fare well",)}
    )
    found = Watch(lambda *_: outcomes(300)).look(over)
    assert found.course[-1].users == 40 and found.facts == evidence and found.reasons == ("Users fare well",)


def test_lines_stay_inside_the_picture() -> None:
    drawn = course([Point(0, 0.0, 0.0), Point(5, 9.0, -7.0)])
    assert drawn is not None and course([Point(0, 0.0, 0.0)]) is None
    ys = [float(pair.split(",")[1]) for line in (drawn.alarm, drawn.proof) for pair in line.split(" ")]
    assert min(ys) >= 0 and max(ys) <= 220 and drawn.needed_y < drawn.none_y and HIGHEST > 1


def test_signals_are_bars_towards_their_line_of_users_and_of_mirrored_requests() -> None:
    facts = decide_tick(ROLLOUT, outcomes(200, bad_canary=True)).evidence
    first = bars(facts)[0]
    assert first.name == "complaint" and 0 < first.share <= 1 and (first.canary, first.stable) == ("50.0 %", "0.0 %")
    told = {"signal": "latency_ms", "log_wealth": 1.0, "champion": 400.0, "candidate": 1200.0}
    (mirrored,) = bars({"needed_log_wealth": 4.0, "signals": [told]})
    assert (mirrored.share, mirrored.canary, mirrored.stable) == (0.25, "1,200", "400")
    assert bars({}) == []


def test_an_open_end_of_the_effect_lies_at_the_edge() -> None:
    drawn = effect({"effect": {"low": None, "high": 0.1}}, 0.05)
    assert drawn.is_open == (True, False) and drawn.low_x == 0 and drawn.none_x < drawn.high_x < 640
    assert drawn.told == "no lower end yet, at most +10 points" and drawn.margin_x < drawn.none_x


@pytest.mark.parametrize(("most", "marks"), [(1, [0, 1]), (7, [0, 2, 4, 6]), (300, [0, 100, 200, 300])])
def test_ticks_are_round(most: int, marks: list[int]) -> None:
    assert ticks(most) == marks
