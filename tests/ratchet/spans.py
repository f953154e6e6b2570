"""OTLP requests of model calls, for tests of what reads them."""

import json
from typing import Any

TRACE_ID, SPAN_ID, PARENT_ID = "6c4790b38677405069bb3b8113758396", "a5498d6c971a7862", "b5498d6c971a7862"
BEGAN_NS = 1_776_346_970_937_517_000


def any_value(value: Any) -> dict[str, Any]:
    """A value as OTLP/JSON writes it."""
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [any_value(one) for one in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": key_values(value)}}
    return {"stringValue": value}


def key_values(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": any_value(value)} for key, value in attributes.items()]


def chat(asked: str = "my card is lost", answered: str = "cards", **more: Any) -> dict[str, Any]:
    """The attributes of a model call."""
    said = {"role": "assistant", "parts": [{"type": "text", "content": answered}], "finish_reason": "stop"}
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m1",
        "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": asked}]}]),
        "gen_ai.output.messages": json.dumps([said]),
    } | more


def span(said: dict[str, Any], *, number: int = 0, events: Any = (), **more: Any) -> dict[str, Any]:
    """A span of a second; `number` makes its id."""
    return {
        "traceId": TRACE_ID,
        "spanId": f"{number:016x}" if number else SPAN_ID,
        "name": "chat",
        "startTimeUnixNano": str(BEGAN_NS),
        "endTimeUnixNano": str(BEGAN_NS + 1_000_000_000),
        "attributes": key_values(said),
        "events": list(events),
    } | more


def event(name: str, attributes: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "timeUnixNano": str(BEGAN_NS), "attributes": key_values(attributes)}


def evaluation(name: str, **score: Any) -> dict[str, Any]:
    """An evaluation of the span that it is on; `value`, `label`, `explanation`."""
    keys = {"value": "score.value", "label": "score.label", "explanation": "explanation"}
    given = {f"gen_ai.evaluation.{keys[k]}": v for k, v in score.items()}
    return event("gen_ai.evaluation.result", {"gen_ai.evaluation.name": name} | given)


def request(*spans: Any, **resource: Any) -> dict[str, Any]:
    """An ExportTraceServiceRequest; keywords are attributes of its resource, `__` for a dot."""
    attributes = key_values({k.replace("__", "."): v for k, v in resource.items()})
    return {"resourceSpans": [{"resource": {"attributes": attributes}, "scopeSpans": [{"spans": list(spans)}]}]}
