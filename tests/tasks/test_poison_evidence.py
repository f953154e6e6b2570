"""tasks.poison.evidence: what contradicts an honest claim no more often than it says, and a false one nearly always."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.poison.evidence import weigh
from tests.tasks.town import Town, other, poison_params


@pytest.mark.parametrize("seed", range(4))
def test_honest_claims_are_contradicted_about_as_often_as_the_level_and_false_ones_nearly_always(seed: int) -> None:
    town = Town(seed)
    agents, honest = town.agents(each=60), town.users(each=100, noise=0)
    false = [town.claim(c.text, other(str(c.target)), "user:liar") for c in honest]
    p = weigh([*agents, *honest, *false], poison_params()).p[len(agents) :]
    assert np.mean(p[: len(honest)] <= 0.05) <= 0.08  # the level, and three standard errors of both samples
    assert np.mean(p[len(honest) :] <= 0.05) >= 0.9


def test_where_agents_words_mean_nothing_nobody_is_accused_more_than_the_level() -> None:
    town = Town()
    routes = ("cards", "loans", "transfers")
    claims = [
        town.claim(town.text("cards"), town.draw.choice(routes), who) for who in ["agent:a"] * 200 + ["user:u"] * 400
    ]
    p = weigh(claims, poison_params()).p[200:]
    assert np.mean(p <= 0.05) <= 0.09


def test_an_agents_word_on_the_very_same_text_decides() -> None:
    town = Town()
    agents = [*town.agents(), town.claim("an odd text", "loans", "agent:a0")]
    asked = [town.claim("an odd text", target, "user:u") for target in ("loans", "cards")]
    assert weigh([*agents, *asked], poison_params()).p[-2:].tolist() == [1.0, 0.0]


def test_a_target_that_hardly_anybody_named_and_a_thumb_down_are_not_judged() -> None:
    town = Town()
    asked = [town.claim("a text", "gardening", "user:u"), town.claim("a text", None, "user:u")]
    evidence = weigh([*town.agents(), *asked], poison_params())
    assert np.isnan(evidence.p[-2:]).all() and np.isnan(evidence.honest_rate[-2:]).all()


def test_a_hard_target_allows_more_than_an_easy_one() -> None:
    town = Town()
    agents = town.agents()
    muddled = [town.claim(town.text("loans"), "cards", "agent:a0") for _ in range(15)]
    asked = [town.claim(town.text(route), route, "user:u") for route in ("cards", "loans")]
    hard, easy = weigh([*agents, *muddled, *asked], poison_params()).honest_rate[-2:]
    assert hard > 2 * easy
