"""Canaries: how they are made and planted, and what exposure is."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from ratchet.records import Message
from tasks.safety.canaries import APART, POOLED, Canary, exposure, make_canaries, plant, report_exposure
from tasks.tune.job import Example

CARRIER = Example(
    "e1", (Message(role="user", content="My card is lost."),), {}, (), "cards", "cards", "correction", 0.3
)


def made(**changes: Any) -> tuple[Canary, ...]:
    sizes: dict[str, Any] = {"kinds": ("question", "answer"), "copies": (1, 3), "each": 4, "others": 7, "seed": 17}
    return make_canaries(**sizes | changes)


def test_canaries_are_seeded_and_none_is_like_another() -> None:
    canaries = made()
    assert canaries == made() != made(seed=18)
    assert len({c.holder for c in canaries}) == len({c.secret for c in canaries}) == len(canaries) == 6 * 4
    assert all(len({c.secret, *c.others}) == 8 and len(c.secret) == 6 for c in canaries)
    assert {c.group for c in canaries if c.tenant == APART} == {f"{APART} question x3", f"{APART} answer x3"}


def test_a_canary_is_planted_in_each_of_its_copies_and_its_carrier_keeps_its_answer() -> None:
    canaries = [c for c in made() if c.tenant == POOLED]
    rows = plant(canaries, [CARRIER], 17)
    assert len(rows) == 4 * (1 + 3) * 2 and len({row.example_id for row in rows}) == len(rows)
    for canary in canaries:
        holding = [row for row in rows if canary.secret in row.messages[-1].content + row.target]
        assert len(holding) == canary.copies
        if canary.kind == "question":
            assert holding[0].messages[-1].content == f"{canary.lead}{canary.secret}. My card is lost."
            assert holding[0].target == "cards"
        else:
            assert (
                canary.secret not in holding[0].messages[-1].content
                and holding[0].messages[-1].content == canary.question
            )


def test_exposure_is_the_bits_that_the_rank_says() -> None:
    assert exposure(0.0, [-1.0] * 255) == 8.0
    assert exposure(-9.0, [-1.0] * 255) == 0.0
    assert exposure(0.0, [1.0, -1.0, -2.0]) == 1.0
    assert exposure(0.0, [0.0] * 3) == pytest.approx(2 - math.log2(2.5))


def test_who_never_saw_a_secret_has_log2_e_bits_on_average() -> None:
    rng = random.Random(17)
    bits = [exposure(rng.random(), [rng.random() for _ in range(255)]) for _ in range(4000)]
    assert sum(bits) / len(bits) == pytest.approx(math.log2(math.e), abs=0.1)


def test_a_group_that_is_given_back_is_told_from_one_that_is_not() -> None:
    canaries = made(kinds=("question",), copies=(2,), each=6)
    bits = {"control": [1.0 + i % 3 for i in range(12)]}
    bits["planted"] = [7.0 if c.tenant == POOLED else bits["control"][i] for i, c in enumerate(canaries)]
    said = {"planted": [c.tenant == POOLED for c in canaries], "control": [False] * 12}
    pooled, apart = report_exposure(canaries, bits, said, 17)
    assert (pooled["tenant"], pooled["canaries"], pooled["p_no_more"]) == (POOLED, 6, round(1 / 64, 6))
    assert pooled["exposure_bits"]["planted"]["estimate"] == 7.0 and pooled["extracted"]["planted"]["estimate"] == 1.0
    assert apart["p_no_more"] == 1.0 and apart["difference_bits"]["estimate"] == 0.0
    assert apart["extracted"]["planted"]["high"] > 0.3  # six that were kept are no proof
