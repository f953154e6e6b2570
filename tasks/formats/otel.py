"""OpenTelemetry: OTLP/JSON, one export request ({"resourceSpans": [...]}) a line, as collectors write it to files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tasks.formats.rows import Given, Record


def is_like(row: dict[str, Any]) -> bool:
    """Whether a row may be an export request."""
    return "resourceSpans" in row or "resource_spans" in row


def records_of(row: dict[str, Any], where: str, given: Given) -> Iterator[Record]:
    """The spans of the request that are calls of a model, and evaluations of them."""
    from ratchet import otel

    yield from otel.records_of(row, where, feature=given.feature)
