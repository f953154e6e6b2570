"""The pieces of OTLP/JSON: attributes, ids and times of a stranger's document; BadInput where one is malformed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from ratchet.errors import BadInput
from ratchet.jsonl import MAX_DEPTH
from ratchet.records import Rejected

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def spans_of(payload: dict[str, Any], where: str) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]] | Rejected]:
    """Each span as (place, span, attributes of its resource), or why it cannot be read."""
    number = 0
    for group in _groups(payload, "resourceSpans", where):
        problem, resource = _resource_of(group) if isinstance(group, dict) else (None, {})
        for scope in _groups(group, "scopeSpans", where) if isinstance(group, dict) else [group]:
            for span in _groups(scope, "spans", where) if isinstance(scope, dict) else [scope]:
                number += 1
                place = f"{where}: span {number}"
                if isinstance(span, Rejected) or problem:
                    yield Rejected(place, problem or span.reason)  # type: ignore[union-attr]
                else:
                    yield place, span, resource


def _groups(parent: dict[str, Any], key: str, where: str) -> list[dict[str, Any] | Rejected]:
    """The objects of a list; a Rejected for each that is none, and one for a list that is none."""
    value = parent.get(key) or []
    if not isinstance(value, list):
        return [Rejected(where, f"{key} is not a list")]
    return [one if isinstance(one, dict) else Rejected(where, f"{key} holds what is no object") for one in value]


def _resource_of(group: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
    try:
        return None, attributes_of(as_object(group.get("resource") or {}))
    except BadInput as error:
        return f"its resource: {error}", {}


def as_object(value: Any) -> dict[str, Any]:
    """The value, which must be an object."""
    if not isinstance(value, dict):
        raise BadInput("not an object")
    return value


def objects(parent: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """A list of objects; empty where there is none."""
    value = parent.get(key) or []
    if not isinstance(value, list):
        raise BadInput(f"{key} is not a list")
    return [as_object(one) for one in value]


def hex_at(parent: dict[str, Any], key: str, length: int) -> str:
    """An id in lower-case hexadecimal, not all zeros."""
    value = parent.get(key)
    if not isinstance(value, str) or len(value) != length or not set(value.lower()) <= set("0123456789abcdef"):
        raise BadInput(f"{key} is not {length} hexadecimal digits")
    if not value.strip("0"):
        raise BadInput(f"{key} is all zeros")
    return value.lower()


def time_at(parent: dict[str, Any], key: str) -> datetime:
    """A time given in nanoseconds since 1970, as a number or its text."""
    value = parent.get(key)
    try:
        nanoseconds = int(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else 0
        if nanoseconds > 0:
            return EPOCH + timedelta(microseconds=nanoseconds // 1000)
    except (ValueError, OverflowError):
        pass
    raise BadInput(f"{key} is not a time in nanoseconds since 1970")


def attributes_of(parent: dict[str, Any]) -> dict[str, Any]:
    """The attributes of a span, an event or a resource, their values decoded."""
    found: dict[str, Any] = {}
    for pair in objects(parent, "attributes"):
        if not isinstance(pair.get("key"), str):
            raise BadInput("an attribute without a key")
        found[pair["key"]] = _value(pair.get("value"), MAX_DEPTH)
    return found


def _value(given: Any, depth: int) -> Any:
    """An AnyValue as the value it stands for.

    Raises:
        BadInput: it is none, or nested over `depth` levels.
    """
    if depth == 0:
        raise BadInput(f"an attribute is nested over {MAX_DEPTH} levels")
    if given is None or given == {}:
        return None
    if not isinstance(given, dict) or len(given) != 1:
        raise BadInput("an attribute's value is malformed")
    ((kind, value),) = given.items()
    if kind == "arrayValue" and isinstance(value, dict):
        return [_value(one, depth - 1) for one in objects(value, "values")]
    if kind == "kvlistValue" and isinstance(value, dict):
        return {str(pair.get("key")): _value(pair.get("value"), depth - 1) for pair in objects(value, "values")}
    return _scalar(kind, value)


def _scalar(kind: str, value: Any) -> Any:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind in ("stringValue", "bytesValue") and isinstance(value, str):
        return value
    if kind == "boolValue" and isinstance(value, bool):
        return value
    try:
        if kind == "intValue" and isinstance(value, (int, str)) and not isinstance(value, bool):
            return int(value)
        if kind == "doubleValue" and (is_number or isinstance(value, str)):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise BadInput("an attribute's value is malformed")
