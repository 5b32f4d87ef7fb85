"""Commands on libraries of songs."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from tumbao.components.ingest.splits import SPLIT_BY
from tumbao.pipeline.commands.app import (
    DEFAULT_WORKSPACE,
    LayoutOption,
    Library,
    Workspace,
    app,
    check_local,
    error_console,
    genre_names,
    parse_existing,
    quiet_tensorflow,
    require_pipeline,
)
from tumbao.schema.errors import UserError
from tumbao.schema.genres import GENRES
from tumbao.serving.terminal import TerminalConsole

DEMO_SONGS, DEMO_SEED = 12, 7

Protocol = enum.Enum("Protocol", {name: name for name in SPLIT_BY}, type=str)  # type: ignore[misc] # defined once


@app.command()
def inspect(
    library: Library,
    out: Annotated[
        Path, typer.Option(file_okay=False, callback=check_local, help="Folder to write the page to: index.html.")
    ],
    genres: Annotated[
        str, typer.Option(help="The genres, separated by commas. \\[default: all that the library names]")
    ] = "",
    layout: LayoutOption = "auto",
) -> None:
    """Show what is in a library before any training, as one page.

    Files, hours, formats, genres, artists, durations, loudness, duplicates, rejects and mel images; beside the page
    TFDV's statistics. Exit codes: 0 page written, 1 written but no song is usable, 2 wrong use, 130 interrupted.
    """
    require_pipeline()
    quiet_tensorflow()
    from tumbao.analysis.inspect.page import run_inspect
    from tumbao.components.ingest import progress
    from tumbao.pipeline.progress_display import ProgressDisplay

    with ProgressDisplay(error_console()) as watch, progress.listen(watch):
        code = run_inspect(library, out, genre_names(genres), layout, lambda line: watch.say(escape(line)))
    raise typer.Exit(code)


@app.command()
def drift(
    new: Annotated[
        Path,
        typer.Argument(parser=parse_existing, help="A folder of songs, or a list of songs; genres or none."),
    ],
    out: Annotated[
        Path, typer.Option(file_okay=False, callback=check_local, help="Folder to write the page and its figures to.")
    ] = Path("tumbao-drift"),
    workspace: Workspace = DEFAULT_WORKSPACE,
    layout: LayoutOption = "auto",
) -> None:
    """Say whether new music is like what the workspace's last run was trained on.

    Exit codes: 0 alike, 3 drift, 1 no song of NEW can be measured, 2 wrong use, 130 interrupted.
    """
    require_pipeline()
    quiet_tensorflow()
    from tumbao.pipeline.drift import drift as compare

    code = compare(workspace, new, out, layout, error_console(), TerminalConsole())
    raise typer.Exit(code)


@app.command()
def compare(
    data: Annotated[
        Any, typer.Option(parser=parse_existing, metavar="<path>", help="The library: a folder, or a list of songs.")
    ],
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A model, alone or with settings: --model=vgg16-gap --model=vgg16:epochs=20,dropout=0.5; may be "
            "repeated. \\[default: all but other sizes of one]"
        ),
    ] = None,
    split: Annotated[
        list[Protocol] | None,
        typer.Option(
            help="What splits keep whole: song, artist, or the leaky fragment. \\[default: song and fragment]"
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each model on each split.")] = 3,
    folds: Annotated[int, typer.Option(min=0, help="Parts of a cross-validation; 0: one split.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the split, and the first of the trainings.")] = 7,
    out: Annotated[
        Path, typer.Option(file_okay=False, callback=check_local, help="Folder to write page, tables and figures to.")
    ] = Path("tumbao-comparison"),
    workspace: Workspace = DEFAULT_WORKSPACE,
    genres: Annotated[str, typer.Option(help="The genres, separated by commas.")] = ",".join(GENRES),
    layout: LayoutOption = "auto",
    weights: Annotated[
        str, typer.Option(help="File of backbones' weights, or random. \\[default: look for them]")
    ] = "",
) -> None:
    """Train models side by side on one library, and compare them on one page.

    What is trained already is taken over. Exit codes: 0 all compared, 1 some models could not be, 2 wrong use,
    130 interrupted: the same command goes on.
    """
    require_pipeline()
    quiet_tensorflow()
    from tumbao.pipeline.compare import compare as train_and_compare
    from tumbao.pipeline.compare import parse_model
    from tumbao.pipeline.preparation import prepare
    from tumbao.trainer.models.registry import MODELS

    if folds in (1, 2):
        raise UserError(f"Expected 0 folds, or at least 3. Received: {folds}")
    names = model or [one.name for one in MODELS.values() if not one.option_of]
    models = {name: parse_model(name) for name in names}
    protocols = list(dict.fromkeys([one.value for one in split or ()] or ["song", "fragment"]))
    with prepare(data, workspace, genre_names(genres), layout, weights, workspace / "compare.log") as prepared:
        all_seeds = range(seed, seed + seeds)
        code = train_and_compare(models, prepared, protocols, all_seeds, folds, out, TerminalConsole())
    raise typer.Exit(code)


@app.command()
def curate(
    library: Library,
    out: Annotated[
        Path,
        typer.Option(
            callback=check_local,
            help="Folder to write page and tables to; with --apply the corrected list, a new .csv.",
        ),
    ],
    apply: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A suspects.csv with your verdicts. \\[default: find suspects]"),
    ] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    genres: Annotated[str, typer.Option(help="The genres, separated by commas.")] = ",".join(GENRES),
    layout: LayoutOption = "auto",
    model: Annotated[str, typer.Option(help="What answers: see `tumbao models`.")] = "vgg16-gap",
    folds: Annotated[int, typer.Option(min=3, help="Parts of the cross-validation.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of the cross-validation and of the trainings.")] = 7,
    weights: Annotated[str, typer.Option(help="File of the backbone's weights, or random. \\[default: search]")] = "",
    top: Annotated[int, typer.Option(min=1, help="Songs on the page; the tables list all.")] = 40,
) -> None:
    """List songs whose label looks wrong, with players and mel images, and apply what you decide.

    Never changes the library's files. Exit codes: 0 done, 2 wrong use, 130 interrupted.
    """
    require_pipeline()
    quiet_tensorflow()
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
    urls: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV with url, genre and, if known, more.")],
    out: Annotated[
        Path,
        typer.Option(file_okay=False, callback=check_local, help="Folder to write <genre>/<song> and manifest.csv to."),
    ],
    sleep: Annotated[float, typer.Option(help="Seconds to wait between songs.")] = 5.0,
    kilobytes_per_second: Annotated[float | None, typer.Option(help="Limit of the rate. \\[default: none]")] = None,
) -> None:
    """Fetch songs that you have the right to use: audio as it is, with a manifest of sources.

    Exit codes: 0 all fetched or there already, 1 some failed (failed.csv says why), 2 wrong use, 130 interrupted.
    """
    from tumbao.datasets.fetch.run import run_fetch
    from tumbao.datasets.fetch.source import RateLimits
    from tumbao.pipeline.progress_display import ProgressDisplay

    limits = RateLimits(sleep_seconds=sleep, kilobytes_per_second=kilobytes_per_second)
    with ProgressDisplay(error_console()) as watch:
        code = run_fetch(urls, out, watch.console, limits, watch)
    raise typer.Exit(code)


@app.command()
def demo_library(
    out: Annotated[
        Path, typer.Argument(file_okay=False, callback=check_local, help="Folder to write <genre>/<song>.mp3 to.")
    ],
    songs_per_genre: Annotated[int, typer.Option(min=1, help="Songs of each genre.")] = DEMO_SONGS,
    seed: Annotated[int, typer.Option(min=0, help="Other seed, other songs.")] = DEMO_SEED,
) -> None:
    """Compose the demo library: synthetic songs, rendered from scores made here."""
    compose(out, songs_per_genre, seed)


def compose(out: Path, songs_per_genre: int, seed: int) -> None:
    """Compose the demo library, with progress on the terminal."""
    require_pipeline()
    from tumbao.datasets.demo.library import make_library
    from tumbao.pipeline.progress_display import ProgressDisplay

    with ProgressDisplay(error_console()) as watch:
        songs = make_library(
            out, songs_per_genre, seed, progress=lambda done, total, name: watch("compose", done, total)
        )
        watch.say(f"{len(songs)} synthetic songs in {escape(str(out))}")
