"""Commands on models, and on this machine."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from tumbao.pipeline.commands.app import (
    DEFAULT_WORKSPACE,
    LayoutOption,
    PushedModel,
    Workspace,
    app,
    check_local,
    error_console,
    fail,
    genre_names,
    parse_existing,
    parse_path,
    quiet_tensorflow,
    require_pipeline,
)
from tumbao.serving.terminal import TerminalConsole


@app.command()
def models() -> None:
    """List the models that `tumbao run --model` and `tumbao compare` know, a line each."""
    from tumbao.trainer.models.registry import MODELS

    for one in MODELS.values():
        TerminalConsole().print(
            f"[bold]{one.name:<15}[/bold] {one.summary} [dim]({one.after})[/dim]", highlight=False, soft_wrap=True
        )


@app.command()
def explain(
    out: Annotated[Path, typer.Option(callback=check_local, help="Folder to write the page to.")],
    songs: Annotated[
        list[Path] | None,
        typer.Argument(parser=parse_path, help="Songs to explain: files, folders and lists."),
    ] = None,
    model: PushedModel = DEFAULT_WORKSPACE / "pushed",
    data: Annotated[
        Any,
        typer.Option(
            parser=parse_existing,
            metavar="<path>",
            help="The library to look for neighbours in and to map. \\[default: none]",
        ),
    ] = None,
    layout: LayoutOption = "auto",
    workspace: Workspace = DEFAULT_WORKSPACE,
    genres: Annotated[
        str,
        typer.Option(help="Genres for activation maximization, separated by commas. \\[default: all of the model's]"),
    ] = "",
    seed: Annotated[int, typer.Option(min=0, help="Of all that is drawn at random.")] = 7,
) -> None:
    """Show what a model learned, on one page with players: what genres sound like to it, and why songs get theirs.

    Exit codes: 0 all done, 1 some songs cannot be read, 2 wrong use, 130 interrupted: no page is written then.
    """
    require_pipeline()
    quiet_tensorflow()
    from tumbao.pipeline.explain import Asked
    from tumbao.pipeline.explain import explain as look_into

    asked = Asked(
        model=model,
        songs=tuple(songs or ()),
        data=data,
        layout=layout,
        workspace=workspace.absolute(),
        genres=genre_names(genres),
        seed=seed,
        out=out,
    )
    code = look_into(asked, error_console(), TerminalConsole())
    raise typer.Exit(code)


@app.command()
def classify(
    songs: Annotated[
        list[Path],
        typer.Argument(parser=parse_path, help="Audio files, folders, and lists of songs (CSV, TSV, JSONL)."),
    ],
    model: PushedModel = DEFAULT_WORKSPACE / "pushed",
    as_json: Annotated[bool, typer.Option("--json", help="JSON Lines: one object a song.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV: one row a fragment.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            callback=check_local,
            help="Write to this .jsonl or .csv instead, or go on with it. \\[default: none]",
        ),
    ] = None,
    write_tags: Annotated[
        bool, typer.Option("--write-tags", help="Write genres into the tags of files that have none.")
    ] = False,
    overwrite_genre: Annotated[
        bool, typer.Option("--overwrite-genre", help="With --write-tags: also where there is another genre.")
    ] = False,
    playlists: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            callback=check_local,
            help="Folder to write a playlist for each genre to. \\[default: none]",
        ),
    ] = None,
) -> None:
    """Say which genre songs are: genre, probability and a line per fragment.

    Needs only the edge runtime. Exit codes: 0 all done, 1 songs were rejected or could not be tagged, 2 wrong use,
    130 interrupted: with --out the same command goes on.
    """
    quiet_tensorflow()
    from tumbao.pipeline.classify import Asked, run_classify

    asked = Asked(songs, model, as_json, as_csv, out, write_tags, overwrite_genre, playlists)
    raise typer.Exit(run_classify(asked, error_console(), sys.stdout))


@app.command()
def serve(
    model: Annotated[
        Any,
        typer.Option(
            parser=parse_path, metavar="<path>", help="Where models are pushed, now and later, or one pushed version."
        ),
    ],
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 for all of this machine's.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen at; 0: a free one.")] = 8080,
    megabytes: Annotated[float, typer.Option(help="Limit for the files of a request, together.")] = 200.0,
    sound_minutes: Annotated[float, typer.Option(help="Limit for the sound of a file.")] = 30.0,
    files: Annotated[int, typer.Option(help="Limit for the files of a request.")] = 10,
    seconds: Annotated[float, typer.Option(help="Limit for a request, from its first byte to its answer.")] = 120.0,
    parallel: Annotated[
        int | None, typer.Option(help="Requests worked on at the same time. \\[default: as many as there are CPUs]")
    ] = None,
    waiting: Annotated[int, typer.Option(help="Requests beyond these that may wait; others are told to.")] = 64,
    allow_origin: Annotated[
        list[str] | None, typer.Option(help="Origin whose pages may ask too; may be repeated. \\[default: none]")
    ] = None,
    root_path: Annotated[str, typer.Option(help="Where a proxy has the server, as /tumbao. \\[default: /]")] = "",
) -> None:
    """Answer over HTTP: songs in, genres out; a page at /, the API at /docs, metrics for Prometheus.

    A model that is pushed while it runs takes over without a pause. Exit codes: 0 ended by SIGTERM, with all requests
    answered, 2 wrong use, 130 interrupted.
    """
    if importlib.util.find_spec("fastapi") is None:
        fail('Expected the server to be installed. Received: no fastapi. `pip install "tumbao[serve]"`.')
    quiet_tensorflow()
    from tumbao.serving.server.api import serve as serve_api
    from tumbao.serving.server.limits import Limits

    given = {"parallel": parallel} if parallel is not None else {}
    limits = Limits(megabytes, sound_minutes, files, seconds, waiting=waiting, **given)
    code = serve_api(model, host, port, limits, allow_origin or [], root_path)
    raise typer.Exit(code)


@app.command()
def rollback(
    push_to: Annotated[str, typer.Option(help="Where models are pushed: a folder, or an address.")] = str(
        DEFAULT_WORKSPACE / "pushed"
    ),
    to: Annotated[str, typer.Option(help="The version that is to be served. \\[default: the model before]")] = "",
    why: Annotated[str, typer.Option(help="A word for the log. \\[default: none]")] = "",
    show: Annotated[bool, typer.Option("--list", help="Only show who pushed and replaced what, when and why.")] = False,
) -> None:
    """Serve an earlier model again: it is copied under a new, higher number, and nothing is deleted.

    Exit codes: 0 done, 2 wrong use.
    """
    require_pipeline()
    quiet_tensorflow()

    from tumbao.pipeline.rollback import history, roll_back

    if show:
        TerminalConsole().print(history(push_to))
        return
    event = roll_back(push_to, to, why)
    TerminalConsole().print(
        f"{escape(push_to.rstrip('/'))}/{event.version} is served now, a copy of {event.of}, in the place of "
        f"{event.replaces}.",
        highlight=False,
        soft_wrap=True,
    )


@app.command()
def doctor(workspace: Workspace = DEFAULT_WORKSPACE) -> None:
    """Check this machine: versions, CPU, weights, decoders, disk; what is not fine, and what to do."""
    from tumbao.pipeline.doctor import run_doctor

    raise typer.Exit(run_doctor(TerminalConsole(), workspace))
