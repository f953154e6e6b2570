"""tasks.balance: the shares hold on what is left, and no group is torn apart by the split."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ratchet.params import CurateParams
from tasks.balance import balance, cap_of, split


def shares(**changes: Any) -> CurateParams:
    """Parameters under which nothing is limited but what is named."""
    fields = dict.fromkeys(CurateParams.model_fields, 1) | {"seed": 17, "min_belief": 0.6}
    return CurateParams.model_validate(fields | changes)


def row(number: int, **changes: Any) -> dict[str, Any]:
    fields = {"example_id": f"ex_{number:04}", "interaction_id": f"i{number}", "user_id": f"u{number}"}
    fields |= {"session_id": f"s{number}", "cluster": f"cl_{number}", "label": ("cards", "loans")[number % 2]}
    return fields | {"origin": "correction", "weight": 1.0, "tenant": "default"} | changes


ROWS = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 40), st.sampled_from(["correction", "confirmed"])), max_size=80
).map(lambda found: [row(n, user_id=f"u{u}", session_id=f"s{s}", origin=o) for n, (u, s, o) in enumerate(found)])


@given(ROWS)
def test_both_shares_hold_on_what_is_left_and_every_row_is_counted(rows: list[dict[str, Any]]) -> None:
    kept, aside = balance(rows, shares(rehearsal_share=0.5, max_user_share=0.1))
    users = Counter(r["user_id"] for r in kept)
    allowed = 0.1 if len(users) >= 10 else 2 / max(1, len(users))
    assert len(kept) + aside.total() == len(rows)
    assert all(n <= max(1, allowed * len(kept) + 1e-6) for n in users.values())
    confirmed = sum(r["origin"] == "confirmed" for r in kept)
    assert confirmed <= 0.5 * len(kept) or confirmed == len(kept)


@given(ROWS)
def test_the_order_of_the_rows_does_not_matter(rows: list[dict[str, Any]]) -> None:
    turned = balance(rows[::-1], shares(rehearsal_share=0.5, max_user_share=0.1)).rows
    assert turned[::-1] == balance(rows, shares(rehearsal_share=0.5, max_user_share=0.1)).rows
    assert split(rows, validation_share=0.2, seed=17) == split(rows[::-1], validation_share=0.2, seed=17)


def test_a_loud_user_is_cut_to_the_share_and_keeps_the_heaviest() -> None:
    rows = [row(n) for n in range(95)] + [row(100 + n, user_id="loud", weight=0.5 + n / 100) for n in range(50)]
    kept = balance(rows, shares(rehearsal_share=1, max_user_share=0.05))
    loud = [r["example_id"] for r in kept.rows if r["user_id"] == "loud"]
    assert loud == ["ex_0145", "ex_0146", "ex_0147", "ex_0148", "ex_0149"]
    assert kept.aside == {"over the share of one user": 45}


def test_with_too_few_users_nobody_has_more_than_twice_an_equal_part() -> None:
    assert cap_of([30, 30, 30, 30], 0.05) == 30
    assert cap_of([900, 30, 30, 30], 0.05) == 90
    assert cap_of([50], 0.05) == 50
    assert cap_of([], 0.05) == 1


def test_examples_without_a_user_count_by_conversation() -> None:
    rows = [row(n, user_id=None, session_id="one" if n < 30 else f"s{n}") for n in range(100)]
    assert len(balance(rows, shares(rehearsal_share=1, max_user_share=0.05)).rows) == 73


def test_confirmed_answers_are_limited_only_where_labels_were_corrected() -> None:
    confirmed = [row(n, origin="confirmed") for n in range(40)]
    assert len(balance([*confirmed, row(90)], shares(rehearsal_share=0.5, max_user_share=1)).rows) == 2
    assert len(balance(confirmed, shares(rehearsal_share=0.5, max_user_share=1)).rows) == 40
    free = [{**r, "label": None} for r in [*confirmed, row(90)]]
    assert len(balance(free, shares(rehearsal_share=0.5, max_user_share=1)).rows) == 41


@given(ROWS)
def test_a_split_loses_nothing_and_tears_no_conversation_apart(rows: list[dict[str, Any]]) -> None:
    rows = [{**r, "cluster": f"cl_{n // 3}"} for n, r in enumerate(rows)]
    train, validation = split(rows, validation_share=0.2, seed=17)
    assert sorted(r["example_id"] for r in [*train, *validation]) == [r["example_id"] for r in rows]
    for bond in ("session_id", "cluster"):
        assert not {r[bond] for r in train} & {r[bond] for r in validation}


def test_a_split_takes_its_share_of_each_label() -> None:
    rows = [row(n, label="cards" if n < 80 else "loans") for n in range(100)]
    train, validation = split(rows, validation_share=0.2, seed=17)
    assert Counter(r["label"] for r in validation) == {"cards": 16, "loans": 4}
    assert [r["example_id"] for r in train] == sorted(r["example_id"] for r in train)


def test_another_seed_draws_another_validation() -> None:
    rows = [row(n) for n in range(100)]
    assert split(rows, validation_share=0.2, seed=1) != split(rows, validation_share=0.2, seed=2)


def test_two_groups_are_enough_for_a_validation() -> None:
    assert [len(part) for part in split([row(0), row(1)], validation_share=0.2, seed=17)] == [1, 1]
    assert [len(part) for part in split([row(0)], validation_share=0.2, seed=17)] == [1, 0]
    assert [len(part) for part in split([row(0), row(1)], validation_share=0, seed=17)] == [2, 0]


def test_no_conversation_tenant_or_label_has_more_than_its_share() -> None:
    rows = [row(n, session_id="long" if n < 20 else f"s{n}") for n in range(60)]
    assert balance(rows, shares(max_session_share=0.1)).aside == {"over the share of one conversation": 16}
    rows = [row(n, tenant=("acme", "globex")[n >= 50]) for n in range(60)]
    assert balance(rows, shares(max_tenant_share=0.5)).aside == {"over the share of one tenant": 40}
    rows = [row(n, label=f"l{n % 5}" if n < 25 else "l0") for n in range(60)]
    kept = balance(rows, shares(max_label_share=0.3)).rows
    assert max(Counter(r["label"] for r in kept).values()) <= 0.4 * len(kept)


def test_one_tenant_and_two_labels_are_not_limited() -> None:
    rows = [row(n, label="cards" if n else "loans") for n in range(60)]
    assert len(balance(rows, shares(max_tenant_share=0.5, max_label_share=0.5)).rows) == 60


def test_answers_that_were_merely_taken_over_are_a_small_share() -> None:
    rows = [row(n, origin="accept" if n < 50 else "correction") for n in range(100)]
    kept = balance(rows, shares(accept_share=0.1)).rows
    assert Counter(r["origin"] for r in kept) == {"correction": 50, "accept": 5}
    assert balance(rows[:50], shares(accept_share=0.1)).rows == []
