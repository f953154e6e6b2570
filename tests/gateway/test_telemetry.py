from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.semconv._incubating.attributes import error_attributes, gen_ai_attributes, server_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics

from gateway.limits import Limits
from ratchet.otlp import attributes_of
from tests.gateway.conftest import Serving, Shop
from tests.gateway.fake_model_server import FakeModelServer


class Collector(HTTPServer):
    """Keeps what it is sent, by path."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.taken: dict[str, list[Any]] = {}


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert isinstance(self.server, Collector)
        self.server.taken.setdefault(self.path, []).append(body)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def taken(shop: Shop, fake: FakeModelServer, limits: Limits, collector: Collector) -> dict[str, Any]:
    """What the collector has of an answer, a stream and a failure."""
    shop.settings = dataclasses.replace(shop.settings, otlp_url=f"http://127.0.0.1:{collector.server_port}")
    with Serving(shop, limits) as gateway:
        gateway.ask("my card SECRET")
        gateway.ask("my card SECRET", stream=True)
        fake.broken["tiny"] = 500
        gateway.ask("my card SECRET")
    return collector.taken


def test_spans_are_valid_otlp_and_name_release_tokens_and_receipt(taken: dict[str, Any], shop: Shop) -> None:
    exported = ParseDict(taken["/v1/traces"][0], ExportTraceServiceRequest())
    assert len(exported.resource_spans[0].scope_spans[0].spans) == 3
    spans = taken["/v1/traces"][0]["resourceSpans"][0]["scopeSpans"][0]["spans"]
    first, _, failed = spans
    told = attributes_of(first)
    assert first["name"] == "chat tiny"
    assert told["gen_ai.operation.name"] == "chat"
    assert (told["gen_ai.usage.output_tokens"], told["gen_ai.response.finish_reasons"]) == (2, ["stop"])
    assert (told["ratchet.release_id"], told["ratchet.propensity"]) == (shop.stable, 1.0)
    assert shop.interactions()[0].interaction_id == f"int_{first['traceId']}"
    assert attributes_of(failed)["error.type"] == "backend_error"


def test_every_name_is_one_of_opentelemetrys_own_or_begins_with_ratchet(taken: dict[str, Any]) -> None:
    conventions = (gen_ai_attributes, server_attributes, error_attributes, gen_ai_metrics)
    known = {value for module in conventions for value in vars(module).values() if isinstance(value, str)}
    spans = taken["/v1/traces"][0]["resourceSpans"][0]["scopeSpans"][0]["spans"]
    metrics = taken["/v1/metrics"][0]["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]
    points = [point for metric in metrics for point in metric["histogram"]["dataPoints"]]
    named = {name for part in (*spans, *points) for name in attributes_of(part)} | {m["name"] for m in metrics}
    assert {name for name in named if not name.startswith("ratchet.")} <= known
    assert len(named & known) > 8
    operations = {kind.value for kind in gen_ai_attributes.GenAiOperationNameValues}
    assert {attributes_of(part)["gen_ai.operation.name"] for part in (*spans, *points)} <= operations


def test_metrics_are_valid_otlp_histograms_of_duration_and_tokens(taken: dict[str, Any]) -> None:
    exported = ParseDict(taken["/v1/metrics"][0], ExportMetricsServiceRequest())
    metrics = {m.name: m for m in exported.resource_metrics[0].scope_metrics[0].metrics}
    assert set(metrics) == {"gen_ai.client.operation.duration", "gen_ai.client.token.usage"}
    points = metrics["gen_ai.client.token.usage"].histogram.data_points
    assert sorted(point.sum for point in points) == [4, 12]
    for metric in metrics.values():
        for point in metric.histogram.data_points:
            assert point.count == sum(point.bucket_counts)
            assert len(point.bucket_counts) == len(point.explicit_bounds) + 1


def test_no_text_of_a_user_is_exported(taken: dict[str, Any]) -> None:
    assert "SECRET" not in json.dumps(taken)
    assert "u1" not in json.dumps(taken).replace('"', " ").split()


def test_a_collector_that_is_down_stops_no_answer(shop: Shop, limits: Limits) -> None:
    shop.settings = dataclasses.replace(shop.settings, otlp_url="http://127.0.0.1:9")
    with Serving(shop, limits) as gateway:
        assert gateway.ask().status_code == 200
