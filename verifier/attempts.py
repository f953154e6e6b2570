"""How often a name may fail before its codes are no longer looked at."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

# RFC 4226, section 7.3: six digits hold only where tries are few. The second limit is for a patient guesser: with the
# 12 codes that are valid at any time, 20 tries a day are right once in eleven years.
LIMITS = ((5, 300), (20, 86_400))  # (failures, within seconds)
MOST_NAMES = 10_000


class Attempts:
    """Failures per name, in memory: a restart forgets them. Its user holds the lock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Start without failures."""
        self._clock = clock
        self._failed_at: dict[str, deque[float]] = {}

    def wait_s(self, name: str) -> float:
        """Seconds until the name may try again; 0 where it may now."""
        failed_at = self._failed_at.get(name, ())
        waits = [failed_at[-most] + within_s - self._clock() for most, within_s in LIMITS if len(failed_at) >= most]
        return max([0.0, *waits])

    def note_failure(self, name: str) -> None:
        """Count a failure; a flood of names pushes out the one that failed longest ago."""
        failed_at = self._failed_at.pop(name, deque(maxlen=max(most for most, _ in LIMITS)))
        failed_at.append(self._clock())
        self._failed_at[name] = failed_at
        if len(self._failed_at) > MOST_NAMES:
            del self._failed_at[next(iter(self._failed_at))]
