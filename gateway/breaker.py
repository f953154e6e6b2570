"""A circuit breaker: after failures in a row nothing is asked for a while, then one request tries."""

from __future__ import annotations

import time
from collections.abc import Callable


class Breaker:
    """Counts failures in a row; open after `failures` of them, for `open_s` seconds."""

    def __init__(self, failures: int, open_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = failures
        self._open_s = open_s
        self._clock = clock
        self._failures = 0
        self._open_until = 0.0

    def wait_s(self) -> float:
        """Seconds until a request may pass; 0 lets this one pass.

        Once the time is over, exactly one caller is told 0: the others wait for its outcome, or for another `open_s`.
        """
        if self._failures < self._limit:
            return 0.0
        now = self._clock()
        if now < self._open_until:
            return self._open_until - now
        self._open_until = now + self._open_s
        return 0.0

    def succeeded(self) -> None:
        """Close it."""
        self._failures = 0

    def failed(self) -> None:
        """Count a failure; the one that reaches the limit opens it."""
        self._failures += 1
        if self._failures >= self._limit:
            self._open_until = self._clock() + self._open_s
