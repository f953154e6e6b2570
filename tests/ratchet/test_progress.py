"""ratchet.progress: what is shown, and how often."""

from __future__ import annotations

import io

from ratchet.progress import ProgressLine, clock_text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_time_left_follows_the_pace_so_far() -> None:
    times, stream = iter([0.0, 30.0]), io.StringIO()
    ProgressLine("work", stream=stream, clock=lambda: next(times)).show(1, 4, "loss 0.5")
    assert stream.getvalue() == "work: 1/4 (25%) 0:30 gone, 1:30 left, loss 0.5\n"


def test_a_log_gets_a_line_every_ten_seconds_and_the_last() -> None:
    times, stream = iter([0.0, 1.0, 2.0, 12.0, 13.0]), io.StringIO()
    line = ProgressLine("work", stream=stream, clock=lambda: next(times))
    for done in range(1, 5):
        line.show(done, 4)
    assert [text.split()[1] for text in stream.getvalue().splitlines()] == ["3/4", "4/4"]


def test_a_terminal_redraws_one_line() -> None:
    times, stream = iter([0.0, 1.0, 2.0]), Terminal()
    line = ProgressLine("work", stream=stream, clock=lambda: next(times))
    line.show(1, 2)
    line.show(2, 2)
    assert stream.getvalue().count("\r\x1b[2K") == 2 and stream.getvalue().count("\n") == 1


def test_nothing_to_do_is_shown_as_done() -> None:
    stream = io.StringIO()
    ProgressLine("work", stream=stream).show(0, 0)
    assert "0/0 (100%)" in stream.getvalue()


def test_clock_text_of_unknown_and_long_times() -> None:
    assert (clock_text(None), clock_text(59.6), clock_text(3600)) == ("?", "1:00", "60:00")
