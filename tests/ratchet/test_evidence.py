"""ratchet.evidence: which signal raises the alarm, what proves, and what paradoxes do not fool it (seeded)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from ratchet.evidence import Evidence, UserOutcome, weigh
from ratchet.rollout_policy import RolloutPolicy

START = datetime(2026, 1, 2, tzinfo=UTC)
POLICY = RolloutPolicy()
Draw = Callable[[np.random.Generator, bool, int], dict[str, float]]


def stream(
    seed: int, n: int, shares: Draw, numbers: Draw | None = None, *, p: float = 0.3, logged: bool = True
) -> Iterator[UserOutcome]:
    rng = np.random.default_rng(seed)
    for i in range(n):
        c, at = bool(rng.random() < p), START + timedelta(minutes=i)
        held, counted = shares(rng, c, i), numbers(rng, c, i) if numbers else {}
        chance = p if logged else None
        yield UserOutcome(f"u{i}", "canary" if c else "stable", at, at, held, counted, chance)


def complaints(rate: float = 0.2, more: float = 0.0) -> Draw:
    return lambda rng, c, _: {"complaint": float(rng.random() < rate + more * c), "error": 0.0}


def alarm(evidence: Evidence) -> str | None:
    found = evidence.alarms.get("rollback")
    return found.signal if found else None


def test_complaints_raise_the_alarm() -> None:
    assert alarm(weigh(POLICY, stream(1, 1500, complaints(more=0.2)))) == "complaint"


def test_equal_releases_are_seldom_taken_back_over_all_signals() -> None:
    def shares(rng: np.random.Generator, _c: bool, _i: int) -> dict[str, float]:
        bad = float(rng.random() < 0.2)
        return {"complaint": bad, "praise": 1 - bad, "error": float(rng.random() < 0.02), "refusal": bad}

    def numbers(rng: np.random.Generator, _c: bool, _i: int) -> dict[str, float]:
        return {"latency_ms": rng.pareto(1.1), "cost_usd": rng.lognormal()}

    backs = sum(bool(weigh(POLICY, stream(s, 300, shares, numbers)).alarms) for s in range(120))
    assert backs / 120 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 120)


@pytest.mark.parametrize(("slower", "found"), [(1.0, None), (1.4, None), (2.5, "latency_ms")])
def test_latency_is_found_by_its_own_signal_beyond_what_is_tolerated(slower: float, found: str | None) -> None:
    def numbers(rng: np.random.Generator, c: bool, _i: int) -> dict[str, float]:
        return {"latency_ms": rng.lognormal(6, 1) * (slower if c else 1)}

    assert alarm(weigh(POLICY, stream(2, 1500, complaints(), numbers))) == found


def test_errors_are_found_after_few_users() -> None:
    def shares(rng: np.random.Generator, c: bool, _i: int) -> dict[str, float]:
        return {"complaint": float(rng.random() < 0.2), "error": float(c and rng.random() < 0.4)}

    evidence = weigh(POLICY, stream(3, 600, shares))
    assert alarm(evidence) == "error" and evidence.alarms["rollback"].canary_users < 80


def test_unhappy_users_who_fall_silent_are_found_by_missing_praise() -> None:
    def shares(rng: np.random.Generator, c: bool, _i: int) -> dict[str, float]:
        happy, speaks = rng.random() < (0.6 if c else 0.8), rng.random() < 0.5
        return {"complaint": float(not happy and speaks and not c), "praise": float(happy and speaks)}

    assert alarm(weigh(POLICY, stream(4, 3000, shares))) == "praise"


@pytest.mark.parametrize("signal", ["split", "response"])
def test_what_makes_evidence_doubtful_holds(signal: str) -> None:
    def shares(rng: np.random.Generator, c: bool, _i: int) -> dict[str, float]:
        return {"complaint": 0.0, "response": float(rng.random() < (0.2 if c and signal == "response" else 0.6))}

    users = stream(5, 1500, shares)
    lost = (u for i, u in enumerate(users) if signal != "split" or u.channel == "stable" or i % 3)
    evidence = weigh(POLICY, lost)
    assert evidence.alarms["hold"].signal == signal and "rollback" not in evidence.alarms


def test_a_champion_that_degrades_at_the_same_time_blames_nobody() -> None:
    def shares(rng: np.random.Generator, _c: bool, i: int) -> dict[str, float]:
        return {"complaint": float(rng.random() < (0.1 if i < 700 else 0.6))}

    assert alarm(weigh(POLICY, stream(6, 1500, shares))) is None


@pytest.mark.parametrize("logged", [True, False])
def test_simpsons_paradox_fools_nobody(logged: bool) -> None:
    """The canary share rises from 10 to 90 % while the base falls by 40 points: pooled, the canary looks awful."""
    rng, users = np.random.default_rng(7), []
    for i in range(2000):
        late = i >= 1000
        p, at = (0.9 if late else 0.1), START + timedelta(minutes=i)
        channel = "canary" if rng.random() < p else "stable"
        bad = {"complaint": float(rng.random() < (0.5 if late else 0.1))}
        segment = "late" if late else "early"
        users.append(UserOutcome(f"u{i}", channel, at, at, bad, {}, p if logged else None, segment))  # type: ignore[arg-type]
    evidence = weigh(POLICY, users)
    rates = evidence.rates("complaint")
    assert (rates["canary"] or 0) - (rates["stable"] or 0) > 0.2 and alarm(evidence) is None


def test_harm_to_one_segment_is_found_though_the_others_gain() -> None:
    def segment_of(user: UserOutcome, i: int) -> UserOutcome:
        harmed = i % 5 == 0
        bad = (i * 7919 % 100) < ((90 if harmed else 0) if user.channel == "canary" else 15)
        return user._replace(segment="de" if harmed else "en", shares={"complaint": float(bad)})

    evidence = weigh(POLICY, (segment_of(u, i) for i, u in enumerate(stream(8, 1500, complaints()))))
    found = evidence.alarms["rollback"]
    assert (found.signal, found.segment) == ("complaint", "de")


def test_proof_and_what_is_missing_to_it() -> None:
    users = list(stream(9, 3000, complaints(0.1), p=0.5))
    part, whole = weigh(POLICY, users[:400]), weigh(POLICY, users)
    assert not part.is_proven and whole.is_proven
    took = next(n for n in range(400, 3000, 50) if weigh(POLICY, users[:n]).is_proven)
    assert 200 / 4 < (part.missing() or 0) < 4 * (took - 400) / 2


def test_the_confidence_sequence_holds_the_effect() -> None:
    low, high = weigh(POLICY, stream(10, 3000, complaints(more=0.1), p=0.5)).effect()
    assert low is not None and high is not None and low <= -0.1 <= high <= 0


def test_a_margin_of_another_signal_is_to_be_proven_as_well() -> None:
    policy = RolloutPolicy.model_validate({"signals": {"latency_ms": {"margin": 0.2}}})
    assert weigh(POLICY, stream(11, 3000, complaints(0.1))).is_proven
    assert not weigh(policy, stream(11, 3000, complaints(0.1))).is_proven

    def numbers(rng: np.random.Generator, _c: bool, _i: int) -> dict[str, float]:
        return {"latency_ms": rng.lognormal(6, 0.3)}

    assert weigh(policy, stream(11, 3000, complaints(0.1), numbers)).is_proven


def test_a_signal_that_is_seen_late_is_tested_all_the_same() -> None:
    def shares(rng: np.random.Generator, c: bool, i: int) -> dict[str, float]:
        return {"complaint": float(rng.random() < 0.2), **({"unsafe": float(c)} if i > 500 else {})}

    assert alarm(weigh(POLICY, stream(12, 800, shares))) == "unsafe"


def test_an_unknown_signal_needs_to_say_which_way_is_worse() -> None:
    with pytest.raises(ValueError, match="worse"):
        RolloutPolicy.model_validate({"signals": {"tone": {"weight": 2}}})
    policy = RolloutPolicy.model_validate({"signals": {"tone": {"worse": "lower"}}})
    assert RolloutPolicy.model_validate(policy.model_dump(mode="json")) == policy


def test_a_weight_of_nothing_leaves_a_signal_out() -> None:
    policy = RolloutPolicy.model_validate({"signals": {"complaint": {"weight": 0}}})
    assert alarm(weigh(policy, stream(1, 1500, complaints(more=0.4)))) is None
