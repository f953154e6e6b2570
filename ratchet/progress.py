"""A progress line with the time left, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

LINE_EVERY_S = 10.0
REDRAW_EVERY_S = 0.2


class ProgressLine:
    """One line that is redrawn on a terminal; elsewhere a new line every ten seconds; the last step is always shown."""

    def __init__(
        self, label: str, *, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """The first line is due after one pause, when the pace says something about the time left."""
        self.label = label
        self.stream = stream if stream is not None else sys.stderr
        self.clock = clock
        self.started = clock()
        self.written = self.started

    def show(self, done: int, total: int, note: str = "") -> None:
        """Show `done` of `total` and the time left at the pace so far."""
        now = self.clock()
        redraws = self.stream.isatty()
        pause = REDRAW_EVERY_S if redraws else LINE_EVERY_S
        if done < total and now - self.written < pause:
            return
        self.written = now
        elapsed = now - self.started
        left = elapsed / done * (total - done) if done else None
        share = done / total if total else 1.0
        text = f"{self.label}: {done}/{total} ({share:.0%}) {clock_text(elapsed)} gone, {clock_text(left)} left"
        text += f", {note}" if note else ""
        end = "\n" if done >= total or not redraws else ""
        self.stream.write(f"\r\x1b[2K{text}{end}" if redraws else text + end)
        self.stream.flush()


def clock_text(seconds: float | None) -> str:
    """Seconds as m:ss; `?` where they are not known yet."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
