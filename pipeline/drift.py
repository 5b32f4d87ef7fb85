"""The command `tumbao drift`: compare new songs with the training data, and print a table."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tumbao.analysis.drift.comparison import Comparison
from tumbao.analysis.drift.page import PAGE, Outcome, run_drift, value_of
from tumbao.components.ingest import progress
from tumbao.components.ingest.paths import AnyPath
from tumbao.pipeline.metadata import find_training
from tumbao.pipeline.progress_display import ProgressDisplay

ALIKE, NOTHING_MEASURED, DRIFT = 0, 1, 3
"""Exit codes."""


def drift(workspace: Path, library: AnyPath, out: Path, layout: str, noise: Console, console: Console) -> int:
    """Compare new songs with the training data of the workspace's last run, and write the page to the folder `out`.

    `layout` is one of `formats.LAYOUTS`. Progress and rejected files are printed to `noise`, the table to `console`.
    Returns `ALIKE`, `DRIFT` or `NOTHING_MEASURED`. Missing training data or an invalid library raise a `ValueError`.
    """
    with ProgressDisplay(noise) as watch, progress.listen(watch):
        training = find_training(workspace)
        label = " (synthetic library)" if training.synthetic else ""
        watch.say(f"Training data: {escape(training.library)}{label}, run {escape(training.run)}")
        outcome = run_drift(training, library, out, layout)
        for note in outcome.new.notes:
            watch.say(escape(note))
        for one in outcome.new.rejected:
            watch.say(f"  rejected: {escape(one.song)}: {escape(one.reason)}: {escape(one.detail)}")
    _count(outcome, console)
    if outcome.comparison is None:
        return NOTHING_MEASURED
    console.print(_table(outcome.comparison))
    console.print(escape(str(out / PAGE)), highlight=False, soft_wrap=True)
    return DRIFT if outcome.comparison.drifted else ALIKE


def _count(outcome: Outcome, console: Console) -> None:
    new = outcome.new
    found = len(new.songs) + len(new.rejected)
    label = " (synthetic library)" if new.synthetic else ""
    console.print(f"found {found} = measured {len(new.songs)} + rejected {len(new.rejected)}{label}", highlight=False)


def _table(comparison: Comparison) -> Table:
    table = Table()
    for name in ("measure", "training", "new", "distance", "threshold", "verdict"):
        table.add_column(name, no_wrap=name != "new")
    for measure in comparison.by_distance:
        table.add_row(
            measure.descriptor.name,
            escape(value_of(measure, measure.training)),
            escape(value_of(measure, measure.new)),
            f"{measure.distance:.3f}",
            f"{measure.threshold:.3f}",
            "[red]drift[/red]" if measure.drifted else "alike",
        )
    return table
