from __future__ import annotations

import gzip
import json
import sqlite3
import subprocess
import sys
import tracemalloc
import zlib
from base64 import b64encode
from typing import Any

import httpx
import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from gateway.refusals import Refusal
from gateway.traces import _decompress
from tests.gateway.conftest import Gateway
from tests.gateway.test_serve import ROOT, process, ready  # noqa: F401 - a fixture
from tests.ratchet.spans import SPAN_ID, TRACE_ID, chat, evaluation, request, span

PROTOBUF = "application/x-protobuf"
RECEIPT = f"otel-{TRACE_ID}-{SPAN_ID}"


def export(gateway: Gateway, payload: Any, feature: str | None = "routing", **headers: str) -> httpx.Response:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    named = {"x-ratchet-feature": feature} if feature else {}
    sent = {"content-type": "application/json"} | named | {k.replace("_", "-"): v for k, v in headers.items()}
    return gateway.http.post("/v1/traces", content=body, headers=sent)


def as_protobuf(payload: dict[str, Any]) -> bytes:
    """The same request in protobuf, where ids are bytes."""
    coded = json.loads(json.dumps(payload))
    for one in (s for r in coded["resourceSpans"] for scope in r["scopeSpans"] for s in scope["spans"]):
        for key in {"traceId", "spanId", "parentSpanId"} & set(one):
            one[key] = b64encode(bytes.fromhex(one[key])).decode()
    return bytes(ParseDict(coded, ExportTraceServiceRequest()).SerializeToString())


def partial(answer: httpx.Response) -> tuple[int, str]:
    found = answer.json().get("partialSuccess", {})
    return int(found.get("rejectedSpans", 0)), found.get("errorMessage", "")


def test_a_json_export_is_stored_and_answered_with_an_empty_object(gateway: Gateway) -> None:
    answer = export(gateway, request(span(chat())))
    assert (answer.status_code, answer.json(), answer.headers["content-type"]) == (200, {}, "application/json")
    (stored,) = gateway.shop.interactions()
    assert (stored.interaction_id, stored.output.content, stored.release_id) == (RECEIPT, "cards", None)


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_a_protobuf_export_is_stored_like_the_json_one(gateway: Gateway, encoding: str) -> None:
    messages = [{"role": "user", "parts": [{"type": "text", "content": "my card is lost"}]}]
    payload = request(span(chat(**{"gen_ai.input.messages": messages, "gen_ai.usage.input_tokens": 5})))
    body = as_protobuf(payload)
    sent = gzip.compress(body) if encoding == "gzip" else body
    answer = export(gateway, sent, content_type=PROTOBUF, content_encoding=encoding)
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, b"", PROTOBUF)
    (stored,) = gateway.shop.interactions()
    assert (stored.interaction_id, stored.usage.input_tokens) == (RECEIPT, 5)
    assert stored.input.messages[0].content == "my card is lost"


def test_an_export_sent_again_adds_nothing_and_is_counted_as_known(gateway: Gateway) -> None:
    payload = request(span(chat(), events=[evaluation("helpful", value=0.5)]))
    export(gateway, payload)
    export(gateway, payload)
    assert (len(gateway.shop.interactions()), len(gateway.shop.feedback())) == (1, 1)
    page = gateway.http.get("/metrics").text
    assert 'ratchet_observed_total{outcome="accepted",way="traces"} 2.0' in page
    assert 'ratchet_observed_total{outcome="known",way="traces"} 2.0' in page


def test_feedback_may_cite_the_receipt_of_a_span(gateway: Gateway) -> None:
    export(gateway, request(span(chat(**{"user.id": "u1"}))))
    assert gateway.say(RECEIPT, "correction", "loans").json()["stored"]


def test_spans_that_cannot_be_used_are_told_back_by_reason(gateway: Gateway) -> None:
    broken = [span({"http.request.method": "GET"}, number=n) for n in (1, 2)]
    other = span(chat(**{"ratchet.feature": "nosuch"}), number=3)
    judged = span(chat(), events=[evaluation("SECRET", label="SECRET")])
    answer = export(gateway, request(*broken, other, judged))
    told = "2 x not a model call; 1 x unknown feature; "
    told += "1 x value: a score that is neither a number nor a word for good or bad"
    assert (answer.status_code, *partial(answer)) == (200, 3, told)
    assert len(gateway.shop.interactions()) == 1
    binary = export(gateway, as_protobuf(request(*broken)), content_type=PROTOBUF)
    parsed = ExportTraceServiceResponse.FromString(binary.content)
    assert (parsed.partial_success.rejected_spans, parsed.partial_success.error_message) == (2, "2 x not a model call")


def test_the_name_of_the_service_is_a_feature_where_one_has_it(gateway: Gateway) -> None:
    assert export(gateway, request(span(chat()), service__name="routing"), feature=None).json() == {}
    missing = export(gateway, request(span(chat(), number=7), service__name="nosuch"), feature=None)
    assert partial(missing) == (1, "1 x the span names no feature; set the attribute ratchet.feature")


def test_a_call_that_went_through_the_gateway_is_known_already(gateway: Gateway) -> None:
    receipt = gateway.ask().json()["id"]
    gateway.shop.await_interactions()
    assert export(gateway, request(span(chat(**{"gen_ai.response.id": receipt})))).json() == {}
    assert len(gateway.shop.interactions()) == 1


BOMB = gzip.compress(b"[" * (64 << 20))


@pytest.mark.parametrize(
    ("body", "headers", "status", "word"),
    [
        (b"{", {}, 400, "not JSON"),
        (b"[]", {}, 400, "not a JSON object"),
        (b'{"resourceSpans": "\xff"}', {}, 400, "not JSON"),
        (b'{"resourceSpans": "\\ud800"}', {}, 400, "not JSON"),
        (b"[" * 100_000, {}, 400, "not JSON"),
        (b"\xff\xff\xff", {"content_type": PROTOBUF}, 400, "no ExportTraceServiceRequest"),
        (b"{}", {"content_encoding": "gzip"}, 400, "not gzip"),
        (gzip.compress(b"{}", mtime=0)[:-4], {"content_encoding": "gzip"}, 400, "truncated"),
        (gzip.compress(b"{}", mtime=0) + b"more", {"content_encoding": "gzip"}, 400, "goes on"),
        (BOMB, {"content_encoding": "gzip"}, 413, "decompresses to over 8388608 bytes"),
        (b" " * ((8 << 20) + 1), {}, 413, "over 8388608 bytes"),
        (zlib.compress(b"{}"), {"content_encoding": "deflate"}, 415, "gzip or none"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused_as_otlp_says(
    standing: Gateway, body: bytes, headers: dict[str, str], status: int, word: str
) -> None:
    answer = export(standing, body, **headers)
    assert answer.status_code == status and word in answer.text
    assert answer.headers["content-type"] == headers.get("content_type", "application/json")


def test_a_gzip_bomb_is_never_held_whole() -> None:
    bomb = gzip.compress(b" " * (200 << 20))
    tracemalloc.start()
    with pytest.raises(Refusal, match="decompresses to over"):
        _decompress(bomb, "gzip", 1 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_another_content_type_is_415(standing: Gateway) -> None:
    assert export(standing, b"{}", content_type="text/plain").status_code == 415


def test_a_store_that_cannot_write_is_a_retryable_503(gateway: Gateway) -> None:
    with sqlite3.connect(gateway.shop.settings.database_url.removeprefix("sqlite:///")) as database:
        database.execute("DROP TABLE interactions")
    answer = export(gateway, request(span(chat())))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


def test_an_export_that_was_acknowledged_survives_kill_9(process: Any, shop: Any) -> None:  # noqa: F811
    gateway = ready(process, shop)
    spans = [span(chat(), number=n) for n in range(1, 301)]
    assert export(gateway, request(*spans)).json() == {}
    process.kill()
    process.wait()
    assert len(shop.interactions()) == 300


def test_the_receiver_is_light() -> None:
    program = "import sys, gateway.traces; print(sorted({'torch', 'transformers', 'pandas'} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
