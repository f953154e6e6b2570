"""What a month costs before and after: tokens per answer, times the traffic seen, times the price if one is set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ratchet.features import Price
from ratchet.files import read_json

DAYS_PER_MONTH = 365.25 / 12
LEAST_DAYS = 1.0  # of traffic, below which no month is told from it
ROLES = ("champion", "candidate")


class Usage(NamedTuple):
    """Mean tokens per answer; `input` and `output` are None where only their sum is known."""

    total: float
    input: float | None = None
    output: float | None = None


class MonthlyCost(NamedTuple):
    """A release's month; None where it is not known."""

    role: str
    tokens_per_answer: float
    tokens: float | None
    money: float | None


class Cost(NamedTuple):
    """Before and after, the price's currency, and sentences that say what it stands on."""

    rows: list[MonthlyCost]
    currency: str | None
    told: list[str]


def cost_of(outputs: Path, gate: Mapping[str, Any], evaluated: Mapping[str, Any], price: Price | None) -> Cost | None:
    """Tokens and money per month of champion and candidate; None where no tokens were counted.

    A sealed look tells no number of the holdout, so its tokens are those of validation.
    """
    usage = _validation_usage(evaluated) if gate["sealed"] else _holdout_usage(outputs / "evaluation")
    if usage is None:
        return None
    answers, told = _answers_per_month(outputs / "metrics" / "profile.json")
    rows = [_month(role, usage[role], answers, price) for role in ROLES]
    told += [
        "Tokens per answer are those on validation messages."
        if gate["sealed"]
        else "Tokens per answer are those on the holdout."
    ]
    if price is None:
        told.append("No price is set (`price` in feature.yaml), so tokens are all that can be told.")
    elif any(row.money is None for row in rows):
        told.append("No money is told: tokens read and written, or the traffic of a month, are not known apart.")
    else:
        told.append(
            f"{price.currency} {price.input:g} for a million tokens read, {price.output:g} for a million written."
        )
    return Cost(rows, price.currency if price else None, told)


def _month(role: str, usage: Usage, answers: float | None, price: Price | None) -> MonthlyCost:
    money = None
    if answers is not None and price is not None and usage.input is not None and usage.output is not None:
        money = answers * (usage.input * price.input + usage.output * price.output) / 1e6
    return MonthlyCost(role, usage.total, None if answers is None else answers * usage.total, money)


def _holdout_usage(evaluation: Path) -> dict[str, Usage] | None:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    path = evaluation / "answers.parquet"
    if not path.is_file():
        return None
    table = pq.read_table(path, columns=["role", "output", "input_tokens", "output_tokens"])
    found = {}
    for role in ROLES:
        rows = table.filter(pc.and_(pc.equal(table["role"], role), pc.is_valid(table["output"])))
        if rows.num_rows == 0:
            return None
        read, written = (float(pc.mean(rows[f"{way}_tokens"]).as_py()) for way in ("input", "output"))
        found[role] = Usage(read + written, read, written)
    return found


def _validation_usage(evaluated: Mapping[str, Any]) -> dict[str, Usage] | None:
    arm = evaluated["arms"].get(evaluated["chosen_arm"], {})
    old, new = arm.get("champion_tokens_per_answer"), arm.get("tokens_per_answer")
    return None if old is None or new is None else {"champion": Usage(old), "candidate": Usage(new)}


def _answers_per_month(profile: Path) -> tuple[float | None, list[str]]:
    found = read_json(profile) if profile.is_file() else {}
    rows, days = found.get("rows", 0), found.get("days", 0.0)
    if rows and days >= LEAST_DAYS:
        month = rows / days * DAYS_PER_MONTH
        return month, [f"{rows:,} interactions in {days:.1f} days make {month:,.0f} answers a month."]
    return None, ["The snapshot spans less than a day, so what a month brings is not known."]
