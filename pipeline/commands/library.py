"""Commands on libraries of songs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Column, Table
from typer import Argument, Option

from tumbao.components.ingest import progress
from tumbao.pipeline.commands.app import (
    DEFAULT_WORKSPACE,
    Layout,
    Library,
    Workspace,
    app,
    check_local,
    error_console,
    genre_names,
    parse_existing,
    require_packages,
    require_pipeline,
    say,
)
from tumbao.pipeline.progress_display import ProgressDisplay
from tumbao.schema.errors import UserError
from tumbao.schema.genres import GENRES
from tumbao.serving.formatting import TerminalConsole

DEMO_SONGS, DEMO_SEED = 12, 7

PageFolder = Annotated[Path, Option(file_okay=False, callback=check_local, help="Folder for the page and its tables.")]
Genres = Annotated[str, Option(help="Genres, separated by commas.")]
PAPER_GENRES = ",".join(GENRES)
Weights = Annotated[str, Option(help="File of the backbone's weights, or random. \\[default: search for them]")]


@app.command()
def inspect(
    library: Library,
    out: PageFolder,
    genres: Annotated[str, Option(help="Genres, separated by commas. \\[default: all genres of the library]")] = "",
    layout: Layout = "auto",
) -> None:
    """Describe a library on one page, before any training.

    The page shows files, hours, formats, genres, artists, durations, loudness, duplicates, rejected files and mel
    images; TFDV's statistics are written beside it. Exit codes: 0 page written, 1 page written but no song is usable,
    2 invalid use, 130 interrupted.
    """
    require_pipeline()
    from tumbao.analysis.inspect.page import run_inspect

    with ProgressDisplay(error_console()) as display, progress.listen(display):
        code = run_inspect(library, out, genre_names(genres), layout, lambda line: display.say(escape(line)))
    raise typer.Exit(code)


@app.command()
def drift(
    new: Annotated[Path, Argument(parser=parse_existing, help="Songs: a folder or a list, also without genres.")],
    out: PageFolder = Path("tumbao-drift"),
    workspace: Workspace = DEFAULT_WORKSPACE,
    layout: Layout = "auto",
) -> None:
    """Compare new songs with the training data of the workspace's last run.

    Exit codes: 0 alike, 3 drift, 1 no song of NEW can be measured, 2 invalid use, 130 interrupted.
    """
    require_pipeline()
    from tumbao.analysis.drift.page import PAGE, run_drift, value_of
    from tumbao.pipeline.metadata import find_training

    with ProgressDisplay(error_console()) as display, progress.listen(display):
        training = find_training(workspace)
        label = " (synthetic library)" if training.synthetic else ""
        display.say(f"Training data: {escape(training.library)}{label}, run {escape(training.run)}")
        songs, comparison = run_drift(training, new, out, layout)
        for note in songs.notes:
            display.say(escape(note))
        for one in songs.rejected:
            display.say(f"  rejected: {escape(one.song)}: {escape(one.reason)}: {escape(one.detail)}")
    measured, rejected = len(songs.songs), len(songs.rejected)
    label = " (synthetic library)" if songs.synthetic else ""
    say(f"found {measured + rejected} = measured {measured} + rejected {rejected}{label}")
    if comparison is None:
        raise typer.Exit(1)
    names = "measure", "training", "new", "distance", "threshold", "verdict"
    table = Table(*(Column(name, no_wrap=name != "new") for name in names))
    for measure in comparison.by_distance:
        values = (escape(value_of(measure, value)) for value in (measure.training, measure.new))
        verdict = "[red]drift[/red]" if measure.drifted else "alike"
        distances = f"{measure.distance:.3f}", f"{measure.threshold:.3f}"
        table.add_row(measure.descriptor.name, *values, *distances, verdict)
    TerminalConsole().print(table)
    say(escape(str(out / PAGE)))
    raise typer.Exit(3 if comparison.drifted else 0)


@app.command()
def compare(
    data: Annotated[Any, Option(parser=parse_existing, metavar="<path>", help="Library: a folder, or a list.")],
    model: Annotated[
        list[str] | None, Option(help="Model, also as vgg16:epochs=20,dropout=0.5; repeatable. \\[default: all models]")
    ] = None,
    split: Annotated[
        list[str] | None,
        Option(
            help="What a split keeps together: song, artist, fragment, or a column of the list; repeatable. "
            "\\[default: song, fragment]"
        ),
    ] = None,
    seeds: Annotated[int, Option(min=1, help="Number of trainings of each model on each split.")] = 3,
    folds: Annotated[int, Option(min=0, help="Folds of the cross-validation; 0 for a single split.")] = 5,
    seed: Annotated[int, Option(min=0, help="Seed of the split and of the first training.")] = 7,
    out: PageFolder = Path("tumbao-comparison"),
    workspace: Workspace = DEFAULT_WORKSPACE,
    genres: Genres = PAPER_GENRES,
    layout: Layout = "auto",
    weights: Weights = "",
) -> None:
    """Train several models on one library, and compare them on one page.

    Earlier trainings are reused. Exit codes: 0 all models compared, 1 some models failed, 2 invalid use,
    130 interrupted; the same command continues.
    """
    require_pipeline()
    from tumbao.pipeline.compare import compare as train_and_compare
    from tumbao.pipeline.compare import parse_model
    from tumbao.pipeline.config import require_split_by
    from tumbao.pipeline.preparation import prepare
    from tumbao.trainer.models.registry import MODELS

    if folds == 1:
        raise UserError("Expected 0 folds, or at least 2. Received: 1")
    names = model or [one.name for one in MODELS.values() if not one.option_of]
    models = {name: parse_model(name) for name in names}
    protocols = list(dict.fromkeys(split or ["song", "fragment"]))
    with prepare(data, workspace, genre_names(genres), layout, weights, workspace / "compare.log") as prepared:
        for protocol in protocols:
            require_split_by(protocol, prepared.catalog.songs, option="--split")
        all_seeds = range(seed, seed + seeds)
        code = train_and_compare(models, prepared, protocols, all_seeds, folds, out, TerminalConsole())
    raise typer.Exit(code)


@app.command()
def curate(
    library: Library,
    out: Annotated[Path, Option(callback=check_local, help="Folder for the page; with --apply, the new .csv file.")],
    apply: Annotated[
        Path | None, Option(exists=True, dir_okay=False, help="A suspects.csv with your verdicts, to correct the list.")
    ] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    genres: Genres = PAPER_GENRES,
    layout: Layout = "auto",
    model: Annotated[str, Option(help="Model that predicts the labels; see `tumbao models`.")] = "vgg16-gap",
    folds: Annotated[int, Option(min=2, help="Folds of the cross-validation.")] = 5,
    seed: Annotated[int, Option(min=0, help="Seed of the cross-validation and of the trainings.")] = 7,
    weights: Weights = "",
    top: Annotated[int, Option(min=1, help="Largest number of songs on the page; the tables list all.")] = 40,
) -> None:
    """List songs whose label looks wrong, with players and mel images, and apply your verdicts to a list.

    The library's files are never changed. Exit codes: 0 done, 2 invalid use, 130 interrupted.
    """
    require_pipeline()
    from tumbao.pipeline.curate import apply as apply_verdicts
    from tumbao.pipeline.curate import curate as find_issues
    from tumbao.pipeline.preparation import prepare
    from tumbao.trainer.models import registry

    named = genre_names(genres)
    if apply:
        apply_verdicts(apply, library, out, layout, named, TerminalConsole())
        return
    if out.is_file():
        raise UserError(f"Expected a folder to write the page to. Received: {out}, which is a file.")
    spec = registry.find_model(model)
    with prepare(library, workspace, named, layout, weights, workspace / "curate.log") as prepared:
        find_issues(spec, prepared, folds, seed, top, out, TerminalConsole())


@app.command()
def fetch(
    urls: Annotated[Path, Argument(exists=True, dir_okay=False, help="CSV with the columns url, genre and others.")],
    out: Annotated[Path, Option(file_okay=False, callback=check_local, help="Folder for songs and manifest.csv.")],
    sleep: Annotated[float, Option(help="Seconds to wait between songs.")] = 5.0,
    kilobytes_per_second: Annotated[float | None, Option(help="Limit of the download rate. \\[default: none]")] = None,
) -> None:
    """Download songs that you have the right to use, unchanged, with a manifest of their sources.

    Exit codes: 0 all songs are there, 1 some failed (failed.csv has the reasons), 2 invalid use, 130 interrupted.
    """
    from tumbao.datasets.fetch.run import run_fetch
    from tumbao.datasets.fetch.source import RateLimits

    limits = RateLimits(sleep_seconds=sleep, kilobytes_per_second=kilobytes_per_second)
    with ProgressDisplay(error_console()) as display:
        code = run_fetch(urls, out, display.console, limits, display)
    raise typer.Exit(code)


@app.command()
def demo_library(
    out: Annotated[Path, Argument(file_okay=False, callback=check_local, help="Folder for <genre>/<song>.mp3.")],
    songs_per_genre: Annotated[int, Option(min=1, help="Number of songs of each genre.")] = DEMO_SONGS,
    seed: Annotated[int, Option(min=0, help="Seed of the composition.")] = DEMO_SEED,
) -> None:
    """Compose the demo library of synthetic songs."""
    compose(out, songs_per_genre, seed)


def compose(out: Path, songs_per_genre: int, seed: int) -> None:
    """Compose the demo library, with progress on the terminal."""
    require_packages()
    from tumbao.datasets.demo.library import make_library

    with ProgressDisplay(error_console()) as display:
        songs = make_library(
            out, songs_per_genre, seed, progress=lambda done, total, _: display("compose", done, total)
        )
        display.say(f"{len(songs)} synthetic songs in {escape(str(out))}")
