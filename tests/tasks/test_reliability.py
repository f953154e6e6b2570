"""tasks.reliability: worked by hand, a lying source is found, and a crowd cannot vouch for itself."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ratchet.feedback import Claim
from tasks.reliability import estimate_reliability

AT = datetime(2026, 1, 5, tzinfo=UTC)


def claim(by: str, target: str | None, item: int = 0, minutes: int = 0, **changes: Any) -> Claim:
    kind, name = by.split(":")
    fields = {"interaction_id": f"i{item}-{by}", "tenant": "default", "session_id": None, "user_id": None}
    fields |= {"source_type": kind, "source_id": name, "at": AT + timedelta(minutes=minutes), "text": "q"}
    return Claim(**(fields | {"own": "cards", "target": target, "is_written": True, "weight": 1.0} | changes))


def estimated(said: list[tuple[int, Claim]], prior_votes: float = 10) -> dict[tuple[str, str], float]:
    return estimate_reliability([c for _, c in said], [item for item, _ in said], prior_votes=prior_votes)


def test_against_an_agent_by_hand() -> None:
    # The values are loans, cards (served) and something else; the agent alone says what is right: 0.98 for loans, the
    # rest halved. Ben (prior 0.8, ten votes) agrees: (8 + 0.98) / 11. Eve named cards: (8 + 0.01) / 11.
    # Dan said "not cards": 0.99 right, (8 + 0.99) / 11. The agent stays what it is.
    said = [
        claim("agent:ana", "loans"),
        claim("user:ben", "loans"),
        claim("user:eve", "cards"),
        claim("user:dan", None),
    ]
    found = estimated([(0, c) for c in said])
    assert found[("user", "ben")] == pytest.approx((8 + 0.98) / 11, abs=1e-5)
    assert found[("user", "eve")] == pytest.approx((8 + 0.01) / 11, abs=1e-5)
    assert found[("user", "dan")] == pytest.approx((8 + 0.99) / 11, abs=1e-5)
    assert found[("agent", "ana")] == 0.98


def test_two_users_that_contradict_each_other_by_hand() -> None:
    # Alike, so by symmetry the same r: each is right with p = r w / (2 r w + w w), w = (1 - r) / 2; r = (8 + p) / 11.
    found = estimated([(0, claim("user:ben", "loans")), (0, claim("user:eve", "cards"))])
    r = found[("user", "ben")]
    w = (1 - r) / 2
    assert r == found[("user", "eve")] == pytest.approx((8 + r * w / (2 * r * w + w * w)) / 11, abs=1e-5)


def test_who_speaks_alone_is_not_judged() -> None:
    assert estimated([(0, claim("user:ben", "loans")), (1, claim("user:eve", "cards"))]) == {}
    assert estimated([]) == {}


def test_the_last_word_counts_once_and_a_derived_signal_does_not_vote() -> None:
    said = [claim("agent:ana", "loans"), claim("user:eve", "cards"), claim("user:eve", "loans", minutes=1)]
    derived = claim("system:rephrase", None, is_derived=True)
    assert set(estimated([(0, c) for c in [*said, derived]])) == {("agent", "ana"), ("user", "eve")}
    assert estimated([(0, c) for c in said])[("user", "eve")] > 0.8


def simulate(honest: dict[str, float], *, anchored: float, items: int = 300) -> list[tuple[int, Claim]]:
    draw, said = random.Random(5), []
    for item in range(items):
        truth = draw.choice("abcd")
        if draw.random() < anchored:
            said.append((item, claim("agent:ana", truth, item)))
        for name, r in honest.items():
            if draw.random() < 0.4:
                told = truth if draw.random() < r else draw.choice([x for x in "abcd" if x != truth])
                said.append((item, claim(name, told, item)))
    return said


@pytest.mark.parametrize("anchored", [0.3, 0.0])
def test_a_lying_source_is_found(anchored: float) -> None:
    truth = {"user:a": 0.9, "user:b": 0.85, "user:c": 0.9, "user:d": 0.8, "user:liar": 0.2}
    found = estimated(simulate(truth, anchored=anchored))
    assert found[("user", "liar")] < 0.4
    assert all(found[("user", name)] > 0.7 for name in "abcd")


def test_reliability_is_recovered_where_agents_spoke() -> None:
    truth = {"user:a": 0.95, "user:b": 0.6, "user:c": 0.4}
    found = estimated(simulate(truth, anchored=1.0, items=1500))
    assert all(abs(found[("user", name.split(":")[1])] - r) < 0.07 for name, r in truth.items())


def test_a_crowd_of_liars_cannot_raise_itself_above_its_prior() -> None:
    said = [(item, claim(f"user:sybil{k}", "loans", item)) for item in range(50) for k in range(8)]
    assert max(estimated(said).values()) == 0.8


def test_a_crowd_does_not_outvote_an_agent() -> None:
    said = [(item, claim(f"user:sybil{k}", "loans", item)) for item in range(50) for k in range(8)]
    said += [(item, claim("agent:ana", "cards", item)) for item in range(50)]
    found = estimated(said)
    assert found[("agent", "ana")] == 0.98
    assert max(found[("user", f"sybil{k}")] for k in range(8)) < 0.2


def test_the_order_of_the_claims_does_not_matter() -> None:
    said = simulate({"user:a": 0.9, "user:b": 0.3}, anchored=0.3)
    assert estimated(said) == pytest.approx(estimated(said[::-1]))
