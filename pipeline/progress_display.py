"""Progress of a run on the terminal: a line per component, and each step's count, rate and remaining time."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

PLAIN_SECONDS = 10.0
"""Seconds between two progress lines of a step without a terminal; a last line is written when it is done."""


class ProgressDisplay:
    """Shows the progress of steps on a console: bars on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._started: dict[str, tuple[float, int]] = {}
        self._written = 0.0
        self._tasks: dict[str, TaskID] = {}
        self._bars = Progress(
            TextColumn("  {task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            redirect_stdout=False,  # output of libraries is for the log, not above the bars
            redirect_stderr=False,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> ProgressDisplay:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def say(self, text: str) -> None:
        """Print a line in rich's markup above the bars."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def __call__(self, step: str, done: int, total: int) -> None:
        """Update a step's progress; a step restarts when `done` is 0."""
        now = time.monotonic()
        if done == 0 or step not in self._started:
            self._started[step] = now, done
            self._written = now
        began, had = self._started[step]
        rate = (done - had) / max(now - began, 1e-9)
        if self.console.is_terminal:
            self._draw(step, done, total, rate)
        elif done and (done == total or now - self._written >= PLAIN_SECONDS):
            self._written = now
            left = f", {(total - done) / rate:.0f} s left" if done < total and rate else ""
            self.say(f"  {step}: {done} of {total} ({rate:.1f}/s{left})")

    def _draw(self, step: str, done: int, total: int, rate: float) -> None:
        if step in self._tasks and done == 0:
            self._bars.remove_task(self._tasks.pop(step))
        if step not in self._tasks:
            self._tasks[step] = self._bars.add_task(step, total=total, rate="")
        self._bars.update(self._tasks[step], completed=done, rate=f"{rate:.1f}/s")
        if done >= total:
            self._bars.update(self._tasks[step], visible=False)
