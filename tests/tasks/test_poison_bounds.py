"""tasks.poison.bounds: each share holds on what is left, whatever was said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from ratchet.feedback import Claim
from tasks.poison import BOUNDS, find_suspects
from tests.tasks.town import Town, poison_params

WIDE = {"max_source_share": 1, "max_session_share": 1, "max_tenant_share": 1, "max_untrusted_share": 1}


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


SAID = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 60), st.integers(0, 8)), max_size=120)


@limits(max_examples=40, deadline=None)
@given(SAID)
def test_no_source_session_or_tenant_is_more_than_its_share_of_what_is_left(said: list[tuple[int, int, int]]) -> None:
    town = Town()
    claims = [town.claim("a text", "loans", f"user:u{u}", session_id=f"s{s}", tenant=f"t{t}") for u, s, t in said]
    found = aside(claims, max_tenant_share=0.3, max_session_share=0.1, max_source_share=0.2)
    left = [c for i, c in enumerate(claims) if i not in found]
    for share, groups in (
        (0.3, Counter(c.tenant for c in left)),
        (0.1, Counter((c.tenant, c.session_id) for c in left)),
        (0.2, Counter((c.tenant, c.user_id) for c in left)),
    ):
        allowed = share if share * len(groups) >= 1 else min(1.0, 2 / max(1, len(groups)))
        assert all(n <= max(1, allowed * len(left) + 1e-6) for n in groups.values())


def test_one_loud_source_session_or_tenant_is_cut_and_named() -> None:
    loud = strangers(40, user_id="loud", session_id="one", tenant="big")
    rest = [
        Town().claim("a text", "loans", f"user:q{n}", interaction_id=f"q{n}", session_id=f"q{n}", tenant=f"t{n % 10}")
        for n in range(60)
    ]
    for key, what in (("max_source_share", "source"), ("max_session_share", "session"), ("max_tenant_share", "tenant")):
        found = aside([*loud, *rest], **{key: 0.2})
        assert Counter(found.values()) == {f"over the share of one {what}": 25}


def test_a_cut_that_makes_another_share_too_large_is_followed_by_another() -> None:
    town = Town()
    big = [town.claim("a text", "loans", f"user:b{n}", tenant="big") for n in range(100)]
    rest = [town.claim("a text", "loans", f"user:r{n}", tenant=f"t{n % 9}") for n in range(90)]
    loud = [town.claim("a text", "loans", "user:loud", tenant="t9") for _ in range(10)]
    claims = [*big, *rest, *loud]
    found = aside(claims, max_tenant_share=0.3, max_source_share=0.05)
    left = [c for i, c in enumerate(claims) if i not in found]
    assert sum(c.user_id == "loud" for c in left) <= 0.05 * len(left)


def test_of_claims_on_one_answer_those_that_stay_do_not_depend_on_the_order() -> None:
    town = Town()
    same = [town.claim("a text", "loans", f"user:x{n}", user_id="one", interaction_id="i") for n in range(30)]
    claims = [*strangers(40), *same]

    def found(said: Sequence[Claim]) -> set[str]:
        return {said[i].source_id for i in aside(said, max_source_share=0.1)}

    assert found(claims) == found(claims[::-1]) != set()


def test_users_who_give_no_name_are_told_apart_by_their_conversations() -> None:
    claims = [*strangers(40, user_id=None, source_id="unknown"), *Town().users(each=20, claims_each=1)]
    assert aside(claims, max_source_share=0.05) == {}


def test_a_judge_is_one_source_whoever_asked() -> None:
    claims = [*strangers(60), *strangers(61, source_type="judge", source_id="critic", is_written=False)[:40]]
    assert set(aside(claims, max_source_share=0.2).values()) == {"over the share of one source"}
