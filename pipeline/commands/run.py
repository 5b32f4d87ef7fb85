"""Commands that run the pipeline, locally or in the cloud, and list its runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from tumbao.pipeline.commands import config_options
from tumbao.pipeline.commands.app import (
    DEFAULT_WORKSPACE,
    Workspace,
    app,
    check_local,
    error_console,
    fail,
    quiet_tensorflow,
    require_packages,
    say,
)
from tumbao.pipeline.commands.config_options import CloudCommand, ConfigFile, LocalCommand, Settings
from tumbao.pipeline.commands.library import DEMO_SEED, DEMO_SONGS, compose
from tumbao.schema.errors import UserError
from tumbao.serving.terminal import TerminalConsole

if TYPE_CHECKING:
    from tumbao.pipeline.config import Config

DEMO_TRAINING = {"epochs": 10, "batch": 8, "learning_rate": 3e-4}
"""Training settings of the demo. With the paper's batch of 32, its few fragments would make only 20 steps in all."""

Pipeline = Annotated[Path, typer.Option(dir_okay=False, callback=check_local, help="The compiled pipeline, YAML.")]
DEFAULT_PIPELINE = Path("pipeline.yaml")


@app.command(cls=LocalCommand)
def run(context: typer.Context, config: ConfigFile = None, settings: Settings = None) -> None:
    """Train, evaluate and push a model of a library.

    Results of earlier runs in the same workspace are reused. Exit codes: 0 done and blessed, 3 done but not blessed,
    1 failed, 2 invalid use, 130 interrupted.
    """
    raise typer.Exit(_run(config_options.read_local(context, config, settings)))


@app.command(cls=LocalCommand)
def watch(
    context: typer.Context,
    config: ConfigFile = None,
    settings: Settings = None,
    every: Annotated[str, typer.Option(help="Time between checks of the library, as 30m, 1h or 1d.")] = "1h",
    once: Annotated[bool, typer.Option("--once", help="Check once, for cron and timers.")] = False,
) -> None:
    """Run whenever the library has changed, and push models that are no worse than the served one.

    All models are tested with the same songs: those of the first run. Exit codes: 0 ended by SIGTERM, 2 invalid use,
    130 interrupted; with --once 0 nothing to do, 4 nothing trained since all changed files are still being written,
    otherwise as `tumbao run`.
    """
    quiet_tensorflow()
    from tumbao.pipeline.watch import interval
    from tumbao.pipeline.watch import watch as check_and_run

    whole = config_options.read_local(context, config, settings)
    seconds = None if once else interval(every)
    raise typer.Exit(check_and_run(whole, seconds, lambda line: say(escape(line), error=True)))


@app.command("compile", cls=CloudCommand)
def compile_(
    context: typer.Context, config: ConfigFile = None, settings: Settings = None, out: Pipeline = DEFAULT_PIPELINE
) -> None:
    """Compile the pipeline for Kubeflow Pipelines or Vertex AI.

    Exit codes: 0 compiled, 2 invalid use.
    """
    quiet_tensorflow()
    from tumbao.pipeline.cloud import compile_pipeline, defaults

    whole = config_options.read_cloud(context, config, settings)
    compile_pipeline(whole, out)
    say(f"{escape(str(out))}: for {whole.runner.name}, with the parameters")
    for name, value in defaults(whole).items():
        say(f"  {name} = {escape(str(value))}")


@app.command(cls=CloudCommand)
def submit(
    context: typer.Context,
    config: ConfigFile = None,
    settings: Settings = None,
    out: Pipeline = DEFAULT_PIPELINE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do everything but the submission.")] = False,
) -> None:
    """Compile the pipeline and submit it to Vertex AI or Kubeflow Pipelines, once or on a schedule.

    Credentials come from the environment: Google's own for Vertex AI, KFP_TOKEN for Kubeflow. Exit codes: 0 submitted,
    1 the service rejected it, 2 invalid use.
    """
    quiet_tensorflow()
    from tumbao.pipeline.cloud import SubmissionError
    from tumbao.pipeline.cloud import submit as submit_pipeline

    try:
        submit_pipeline(config_options.read_cloud(context, config, settings), out, TerminalConsole(), dry_run)
    except SubmissionError as error:
        fail(str(error))


@app.command("config")
def config_(context: typer.Context, config: ConfigFile = None, settings: Settings = None) -> None:
    """Check a configuration, and print all of it as YAML with descriptions.

    Exit codes: 0 valid, 2 invalid.
    """
    require_packages()
    from tumbao.pipeline.config import to_yaml

    typer.echo(to_yaml(config_options.read(context, config, settings)), nl=False)


def _run(config: Config) -> int:
    from tumbao.components.ingest.splits import is_leaky
    from tumbao.pipeline import local_runner, runs
    from tumbao.serving.classify.batch import SYNTHETIC_WARNING

    code, record = local_runner.run(config, error_console())
    folder = Path(config.root) / runs.RUNS_FOLDER / record.run
    accuracy = ""
    if record.accuracy is not None:
        leaky = " (leaky: fragments of one song are in several splits)" if is_leaky(record.protocol) else ""
        synthetic = " (synthetic library)" if record.synthetic else ""
        accuracy = f"{record.accuracy:.1%} of the test fragments{leaky}{synthetic}"
    lines = {
        "outcome": record.sentence,
        "accuracy": accuracy,
        "report": folder / runs.REPORT_FILE if (folder / runs.REPORT_FILE).exists() else "",
        "model": record.pushed_to,
        "TFLite": f"{record.pushed_to}/assets.extra" if record.pushed_to else "",
        "log": folder / runs.LOG_FILE,
    }
    for name, value in lines.items():
        if value:
            say(f"[bold]{name:>9}[/bold]  {escape(str(value))}")
    if record.synthetic:
        say(f"[yellow]{SYNTHETIC_WARNING}[/yellow]")
    return code


@app.command()
def report(
    run: Annotated[str | None, typer.Argument(help="Name of the run, or its beginning. [default: the last]")] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Print the path of a run's report."""
    from tumbao.pipeline.runs import find_report

    try:
        typer.echo(find_report(workspace, run))
    except UserError as error:
        fail(str(error))


@app.command()
def runs(workspace: Workspace = DEFAULT_WORKSPACE) -> None:
    """List the runs of a workspace."""
    from rich.table import Table

    from tumbao.components.ingest.splits import is_leaky
    from tumbao.pipeline.runs import UNREADABLE, read_runs

    records = read_runs(workspace)
    if not records:
        fail(f"Expected runs in {workspace}. Received: none. `tumbao run --data FOLDER` starts one.")
    table = Table("run", "library", "songs", "split", "accuracy", "blessed", "outcome", "minutes")
    for record in records:
        table.add_row(
            escape(record.run),
            escape(record.library) + (" (synthetic library)" if record.synthetic else ""),
            str(record.songs or ""),
            escape(record.protocol) + (" (leaky)" if is_leaky(record.protocol) else ""),
            f"{record.accuracy:.1%}" if record.accuracy is not None else "",
            "yes" if record.blessed else "no",
            escape(record.outcome),
            f"{record.seconds / 60:.1f}",
        )
    TerminalConsole().print(table)
    for record in records:
        if record.outcome == UNREADABLE:
            say(escape(record.sentence), error=True)


@app.command()
def demo(
    library: Annotated[
        Path,
        typer.Option(file_okay=False, callback=check_local, help="Folder of the demo library, composed if missing."),
    ] = Path("demo-library"),
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Compose the demo library, run the pipeline on it, and classify a song that the model was not trained on."""
    require_packages()
    from tumbao.datasets.demo.library import compose_file
    from tumbao.pipeline.classify import ClassifyOptions, run_classify
    from tumbao.pipeline.config import parse

    compose(library, DEMO_SONGS, DEMO_SEED)
    config = parse(
        {
            "data": {"library": str(library), "layout": "folder"},
            "split": {"seed": DEMO_SEED},
            "training": DEMO_TRAINING,
            "runner": {"root": str(workspace)},
        }
    )
    code = _run(config)
    if code == 0:
        song = compose_file(workspace / "unseen" / "salsa.mp3", "salsa", DEMO_SONGS, DEMO_SEED)
        say("")
        say(f"A salsa that the model was not trained on, {escape(str(song))}:")
        code = run_classify(ClassifyOptions([song], config.push_to), error_console(), sys.stdout)
    raise typer.Exit(code)
