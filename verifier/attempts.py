"""How often a name may fail before its codes are no longer looked at."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from pathlib import Path

from pydantic import TypeAdapter

from ratchet.errors import SettingsInvalid
from ratchet.files import canonical_json
from ratchet.signing import write_private

# RFC 4226, section 7.3: six digits hold only where tries are few. The second limit is for a patient guesser: with the
# 12 codes that are valid at any time, 20 tries a day are right once in eleven years.
LIMITS = ((5, 300), (20, 86_400))  # (failures, within seconds)
MOST_FAILURES, LONGEST_S = max(most for most, _ in LIMITS), max(within_s for _, within_s in LIMITS)
MOST_NAMES = 10_000

_Times = TypeAdapter(dict[str, list[float]])


class Attempts:
    """Failures per name, on disk before the answer: who can end the process gets no more tries. Its user holds a lock.

    Only names that exist are written; a flood of others is counted in memory.
    """

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        """Read the file; none yet means no failures.

        Raises:
            SettingsInvalid: it cannot be read; it is never replaced by an empty one.
        """
        self._path = path
        self._clock = clock
        try:
            known = _Times.validate_python(json.loads(path.read_bytes()) if path.exists() else {})
        except ValueError as error:
            raise SettingsInvalid(f"{path} is damaged ({type(error).__name__}); restore it from a copy") from error
        self._failed_at = {name: deque(times, maxlen=MOST_FAILURES) for name, times in known.items()}
        self._kept = set(known)

    def wait_s(self, name: str) -> float:
        """Seconds until the name may try again; 0 where it may now."""
        failed_at = self._failed_at.get(name, ())
        waits = [failed_at[-most] + within_s - self._clock() for most, within_s in LIMITS if len(failed_at) >= most]
        return max([0.0, *waits])

    def note_failure(self, name: str, *, is_known: bool) -> None:
        """Count a failure; a flood of names pushes out the one that failed longest ago."""
        failed_at = self._failed_at.pop(name, deque(maxlen=MOST_FAILURES))
        failed_at.append(self._clock())
        self._failed_at[name] = failed_at
        if len(self._failed_at) > MOST_NAMES:
            del self._failed_at[next(iter(self._failed_at))]
        if is_known:
            self._kept.add(name)
        self._save()  # in either case, or the time that it takes would tell which names exist

    def _save(self) -> None:
        since = self._clock() - LONGEST_S
        times = {name: [at for at in self._failed_at.get(name, ()) if at > since] for name in self._kept}
        write_private(self._path, canonical_json({name: at for name, at in times.items() if at}).encode())
