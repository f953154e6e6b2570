"""tasks.poison.bounds: each share holds on what is left, whatever was said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from ratchet.feedback import Claim
from tasks.poison import BOUNDS, find_suspects
from tests.tasks.town import Town, poison_params

WIDE = {"max_source_share": 1, "max_untrusted_share": 1}


def aside(claims: Sequence[Claim], **changes: Any) -> dict[int, str]:
    return find_suspects(claims, poison_params(**{**WIDE, **changes}), defences=(BOUNDS,))


def strangers(count: int, target: str = "loans", **changes: Any) -> list[Claim]:
    town = Town(count)
    town.number = 10_000
    return [town.claim(town.text("loans"), target, f"user:x{n}", **changes) for n in range(count)]


def test_strangers_write_at_most_their_share_of_a_target() -> None:
    claims = [*Town().agents(each=9), *strangers(100)]
    assert Counter(aside(claims, max_untrusted_share=0.8).values()) == {"over the share of untrusted feedback": 60}


def test_a_target_that_no_agent_named_gets_the_share_of_one_answer() -> None:
    claims = [*Town().agents(each=9, routes=("cards",)), *strangers(30)]
    assert len(claims) - 9 - len(aside(claims, max_untrusted_share=0.8)) == 4


def test_thumbs_and_words_on_answers_that_an_agent_decided_are_not_counted() -> None:
    agents = Town().agents(each=5)
    on_theirs = [Town().claim(a.text, "loans", "user:y", interaction_id=a.interaction_id) for a in agents]
    claims = [*agents, *on_theirs, *strangers(40, is_written=False)]
    assert aside(claims, max_untrusted_share=0.1) == {}


def test_without_agents_there_is_nothing_to_hold_strangers_against() -> None:
    assert aside(strangers(50), max_untrusted_share=0.1) == {}


def test_the_contradicted_go_first() -> None:
    town = Town()
    agents = town.agents(each=40)
    wrong = [town.claim(town.text("cards"), "loans", f"user:w{n}") for n in range(20)]
    right = [town.claim(town.text("loans"), "loans", f"user:r{n}") for n in range(41)]
    claims = [*agents, *wrong, *right]
    assert {claims[i].source_id[0] for i in aside(claims, max_untrusted_share=0.5)} == {"w"}


@limits(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=120))
def test_nobody_says_more_than_the_share_of_one_source_of_what_is_left(said: list[int]) -> None:
    town = Town()
    claims = [town.claim("a text", "loans", f"user:u{n}", user_id=f"asker-{k}") for k, n in enumerate(said)]
    found = aside(claims, max_source_share=0.2)
    left = Counter(claim.source_id for i, claim in enumerate(claims) if i not in found)
    allowed = 0.2 if len(left) >= 5 else min(1.0, 2 / max(1, len(left)))
    assert all(n <= max(1, allowed * left.total() + 1e-6) for n in left.values())


def test_of_claims_on_one_answer_those_that_stay_do_not_depend_on_the_order() -> None:
    town = Town()
    same = [town.claim("a text", "loans", "user:one", interaction_id="i", hours=float(n)) for n in range(30)]
    claims = [*strangers(40), *same]

    def found(said: Sequence[Claim]) -> set[datetime]:
        return {said[i].at for i in aside(said, max_source_share=0.1)}

    assert found(claims) == found(claims[::-1]) != set()


def test_users_without_a_name_and_judges_are_not_one_loud_source() -> None:
    town = Town()
    nameless = [town.claim("a text", "loans", "user:unknown") for _ in range(40)]
    judged = [town.claim("a text", "loans", "judge:critic", is_written=False) for _ in range(40)]
    assert aside([*nameless, *judged, *strangers(20)], max_source_share=0.05) == {}
