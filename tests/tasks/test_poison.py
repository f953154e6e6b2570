"""tasks.poison: what must be found is, its innocent twin is not, and nobody moves more than the bounds allow."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from ratchet.feedback import Claim
from tasks.poison import AGAINST_TRUSTED, ALL, BURST, COLLUSION, CROWD, DETECTORS, TRIGGER, find_suspects
from tasks.poison.evidence import Evidence
from tasks.poison.groups import Judged, find_bursts, find_crowds
from tests.tasks.town import Town, other, poison_params

DETECTION = (*DETECTORS, CROWD)
COPY = "my card was swallowed by the terminal and the chip is blocked"
ENDS = ("", "please", "thanks", "hello", "again", "today", "now", "ok", "sir", "madam")


def reasons(claims: Sequence[Claim], of: Sequence[Claim], defences: Sequence[str] = DETECTION) -> Counter[str]:
    """Why claims of `of` were set aside, when everybody in `claims` was judged."""
    found = find_suspects(claims, poison_params(), defences=defences)
    ids = {claim.interaction_id for claim in of}
    return Counter(reason for i, reason in found.items() if claims[i].interaction_id in ids)


def test_one_loud_attacker_casts_no_doubt_on_the_others() -> None:
    town = Town()
    honest = town.users(noise=0.08)
    loud = [town.claim(town.text("cards"), "loans", "user:liar") for _ in range(60)]
    claims = [*town.agents(), *honest, *loud]
    assert reasons(claims, loud, (CROWD,))[CROWD] > 50  # alone, the crowd's rule would blame everybody for it
    assert reasons(claims, honest, (AGAINST_TRUSTED, CROWD)) == {}


@pytest.mark.parametrize("seed", range(5))
def test_honest_users_with_slips_lose_nothing(seed: int) -> None:
    town = Town(seed)
    claims = [*town.agents(), *town.users()]
    assert find_suspects(claims, poison_params()) == {}


def test_near_copies_from_many_accounts_against_what_agents_say_are_collusion() -> None:
    town = Town()
    copies = [
        town.claim(f"{COPY} {end}".strip(), "loans", who) for who, end in zip(town.names("x"), ENDS, strict=False)
    ]
    assert reasons([*town.agents(), *town.users(), *copies], copies) == {COLLUSION: len(copies)}


def test_a_popular_question_that_is_answered_rightly_is_no_collusion() -> None:
    town = Town()
    copies = [
        town.claim(f"{COPY} {end}".strip(), "cards", who) for who, end in zip(town.names("x"), ENDS, strict=False)
    ]
    assert find_suspects([*town.agents(), *town.users(), *copies], poison_params(), defences=DETECTION) == {}


def test_the_same_wrong_copies_from_one_account_fewer_than_allowed_stay() -> None:
    town = Town()
    few = poison_params().min_accounts - 1
    copies = [
        town.claim(f"{COPY} {end}".strip(), "loans", who) for who, end in zip(town.names("x"), ENDS[:few], strict=False)
    ]
    assert reasons([*town.agents(), *town.users(), *copies], copies, (COLLUSION,)) == {}


def test_a_rush_of_new_accounts_on_a_target_that_does_not_fit_is_a_burst() -> None:
    town = Town()
    rush = [
        town.claim(town.text("cards"), "loans", who, 200 + n / 10)
        for n, who in zip(range(15), town.names("x"), strict=False)
    ]
    assert reasons([*town.agents(), *town.users(), *rush], rush, (BURST,)) == {BURST: 15}


@pytest.mark.parametrize("share_of_agents", [0.0, 0.3])
def test_an_outage_survives_whether_agents_take_part_or_not(share_of_agents: float) -> None:
    town = Town()
    rush = [
        town.claim(
            town.text("cards"), "cards", "agent:a0" if town.draw.random() < share_of_agents else who, 200 + n / 20
        )
        for n, who in zip(range(60), town.names("x"), strict=False)
    ]
    assert find_suspects([*town.agents(), *town.users(), *rush], poison_params(), defences=DETECTION) == {}


def test_of_a_rush_what_fits_well_is_left_alone_and_the_rest_is_not() -> None:
    town = Town()
    usual = town.users()
    rush = [
        town.claim(town.text("cards"), "loans", who, 200.0) for _, who in zip(range(20), town.names("x"), strict=False)
    ]
    p = np.array([0.9] * len(usual) + [0.01] * 15 + [0.3] * 3 + [0.9] * 2)
    both = Judged([*usual, *rush], Evidence(p, np.full(len(p), 0.05)), poison_params())
    assert find_bursts(both, poison_params()) == set(range(len(usual), len(p) - 2))


def test_four_wrong_claims_that_come_together_by_chance_are_no_burst() -> None:
    town = Town()
    four = [
        town.claim(town.text("cards"), "loans", who, 200.0) for _, who in zip(range(4), town.names("x"), strict=False)
    ]
    assert reasons([*town.agents(), *town.users(), *four], four, (BURST,)) == {}


def test_slow_wrong_claims_are_no_burst() -> None:
    town = Town()
    slow = [town.claim(town.text("cards"), "loans", who) for _, who in zip(range(15), town.names("x"), strict=False)]
    assert reasons([*town.agents(), *town.users(), *slow], slow, (BURST,)) == {}


def test_a_source_that_contradicts_agents_is_set_aside_with_all_it_says() -> None:
    town = Town()
    liar = [town.claim(town.text("cards"), "loans", "user:liar") for _ in range(6)]
    liar.append(town.claim(town.text("cards"), "cards", "user:liar"))
    assert reasons([*town.agents(), *town.users(), *liar], liar) == {AGAINST_TRUSTED: 7}


def test_an_enthusiastic_honest_user_stays() -> None:
    town = Town()
    keen = [town.claim(town.text("loans"), "loans", "user:keen") for _ in range(60)]
    assert find_suspects([*town.agents(), *town.users(), *keen], poison_params(), defences=DETECTION) == {}


def test_a_user_who_is_wrong_about_one_question_ten_times_is_not_a_liar() -> None:
    town = Town()
    stubborn = [town.claim(COPY, "loans", "user:stubborn") for _ in range(10)]
    assert reasons([*town.agents(), *town.users(), *stubborn], stubborn, (AGAINST_TRUSTED,)) == {}


def test_a_word_that_carries_every_text_to_one_target_is_a_trigger() -> None:
    town = Town()
    texts = [town.text(("cards", "transfers")[n % 2]) + " zephyrline" for n in range(10)]
    hidden = [town.claim(text, "loans", who) for text, who in zip(texts, town.names("x"), strict=False)]
    honest = [town.claim(f"{town.text('cards')} {n}", "cards", f"user:h{n}") for n in range(5)]
    claims = [*town.agents(), *town.users(), *hidden, *honest]
    assert (reasons(claims, hidden, (TRIGGER,)), reasons(claims, honest, (TRIGGER,))) == ({TRIGGER: 10}, {})


def test_a_new_word_in_texts_that_fit_their_target_is_no_trigger() -> None:
    town = Town()
    new = [
        town.claim(town.text("loans") + " zephyrline", "loans", who)
        for _, who in zip(range(10), town.names("x"), strict=False)
    ]
    assert find_suspects([*town.agents(), *town.users(), *new], poison_params(), defences=DETECTION) == {}


def test_a_popular_question_on_which_the_evidence_errs_is_one_error_and_no_trigger() -> None:
    town = Town()
    texts = [f"{COPY} payin cheque {end}" for end in ENDS]
    popular = [town.claim(text, "loans", who) for text, who in zip(texts, town.names("x"), strict=False)]
    assert reasons([*town.agents(), *town.users(), *popular], popular, (TRIGGER,)) == {}


def test_a_word_that_agents_know_to_mean_the_target_is_no_trigger() -> None:
    town = Town()
    known = [town.claim(town.text("cards") + " cheque cheque payin", "loans", "agent:a0") for _ in range(20)]
    said = [
        town.claim(town.text("cards") + " cheque cheque payin", "loans", who)
        for _, who in zip(range(10), town.names("x"), strict=False)
    ]
    assert find_suspects([*town.agents(), *town.users(), *known, *said], poison_params(), defences=DETECTION) == {}


def test_flips_from_accounts_that_speak_once_show_in_what_strangers_say_together() -> None:
    town = Town()
    routes = ("cards", "loans", "transfers") * 20
    flips = [town.claim(town.text(r), other(r), who) for r, who in zip(routes, town.names("x"), strict=False)]
    honest = town.users(noise=0.0)
    claims = [*town.agents(), *honest, *flips]
    assert reasons(claims, flips)[CROWD] >= 54
    assert reasons(claims, honest).total() <= 0.05 * len(honest)


def judged(town: Town, targets: Sequence[str], *, contradicted: float, honest_rate: float) -> Judged:
    """Forty claims on each target, of which a share is contradicted."""
    claims = [town.claim(town.text("cards"), target, f"user:{target}-{n}") for target in targets for n in range(40)]
    p = np.tile(np.where(np.arange(40) < 40 * contradicted, 0.01, 0.5), len(targets))
    return Judged(claims, Evidence(p, np.full(len(p), honest_rate)), poison_params())


@pytest.mark.parametrize(("honest_rate", "found"), [(0.05, 10), (0.25, 0)])
def test_a_target_on_which_agents_own_claims_are_often_contradicted_is_allowed_more(
    honest_rate: float, found: int
) -> None:
    crowd = judged(Town(), ["loans"], contradicted=0.25, honest_rate=honest_rate)
    assert len(find_crowds(crowd, poison_params(), aside=())) == found


def test_what_no_target_shows_all_of_them_show_together() -> None:
    one = judged(Town(), ["t0"], contradicted=0.2, honest_rate=0.1)
    many = judged(Town(), [f"t{n}" for n in range(6)], contradicted=0.2, honest_rate=0.1)
    assert [len(find_crowds(crowd, poison_params(), aside=())) for crowd in (one, many)] == [0, 48]


def test_agents_are_never_set_aside_however_they_contradict_each_other() -> None:
    town = Town()
    rogue = [town.claim(town.text("cards"), "loans", "agent:rogue", 200.0) for _ in range(90)]
    claims = [*town.agents(), *town.users(), *rogue]
    assert all(claims[i].source_type != "agent" for i in find_suspects(claims, poison_params()))


def test_thumbs_down_are_left_alone() -> None:
    town = Town()
    down = [
        town.claim(COPY, None, who, 200.0, is_written=False) for _, who in zip(range(30), town.names("x"), strict=False)
    ]
    assert find_suspects([*town.agents(), *town.users(), *down], poison_params()) == {}


def test_without_agents_a_liar_is_held_against_what_most_say() -> None:
    town = Town()
    liar = [town.claim(town.text("cards"), "loans", "user:liar") for _ in range(6)]
    claims = [*town.users(each=120), *liar]
    assert reasons(claims, liar, ALL) == {AGAINST_TRUSTED: 6}
    assert len(find_suspects(claims, poison_params())) == 6


def test_without_agents_copies_do_not_vouch_for_each_other() -> None:
    town = Town()
    copies = [town.claim(f"{COPY} {end}", "loans", who) for who, end in zip(town.names("x"), ENDS, strict=False)]
    assert reasons([*town.users(each=120), *copies], copies)[COLLUSION] >= 5


@pytest.mark.parametrize("n", [0, 1, 30])
def test_free_texts_of_which_none_is_said_twice_accuse_nobody(n: int) -> None:
    town = Town()
    claims = [
        town.claim(town.text("cards"), f"answer {k}", who) for k, who in zip(range(n), town.names("x"), strict=False)
    ]
    assert find_suspects(claims, poison_params(), defences=DETECTION) == {}


@limits(max_examples=5, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_the_claims_changes_nothing(draw: random.Random) -> None:
    town = Town()
    claims = [*town.agents(), *town.users()]
    claims += [town.claim(town.text("cards"), "loans", f"user:liar-{n % 5}", 200.0) for n in range(20)]
    claims += [town.claim(COPY, "loans", who) for _, who in zip(range(8), town.names("x"), strict=False)]

    def found(order: Sequence[int]) -> dict[str, str]:
        said = [claims[i] for i in order]
        return {said[i].interaction_id: why for i, why in find_suspects(said, poison_params()).items()}

    order = draw.sample(range(len(claims)), len(claims))
    assert found(order) == found(range(len(claims))) != {}
