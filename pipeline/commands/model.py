"""Commands on models, and on this machine."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer import Argument, Option

from tumbao.components.ingest.paths import as_path
from tumbao.pipeline.commands.app import (
    DEFAULT_WORKSPACE,
    Layout,
    PushedModel,
    Workspace,
    app,
    check_local,
    error_console,
    fail,
    genre_names,
    parse_existing,
    quiet_tensorflow,
    require_pipeline,
    say,
)
from tumbao.serving.formatting import TerminalConsole


@app.command()
def models() -> None:
    """List the models of `tumbao run --model` and `tumbao compare`."""
    from tumbao.trainer.models.registry import MODELS

    for one in MODELS.values():
        say(f"[bold]{one.name:<15}[/bold] {one.summary} [dim]({one.after})[/dim]")


@app.command()
def explain(
    out: Annotated[Path, Option(file_okay=False, callback=check_local, help="Folder to write the page to.")],
    songs: Annotated[list[Path] | None, Argument(parser=as_path, help="Songs: files, folders and lists.")] = None,
    model: PushedModel = DEFAULT_WORKSPACE / "pushed",
    data: Annotated[Any, Option(parser=parse_existing, metavar="<path>", help="Library for neighbours, map.")] = None,
    layout: Layout = "auto",
    workspace: Workspace = DEFAULT_WORKSPACE,
    genres: Annotated[str, Option(help="Genres for activation maximization. \\[default: all of the model's]")] = "",
    seed: Annotated[int, Option(min=0, help="Seed of all random choices.")] = 7,
) -> None:
    """Explain a model on one page with players: activation maximization of genres, and attributions of songs.

    Exit codes: 0 all songs explained, 1 some songs cannot be read, 2 invalid use, 130 interrupted; then no page is
    written.
    """
    require_pipeline()
    from tumbao.pipeline.explain import ExplainOptions, run_explain

    options = ExplainOptions(
        model=model,
        songs=tuple(songs or ()),
        data=data,
        layout=layout,
        workspace=workspace.absolute(),
        genres=genre_names(genres),
        seed=seed,
        out=out,
    )
    code = run_explain(options, error_console(), TerminalConsole())
    raise typer.Exit(code)


@app.command()
def classify(
    songs: Annotated[list[Path], Argument(parser=as_path, help="Audio files, folders, and lists of songs.")],
    model: PushedModel = DEFAULT_WORKSPACE / "pushed",
    as_json: Annotated[bool, Option("--json", help="Print JSON Lines, an object for each song.")] = False,
    as_csv: Annotated[bool, Option("--csv", help="Print CSV, a row for each fragment.")] = False,
    out: Annotated[
        Path | None,
        Option(dir_okay=False, callback=check_local, help="File in .jsonl or .csv to write to, or to continue."),
    ] = None,
    write_tags: Annotated[bool, Option("--write-tags", help="Write the genre into tags without one.")] = False,
    overwrite_genre: Annotated[bool, Option("--overwrite-genre", help="With --write-tags: replace others.")] = False,
    playlists: Annotated[
        Path | None, Option(file_okay=False, callback=check_local, help="Folder for a playlist of each genre.")
    ] = None,
) -> None:
    """Classify songs: genre, probability and a line for each fragment.

    Needs only the edge runtime. Exit codes: 0 all done, 1 songs were rejected or could not be tagged, 2 invalid use,
    130 interrupted; with --out the same command continues.
    """
    quiet_tensorflow()
    from tumbao.pipeline.classify import ClassifyOptions, run_classify

    options = ClassifyOptions(songs, model, as_json, as_csv, out, write_tags, overwrite_genre, playlists)
    raise typer.Exit(run_classify(options, error_console(), sys.stdout))


@app.command()
def serve(
    model: PushedModel,
    host: Annotated[str, Option(help="Address to listen at; 0.0.0.0 for all addresses of this machine.")] = "127.0.0.1",
    port: Annotated[int, Option(min=0, max=65_535, help="Port to listen at; 0 for a free one.")] = 8080,
    megabytes: Annotated[float, Option(help="Limit of the total size of a request's files.")] = 200.0,
    sound_minutes: Annotated[float, Option(help="Limit of the duration of a file.")] = 30.0,
    files: Annotated[int, Option(help="Limit of the number of files in a request.")] = 10,
    seconds: Annotated[float, Option(help="Time limit of a request, from its first byte to the response.")] = 120.0,
    parallel: Annotated[int | None, Option(help="Requests processed at once. \\[default: the number of CPUs]")] = None,
    waiting: Annotated[int, Option(help="Requests that may wait beyond these; others are rejected.")] = 64,
    allow_origin: Annotated[list[str] | None, Option(help="Origin that may use the API (CORS); repeatable.")] = None,
    root_path: Annotated[str, Option(help="Path of the server behind a proxy, such as /tumbao. \\[default: /]")] = "",
) -> None:
    """Serve a model over HTTP: a page at /, the API described at /openapi.json, metrics for Prometheus at /metrics.

    Newly pushed models are loaded without a pause. Exit codes: 0 ended by SIGTERM, with all requests answered,
    2 invalid use, 130 interrupted.
    """
    if importlib.util.find_spec("fastapi") is None:
        fail('Expected the server to be installed. Received: no fastapi. `pip install "tumbao[serve]"`.')
    quiet_tensorflow()
    from tumbao.serving.server.api import serve as serve_api
    from tumbao.serving.server.uploads import Limits

    given = {"parallel": parallel} if parallel is not None else {}
    limits = Limits(megabytes, sound_minutes, files, seconds, waiting=waiting, **given)
    code = serve_api(model, host, port, limits, allow_origin or [], root_path)
    raise typer.Exit(code)


@app.command()
def rollback(
    push_to: Annotated[str, Option(help="Folder of pushed models, also in a bucket.")] = str(
        DEFAULT_WORKSPACE / "pushed"
    ),
    to: Annotated[str, Option(help="Version to serve. \\[default: the model before the served one]")] = "",
    why: Annotated[str, Option(help="Reason, for the log. \\[default: none]")] = "",
    show: Annotated[bool, Option("--list", help="Only print the log of pushes and rollbacks.")] = False,
) -> None:
    """Serve an earlier model again, as a copy under a new, higher number; nothing is deleted.

    Exit codes: 0 done, 2 invalid use.
    """
    require_pipeline()

    from tumbao.pipeline.rollback import history, roll_back

    if show:
        TerminalConsole().print(history(push_to))
        return
    event = roll_back(push_to, to, why)
    where = escape(push_to.rstrip("/"))
    say(f"{where}/{event.version} is served now, a copy of {event.of}, in place of {event.replaces}.")


@app.command()
def doctor(workspace: Workspace = DEFAULT_WORKSPACE) -> None:
    """Check versions, CPU, weights, decoders and disk of this machine, and suggest remedies."""
    from tumbao.pipeline.doctor import run_doctor

    raise typer.Exit(run_doctor(TerminalConsole(), workspace))
