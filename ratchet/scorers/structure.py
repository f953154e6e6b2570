"""Scorers of structured answers: is it JSON of the schema, and is its label the right one."""

from __future__ import annotations

import json
from typing import Any

from ratchet.features import Feature, label_in
from ratchet.scorers.item import Item, Score
from ratchet.scorers.text import even_out


def label_accuracy(output: str, expected: str, feature: Feature) -> float | None:
    """1.0 where the answer gives the expected label, else 0.0 (also for an answer that is not of the schema).

    None (unscored) where the expected output gives no label, so that nothing can be said.
    """
    wanted = feature.label_of(expected)
    if wanted is None:
        return None
    return float(feature.label_of(output) == wanted)


def label(item: Item, *, schema: dict[str, Any] | None = None) -> Score:
    """1 where the answer gives the expected label.

    Args:
        item: what is scored.
        schema: the label is its only enum field (default: the feature's output_schema). Without one, each text as a
            whole is the label.
    """
    wanted, given = label_of(item.expected or "", schema), label_of(item.output, schema)
    if wanted is None:
        return Score(None, "no label is expected")
    if given is None:
        return Score(0.0, "the answer gives no label")
    return Score(float(given == wanted), "the right label" if given == wanted else "another label")


def label_of(text: str, schema: dict[str, Any] | None) -> str | None:
    """The label that a text gives; None where it gives none of the schema's."""
    return label_in(schema, text) if schema else even_out(text) or None


def schema_valid(item: Item, *, schema: dict[str, Any] | None = None) -> Score:
    """1 where the answer is JSON that fits the schema (default: the feature's output_schema)."""
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for

    if schema is None:
        return Score(None, "no schema is given")
    try:
        document = json.loads(item.output)
    except (ValueError, RecursionError):
        return Score(0.0, "not JSON")
    kind = validator_for(schema)
    try:
        kind.check_schema(schema)
    except SchemaError:
        return Score(None, "the schema is not valid")
    broken = next(iter(kind(schema).iter_errors(document)), None)
    return Score(1.0, "fits the schema") if broken is None else Score(0.0, f"breaks the schema's {broken.validator}")
