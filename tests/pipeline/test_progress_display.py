"""Progress: plain lines in a file or a pipe, bars on a terminal."""

from __future__ import annotations

import io
import sys
import time

import pytest
from rich.console import Console

from tumbao.components.ingest import progress
from tumbao.pipeline.progress_display import PLAIN_SECONDS, ProgressDisplay


class Clock:
    """A clock that the test sets."""

    seconds = 1_000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: clock.seconds)
    return clock


def plain() -> tuple[ProgressDisplay, io.StringIO]:
    file = io.StringIO()
    return ProgressDisplay(Console(file=file, force_terminal=False, width=40)), file


def test_a_step_shows_the_remaining_time_at_intervals_each_time(clock: Clock) -> None:
    watch, file = plain()
    with watch:
        for _ in range(2):
            for done in range(101):
                watch("features", done, 100)
                clock.seconds += PLAIN_SECONDS / 40
            clock.seconds += 100
    lines = [
        "  features: 40 of 100 (4.0/s, 15 s left)",
        "  features: 80 of 100 (4.0/s, 5 s left)",
        "  features: 100 of 100 (4.0/s)",
    ]
    assert file.getvalue().splitlines() == lines * 2


def test_the_rate_of_a_step_is_measured_from_its_first_report(clock: Clock) -> None:
    watch, file = plain()
    with watch:
        watch("download", 30, 50)
        clock.seconds += PLAIN_SECONDS
        watch("download", 30, 50)
        clock.seconds += PLAIN_SECONDS
        watch("download", 50, 50)
    assert file.getvalue() == "  download: 30 of 50 (0.0/s)\n  download: 50 of 50 (1.0/s)\n"


def test_lines_are_not_wrapped_in_a_pipe() -> None:
    watch, file = plain()
    watch.say("[bold]Run[/bold] 20260504: /home/somebody/music → /home/somebody/workspace")
    assert file.getvalue() == "Run 20260504: /home/somebody/music → /home/somebody/workspace\n"


def test_a_terminal_shows_bars_and_erases_them(clock: Clock) -> None:
    file = io.StringIO()
    with ProgressDisplay(Console(file=file, force_terminal=True, width=100)) as watch, progress.listen(watch):
        progress.start("decode", 3)
        for _ in range(3):
            progress.advance("decode")
            watch.say("a line")
        progress.start("decode", 2)
        progress.advance("decode")
        progress.start("nothing", 0)
        progress.start("train", 5)
        clock.seconds += 0.5
        progress.advance("train")
        progress.report("download", 1_000, 4_000)
    seen = file.getvalue()
    assert seen.count("a line") == 3
    assert "1/5" in seen
    assert "2.0/s" in seen
    assert "1000/4000" in seen
    assert seen.endswith("\x1b[2K")  # the bars' lines are erased


def test_output_of_libraries_is_not_shown_above_the_bars(capsys: pytest.CaptureFixture[str]) -> None:
    file = io.StringIO()
    with ProgressDisplay(Console(file=file, force_terminal=True, width=100)) as watch:
        watch("features", 1, 10)
        sys.stderr.write("output of a library\n")
        sys.stdout.write("more of it\n")
    assert "output of a library" not in file.getvalue()
    assert "more of it" not in file.getvalue()
    assert capsys.readouterr() == ("more of it\n", "output of a library\n")
