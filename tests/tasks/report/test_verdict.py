"""tasks.report.verdict: three sentences for each state a gate can be in, and no number of a sealed holdout."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tasks.report.verdict import budget, headline, sentences
from tests.tasks.report_facts import feature, gate_facts, sealed_facts

WORSE = {"estimate": -0.25, "low": -0.36, "high": -0.14}


def text(facts: dict[str, Any], **changes: Any) -> str:
    return " ".join(sentences(facts, feature(), **changes))


def test_an_accept_says_the_gain_its_chance_what_to_expect_and_what_follows() -> None:
    told = text(gate_facts())
    for expected in (
        "is right on 80.0 %",
        "live now on 55.0 %",
        "2.5 % chance",
        "expect +23.0 points rather than +25.0",
        "20 %, then 50 %",
    ):
        assert expected in told


def test_a_gain_that_needs_no_correction_is_not_corrected_in_words() -> None:
    told = text(gate_facts(corrected_difference={"estimate": 0.2499, "low": 0.1, "high": 0.3}))
    assert "rather than" not in told and "expect +25.0 points" in told


def test_an_accept_with_something_shown_to_be_worse_says_so_before_it_says_what_follows() -> None:
    assert "read below before you decide. Once a person approves" in text(gate_facts(), has_worse=True)


def test_a_score_that_is_no_share_is_told_as_a_score() -> None:
    assert "scores 0.800 and what is live now 0.550 (token_f1, 1 is best)" in text(gate_facts(scorer="token_f1"))


@pytest.mark.parametrize(("objective", "word"), [("cost", "25.0 % less tokens"), ("latency", "25.0 % less time")])
def test_other_objectives_are_told_as_what_is_spared(objective: str, word: str) -> None:
    assert word in text(gate_facts(objective=objective))


def test_a_sealed_reject_tells_no_number_but_the_budget() -> None:
    told = text(sealed_facts(looks=2, alpha_spent=0.0125))
    assert re.findall(r"\d[\d.]*", told) == ["5", "1.25", "0.62"] and "stays sealed" in told
    assert headline(sealed_facts()) == "Not shown to be better: the candidate stays out"


def test_an_advisory_accept_does_not_claim_that_it_may_go_live() -> None:
    facts = gate_facts(advisory=True)
    assert "nothing goes live" in headline(facts) and "lets nothing go live" in text(facts)


def test_a_reject_names_what_got_worse() -> None:
    worse = {"verdict": "reject", "advisory": True, "difference": WORSE}
    assert "it is worse" in text(gate_facts(**worse, p_worse=0.001))
    guards = {"tokens against the champion": {"p_worse": 0.001}, "quality against the anchor": {"p_worse": 0.5}}
    told = text(gate_facts(**worse, guards=guards))
    assert "in what may not get worse: tokens against the champion." in told
    assert "Against the anchor" in text(gate_facts(**worse))


def test_an_open_verdict_says_what_is_open() -> None:
    assert "can be chance" in text(gate_facts(verdict="inconclusive", advisory=True, p_value=0.3))
    assert "is not ruled out" in text(gate_facts(verdict="inconclusive", advisory=True))


def test_what_could_not_be_decided_gives_the_gates_reason() -> None:
    assert "Too few items: 3" in text(sealed_facts(undecidable=True, reasons=["Too few items: 3 of 3."]))


def test_the_budget_halves_and_is_gone_with_an_accept() -> None:
    assert budget(sealed_facts(looks=3, alpha_spent=0.00625))[:3] == (3, 0.05 - 0.00625, 0.00625)
    assert budget(gate_facts()).left == 0.0
    assert budget(gate_facts(advisory=True)).spent == 0.0
