"""tasks.report.cost: tokens, traffic and price as they are known, and nothing where they are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from ratchet.features import Price
from tasks.report.cost import DAYS_PER_MONTH, cost_of
from tests.tasks.report_facts import evaluated, gate_facts, sealed_facts, write_answers, write_metrics

PRICE = Price(currency="EUR", input=2.0, output=10.0)


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """Answers of 100 tokens read and 10 written before, 50 and 10 after; 1000 interactions in ten days."""
    write_answers(tmp_path, champion=(100, 10), candidate=(50, 10))
    write_metrics(tmp_path, "profile", {"rows": 1000, "days": 10.0})
    return tmp_path


def test_a_month_costs_tokens_times_traffic_times_price(outputs: Path) -> None:
    found = cost_of(outputs, gate_facts(), evaluated(), PRICE)
    assert found is not None
    answers = 100 * DAYS_PER_MONTH
    assert [row.tokens for row in found.rows] == pytest.approx([answers * 110, answers * 60])
    assert [row.money for row in found.rows] == pytest.approx([answers * 300e-6, answers * 200e-6])
    assert found.currency == "EUR"


def test_without_a_price_there_is_no_money(outputs: Path) -> None:
    found = cost_of(outputs, gate_facts(), evaluated(), None)
    assert found is not None and found.currency is None and all(row.money is None for row in found.rows)
    assert any("No price is set" in told for told in found.told)


@pytest.mark.parametrize("profile", [{"rows": 1000, "days": 0.4}, {"rows": 0, "days": 9.0}, {}])
def test_hours_of_traffic_make_no_month(outputs: Path, profile: dict[str, float]) -> None:
    write_metrics(outputs, "profile", profile)
    found = cost_of(outputs, gate_facts(), evaluated(), PRICE)
    assert found is not None and found.rows[0].tokens is None and found.rows[0].money is None
    assert found.rows[0].tokens_per_answer == 110


def test_a_sealed_look_tells_the_tokens_of_validation(outputs: Path) -> None:
    found = cost_of(outputs, sealed_facts(), evaluated(), PRICE)
    assert found is not None and [row.tokens_per_answer for row in found.rows] == [50.0, 60.0]
    assert found.rows[0].money is None


def test_nothing_counted_is_no_cost(tmp_path: Path) -> None:
    assert cost_of(tmp_path, gate_facts(), evaluated(), PRICE) is None
