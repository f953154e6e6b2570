"""Random exports and webhooks against a real gateway: never a 500, never a traceback, never a silent drop."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from gateway.helpdesk import sign
from ratchet.otel import records_of
from ratchet.records import Interaction
from ratchet.settings import read_secret
from tests.gateway.conftest import Gateway
from tests.gateway.test_traces import PROTOBUF, as_protobuf, export
from tests.ratchet.spans import chat, evaluation, event, request, span
from tests.spoil import BOMBS, SECRET, damaged, spoiled

SIZES = [250, pytest.param(2500, marks=pytest.mark.slow)]  # times four ways in
ALLOWED = {200, 400, 401, 404, 413, 415, 422}


def exports(draw: random.Random) -> Iterator[dict[str, Any]]:
    """Sound exports, each with span ids of its own."""
    number = draw.randrange(1, 1 << 40)
    while True:
        number += 10
        tool = {"type": "tool_call", "id": "c", "name": "f", "arguments": {"a": [1]}}
        said = [{"role": "assistant", "parts": [tool], "finish_reason": "tool_call"}]
        older = {"gen_ai.prompt.0.content": SECRET, "gen_ai.completion.0.content": "a"}
        events = [
            event("gen_ai.user.message", {"content": SECRET}),
            event("gen_ai.choice", {"message": '{"content":"a"}'}),
        ]
        yield request(
            span(chat(SECRET, "a", **{"user.id": "u", "gen_ai.usage.input_tokens": 3}), number=number),
            span(chat(**{"gen_ai.output.messages": said}), number=number + 1, events=[evaluation("x", value=0.5)]),
            span(older, number=number + 2),
            span({"gen_ai.operation.name": "chat"}, number=number + 3, events=events),
        )


def count_spans(payload: Any) -> int:
    """How many spans an export holds, counted by nothing of ours; TypeError or KeyError where its shape is broken."""
    total = 0
    for group in payload["resourceSpans"]:
        for scope in group["scopeSpans"]:
            if not all(isinstance(one, dict) for one in scope["spans"]):
                raise TypeError
            total += len(scope["spans"])
    return total


def check(answer: httpx.Response) -> None:
    assert answer.status_code in ALLOWED, answer.text
    assert SECRET not in answer.text and "Traceback" not in answer.text


@pytest.mark.parametrize("n", SIZES)
def test_fuzz_of_json_exports(gateway: Gateway, n: int) -> None:
    draw, expected, sent_spans, told_spans = random.Random(n), set(), 0, 0
    for _, sound in zip(range(n), exports(draw), strict=False):
        body = spoiled(sound, draw, damage=0.3)
        answer = export(gateway, body)
        check(answer)
        if answer.status_code != 200:
            continue
        payload = json.loads(body)
        records = list(records_of(payload, "x", feature="routing", known={"routing"})) if payload else []
        expected |= {r.interaction_id for r in records if isinstance(r, Interaction)}
        try:
            spans = count_spans(payload)
        except (KeyError, TypeError, AttributeError):
            continue
        kept = sum(isinstance(r, Interaction) for r in records)
        sent_spans += spans
        told_spans += kept + int(answer.json().get("partialSuccess", {}).get("rejectedSpans", 0))
    assert {i.interaction_id for i in gateway.shop.interactions()} == expected and len(expected) > n
    assert sent_spans == told_spans > n


@pytest.mark.parametrize("n", SIZES)
def test_fuzz_of_protobuf_exports(gateway: Gateway, n: int) -> None:
    draw, accepted = random.Random(n), 0
    for _, sound in zip(range(n), exports(draw), strict=False):
        body = as_protobuf(sound)
        body = damaged(body, draw) if draw.random() < 0.8 else body
        answer = export(gateway, body, content_type=PROTOBUF)
        assert answer.status_code in ALLOWED and SECRET.encode() not in answer.content
        if answer.status_code == 200:
            told = ExportTraceServiceResponse.FromString(answer.content).partial_success.rejected_spans
            held = count_spans({"resourceSpans": []} | _plain(body))
            assert 0 <= told <= held
            accepted += held - told
    assert accepted > n // 4


def _plain(body: bytes) -> dict[str, Any]:
    found = MessageToDict(ExportTraceServiceRequest.FromString(body))
    for group in found.get("resourceSpans", []):
        for scope in group.setdefault("scopeSpans", []):
            scope.setdefault("spans", [])
    return dict(found)


@pytest.mark.parametrize("n", SIZES)
def test_fuzz_of_compressed_exports(gateway: Gateway, n: int) -> None:
    draw = random.Random(n)
    bomb = gzip.compress(b" " * (9 << 20))
    for _, sound in zip(range(n), exports(draw), strict=False):
        whole = gzip.compress(spoiled(sound, draw, damage=0.2), 1)
        deep = gzip.compress(draw.choice(BOMBS) * 50_000, 1)
        body = draw.choice([whole, whole, whole[: draw.randrange(len(whole))], damaged(whole, draw), deep, bomb])
        encoding = draw.choice(["gzip", "gzip", "gzip", "GZIP", "identity", "br"])
        check(
            export(gateway, body, content_encoding=encoding, content_type=draw.choice(["application/json", PROTOBUF]))
        )


@pytest.mark.parametrize("n", SIZES)
def test_fuzz_of_helpdesk_webhooks(gateway: Gateway, n: int) -> None:
    draw, secret = random.Random(n), read_secret(gateway.shop.settings, "helpdesk")
    receipts = [gateway.ask("my card is lost").json()["id"] for _ in range(3)]
    stored = 0
    for number in range(n):
        sound = {"receipt": draw.choice(receipts), "sent": SECRET, "label": draw.choice(["cards", "loans", SECRET])}
        sound |= {"agent": f"a{number}", "ticket": number, "suggested": SECRET}
        body, stamp = spoiled(sound, draw, damage=0.2), datetime.now(UTC).isoformat()
        if draw.random() < 0.05:
            body = b'{"sent":"' + b"x" * (1 << 20) + b'"}'
        headers = {"x-ratchet-timestamp": stamp, "x-ratchet-signature": sign(secret, stamp, body)}
        answer = gateway.http.post("/v1/helpdesk", content=body, headers=headers)
        check(answer)
        stored += answer.status_code == 200 and answer.json()["stored"]
    assert len(gateway.shop.feedback()) == stored > n // 50
