"""tasks.dataset_card: counts, licence and consent as Markdown that nothing can break out of."""

from __future__ import annotations

from typing import Any

from ratchet.features import Feature
from tasks.dataset_card import write_card
from tests.routing_clone import feature_fields

METRICS: dict[str, Any] = {"rows": 10, "used": 6, "train": 5, "validation": 1, "set_aside": 4, "review": 2, "blind": 3}
METRICS |= {"reasons": {"no feedback": 4}, "claims_aside": {}, "origins": {"correction": 6}, "sources": {"agent": 6}}
METRICS |= {"reliability": {"0.9 and above": 1}, "labels": {"a|b": 6}, "tenants": {"default": 6}}
METRICS |= {"languages": {"en": 6}, "held_elsewhere": {"demonstrations": 0, "index": 1}}


def card(**changes: Any) -> str:
    return write_card(Feature.model_validate(feature_fields(**changes)), METRICS)


def test_counts_and_reasons_stand_in_tables() -> None:
    text = card()
    assert "| interactions read | 10 |" in text and "| no feedback | 4 |" in text and "| index | 1 |" in text


def test_licence_and_consent_are_those_of_the_feature() -> None:
    assert "Not stated" in card() and "who said nothing is taken to agree" in card()
    assert "CC\\-BY" not in card(licence="CC-BY-4.0") and "CC-BY-4.0" in card(licence="CC-BY-4.0")
    assert "has not consented" in card(consent="required")


def test_names_are_text_and_nothing_else() -> None:
    text = card(intent="# big <script>\n| x |")
    assert "<script" not in text.replace("\\<", "") and "\\# big" in text and "| a\\|b | 6 |" in text
