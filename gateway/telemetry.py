"""Spans and metrics of model calls by OTLP/HTTP, as OpenTelemetry's GenAI conventions name them; never what was said.

Off unless RATCHET_OTLP_URL is set. A span of an answer has the receipt's number as its trace id, so that one finds the
other. What a collector does not take in time is dropped and counted: an answer never waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from bisect import bisect_left
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
import structlog

from gateway.turn import Heard, Turn

logger = structlog.get_logger("gateway")
PROVIDERS = {"gemini": "gcp.gemini", "azure": "azure.ai.openai"}  # where the conventions have another name than we
CLIENT_KIND, OK, ERROR, DELTA = 3, 1, 2, 1
# The buckets that the conventions advise.
TOKEN_BOUNDS = [float(4**n) for n in range(14)]
SECOND_BOUNDS = [0.01 * 2**n for n in range(14)]
KEPT_SPANS = 4096
BATCH = 512
EVERY_S = 5.0
TIMEOUT_S = 10.0
Attributes = dict[str, Any]


@dataclass
class _Histogram:
    """One series of a metric since the last export."""

    name: str
    unit: str
    bounds: list[float]
    attributes: Attributes
    counts: list[int] = field(default_factory=list)
    sum: float = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts = self.counts or [0] * (len(self.bounds) + 1)
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Telemetry:
    """Collects what is to be exported, and exports it in the background."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        """`url` is the collector's, without /v1/traces."""
        self._url = url
        self._session = session
        self._spans: deque[dict[str, Any]] = deque(maxlen=KEPT_SPANS)
        self._histograms: dict[tuple[str, ...], _Histogram] = {}
        self._since = time.time_ns()
        self._dropped = 0
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin exporting."""
        self._loop = asyncio.create_task(self._export_all())

    async def close(self) -> None:
        """Export what is left, then stop."""
        if self._loop is not None:
            self._loop.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop
        await self._export()

    def observe(self, turn: Turn, heard: Heard | None, error: str | None = None) -> None:
        """Note an answer, or a request that failed with a code."""
        attributes = _attributes(turn)
        if error is not None:
            attributes["error.type"] = error
        ended = time.time_ns()
        if len(self._spans) == KEPT_SPANS:
            self._dropped += 1
        told = attributes | (_of_answer(turn, heard) if heard else {})
        number = turn.interaction_id.removeprefix("int_")
        self._spans.append(
            {
                "traceId": number,
                "spanId": number[:16],
                "name": f"chat {attributes['gen_ai.request.model']}",
                "kind": CLIENT_KIND,
                "startTimeUnixNano": str(ended - int(turn.seconds * 1e9)),
                "endTimeUnixNano": str(ended),
                "attributes": _pairs(told),
                "status": {"code": ERROR} if error else {"code": OK},
            }
        )
        self._add("gen_ai.client.operation.duration", "s", SECOND_BOUNDS, attributes, turn.seconds)
        for kind, name in (("input", "prompt_tokens"), ("output", "completion_tokens")):
            if heard is not None:
                typed = attributes | {"gen_ai.token.type": kind}
                self._add("gen_ai.client.token.usage", "{token}", TOKEN_BOUNDS, typed, heard.count(name))

    def _add(self, name: str, unit: str, bounds: list[float], attributes: Attributes, value: float) -> None:
        key = (name, *map(str, attributes.values()), *attributes)
        self._histograms.setdefault(key, _Histogram(name, unit, bounds, attributes)).add(value)

    async def _export_all(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            await self._export()

    async def _export(self) -> None:
        while self._spans:
            batch = [self._spans.popleft() for _ in range(min(BATCH, len(self._spans)))]
            scope = {"scope": {"name": "ratchet.gateway"}, "spans": batch}
            if not await self._post("/v1/traces", {"resourceSpans": [{"resource": RESOURCE, "scopeSpans": [scope]}]}):
                self._dropped += len(batch)
        taken, self._histograms = list(self._histograms.values()), {}
        since, self._since = self._since, time.time_ns()
        if taken:
            scope = {"scope": {"name": "ratchet.gateway"}, "metrics": _metrics(taken, since, self._since)}
            await self._post("/v1/metrics", {"resourceMetrics": [{"resource": RESOURCE, "scopeMetrics": [scope]}]})
        if self._dropped:
            logger.warning("spans_dropped", count=self._dropped)
            self._dropped = 0

    async def _post(self, path: str, document: dict[str, Any]) -> bool:
        headers = {"Content-Type": "application/json"}
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        try:
            async with self._session.post(
                self._url + path, data=orjson.dumps(document), headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                if response.status == 200:
                    return True
                reason = f"HTTP {response.status}"
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = type(error).__name__
        logger.warning("telemetry_not_taken", path=path, reason=reason)
        return False


@contextlib.asynccontextmanager
async def open_telemetry(url: str | None) -> AsyncIterator[Telemetry | None]:
    """The exporter until the end of the block; None without an address."""
    if url is None:
        yield None
        return
    async with aiohttp.ClientSession(trust_env=False) as session:
        telemetry = Telemetry(url, session)
        telemetry.start()
        try:
            yield telemetry
        finally:
            await telemetry.close()


def _attributes(turn: Turn) -> Attributes:
    """What every span and every series of a call says."""
    preset = turn.backend.spec.preset if turn.backend else "unknown"
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": PROVIDERS.get(preset, preset),
        "gen_ai.request.model": turn.serving.release.base_model.name if turn.serving else turn.feature,
        "ratchet.feature": turn.feature,
        "ratchet.channel": turn.channel,
    }


def _of_answer(turn: Turn, heard: Heard) -> Attributes:
    assert turn.serving is not None
    return {
        "gen_ai.response.id": turn.receipt,
        "gen_ai.response.model": turn.model_there or turn.serving.release.model,
        "gen_ai.response.finish_reasons": [heard.finish_reason or "unknown"],
        "gen_ai.usage.input_tokens": heard.count("prompt_tokens"),
        "gen_ai.usage.output_tokens": heard.count("completion_tokens"),
        "ratchet.tenant": turn.asked.ratchet.tenant,
        "ratchet.release_id": turn.serving.release_id,
        "ratchet.propensity": turn.assigned.propensity,
        "ratchet.fallback": turn.is_fallback,
    }


def _metrics(histograms: list[_Histogram], since: int, until: int) -> list[dict[str, Any]]:
    """The series of each metric together."""
    found: dict[str, dict[str, Any]] = {}
    for one in histograms:
        point = {
            "attributes": _pairs(one.attributes),
            "startTimeUnixNano": str(since),
            "timeUnixNano": str(until),
            "count": str(sum(one.counts)),
            "sum": one.sum,
            "bucketCounts": [str(count) for count in one.counts],
            "explicitBounds": one.bounds,
        }
        empty = {"name": one.name, "unit": one.unit, "histogram": {"aggregationTemporality": DELTA, "dataPoints": []}}
        found.setdefault(one.name, empty)["histogram"]["dataPoints"].append(point)
    return list(found.values())


def _pairs(attributes: Attributes) -> list[dict[str, Any]]:
    return [{"key": name, "value": _value(value)} for name, value in attributes.items()]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(one) for one in value]}}
    return {"stringValue": str(value)}


RESOURCE = {"attributes": _pairs({"service.name": "ratchet-gateway"})}
