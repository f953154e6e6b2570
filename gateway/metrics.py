"""What Prometheus reads: counts and times by feature and channel, in a registry of this app's own."""

from __future__ import annotations

from typing import NamedTuple

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from gateway.turn import Heard, Turn
from ratchet.mirrored import Mirrored

logger = structlog.get_logger("gateway")
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class _Series(NamedTuple):
    """What is counted of the answers of one feature, channel and status."""

    requests: Counter
    latency: Histogram
    tokens_in: Counter
    tokens_out: Counter


class Metrics:
    """The gateway's counters; a feature that is not known is never a label, so that callers cannot add series."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "ratchet_requests", "Chat requests", ["feature", "channel", "status"], registry=self.registry
        )
        self.latency = Histogram(
            "ratchet_latency_seconds",
            "From request to the last byte",
            ["feature", "channel"],
            registry=self.registry,
            buckets=SECONDS,
        )
        self.tokens = Counter("ratchet_tokens", "Tokens", ["feature", "direction"], registry=self.registry)
        self.fallbacks = Counter(
            "ratchet_fallbacks", "Answers given by stable for a canary that failed", ["feature"], registry=self.registry
        )
        self.observed = Counter(
            "ratchet_observed", "Records of other ways in", ["way", "outcome"], registry=self.registry
        )
        self.guards = Counter(
            "ratchet_guards", "What guards found", ["feature", "side", "check", "mode"], registry=self.registry
        )
        self._shadow = Counter(
            "ratchet_shadow_requests", "Mirrored requests", ["feature", "outcome"], registry=self.registry
        )
        self._shadow_tokens = Counter(
            "ratchet_shadow_tokens", "Tokens of mirrored requests", ["feature", "direction"], registry=self.registry
        )
        self._shadow_usd = Counter("ratchet_shadow_usd", "Their cost", ["feature"], registry=self.registry)
        self.feedback = Counter("ratchet_feedback", "Feedback stored", ["feature", "kind"], registry=self.registry)
        self._series: dict[tuple[str, str, str], _Series] = {}  # as labels() costs more than counting

    def answered(self, turn: Turn, heard: Heard, status: str) -> None:
        """Count an answer and write its line of the log; `status` is the HTTP status, or `aborted`."""
        seconds = turn.seconds
        series = self._series_of(turn.feature, turn.channel, status)
        series.requests.inc()
        series.latency.observe(seconds)
        series.tokens_in.inc(heard.count("prompt_tokens"))
        series.tokens_out.inc(heard.count("completion_tokens"))
        logger.info(
            "answered",
            interaction_id=turn.interaction_id,
            feature=turn.feature,
            channel=turn.channel,
            status=status,
            ms=round(seconds * 1000),
        )

    def shadow(self, feature: str, outcome: str) -> None:
        """Count a mirrored request: answered, error, not_tried, dropped, ended or broke."""
        self._shadow.labels(feature, outcome).inc()

    def shadow_spent(self, record: Mirrored) -> None:
        """Count what a mirrored request used; no tenant pays for it."""
        self._shadow_tokens.labels(record.feature, "input").inc(record.usage.input_tokens)
        self._shadow_tokens.labels(record.feature, "output").inc(record.usage.output_tokens)
        self._shadow_usd.labels(record.feature).inc(record.cost_usd or 0.0)

    def _series_of(self, feature: str, channel: str, status: str) -> _Series:
        found = self._series.get((feature, channel, status))
        if found is None:
            requests, latency = self.requests.labels(feature, channel, status), self.latency.labels(feature, channel)
            tokens = (self.tokens.labels(feature, direction) for direction in ("input", "output"))
            found = self._series[feature, channel, status] = _Series(requests, latency, *tokens)
        return found

    def observe(self, way: str, counts: dict[str, int]) -> None:
        """Count what came in by a way besides the chat: accepted, known and rejected."""
        for outcome, count in counts.items():
            self.observed.labels(way, outcome).inc(count)

    def page(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self.registry)
