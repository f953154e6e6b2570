"""What a request works with: the open parts of one running gateway."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.access import Access
from gateway.backends import Backends
from gateway.canaries import CanaryBreaker
from gateway.durable_log import DurableLog
from gateway.limits import Limits
from gateway.metrics import Metrics
from gateway.quotas import Quotas
from gateway.routing import Router
from gateway.telemetry import Telemetry
from gateway.turn import Heard, Turn
from ratchet.settings import Settings
from ratchet.store import Store

if TYPE_CHECKING:
    from gateway.mirror import Mirror  # which asks models, and so works with all of these parts


@dataclass(frozen=True)
class Parts:
    """Opened by the app's lifespan, closed with it."""

    router: Router
    backends: Backends
    log: DurableLog
    store: Store
    metrics: Metrics
    limits: Limits
    settings: Settings
    access: Access
    quotas: Quotas
    mirror: Mirror
    canaries: CanaryBreaker
    telemetry: Telemetry | None = None

    def answered(self, turn: Turn, heard: Heard, status: str) -> None:
        """Count an answer wherever answers are counted; `status` is the HTTP status, or `aborted`."""
        self.metrics.answered(turn, heard, status)
        if status == "200":
            self.canaries.answered(turn)
        if self.telemetry is not None:
            self.telemetry.observe(turn, heard, None if status == "200" else status)
