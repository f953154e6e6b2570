"""A small made-up town for the tests of tasks/poison: three routes with words of their own, agents, honest users."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from ratchet.feedback import Claim
from ratchet.params import PoisonParams, load_params
from tests.routing_clone import PARAMS

START = datetime(2026, 3, 2, tzinfo=UTC)
DAYS = 20
WORDS = {
    "cards": "card pin chip plastic swallowed contactless magnet stripe expired blocked reissue lost wallet terminal",
    "loans": "loan mortgage instalment borrow debt lender deposit house repayment rate amortise principal surety fixed",
    "transfers": "transfer iban payee sent abroad swift pending recipient remit wire booked clearing standing",
}
COMMON = ("hello", "please", "my", "the", "is", "why", "can", "you", "help", "since", "monday", "it")


def poison_params(**changes: Any) -> PoisonParams:
    return load_params(PARAMS).poison.model_copy(update=changes)


class Town:
    """Draws texts and claims; every claim is about an answer of its own."""

    def __init__(self, seed: int = 1) -> None:
        self.draw = random.Random(seed)
        self.number = 0

    def text(self, route: str) -> str:
        """A question of the route; no two are near-copies."""
        own, common = WORDS[route].split(), COMMON
        return " ".join(self.draw.sample([*self.draw.sample(own, 5), *self.draw.sample(common, 4)], 9))

    def claim(self, text: str, target: str | None, who: str, hours: float | None = None, **changes: Any) -> Claim:
        """A written claim by `type:id` on an answer that this user, or for others somebody, got."""
        self.number += 1
        source_type, source_id = who.split(":")
        user = source_id if source_type == "user" else f"asker-{self.number}"
        at = START + timedelta(hours=self.draw.uniform(0, DAYS * 24) if hours is None else hours)
        fields: dict[str, Any] = {"interaction_id": f"i{self.number:05}", "tenant": "default"}
        fields |= {"session_id": f"s-{self.number}", "user_id": user, "source_type": source_type}
        fields |= {"source_id": source_id, "at": at, "text": text, "own": "cards", "target": target}
        return Claim(**{**fields, "is_written": True, "weight": 0.8, "kind": "correction", **changes})

    def agents(self, each: int = 60, routes: Sequence[str] = tuple(WORDS)) -> list[Claim]:
        """Right claims of two agents on each route."""
        return [self.claim(self.text(r), r, f"agent:a{n % 2}") for r in routes for n in range(each)]

    def users(self, each: int = 60, noise: float = 0.05, claims_each: int = 2) -> list[Claim]:
        """Claims of honest users on each route, a few of them wrong."""
        return [
            self.claim(self.text(r), r if self.draw.random() >= noise else other(r), f"user:{r}-{n // claims_each}")
            for r in WORDS
            for n in range(each)
        ]

    def names(self, prefix: str) -> Iterator[str]:
        """User after user."""
        return (f"user:{prefix}-{n}" for n in range(10_000))


def other(route: str) -> str:
    """A wrong route."""
    return {"cards": "loans", "loans": "transfers", "transfers": "cards"}[route]
