"""Commands that run the pipeline, locally or in the cloud, and list its runs."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

import typer
import typer.main
from rich.markup import escape
from typer import Argument, Option

from tumbao.components.ingest.paths import is_remote
from tumbao.pipeline.commands.app import (
    DEFAULT_WORKSPACE,
    Command,
    Workspace,
    app,
    check_local,
    check_workspace,
    error_console,
    fail,
    parse_existing,
    quiet_tensorflow,
    require_packages,
    require_writable,
    say,
)
from tumbao.pipeline.commands.library import DEMO_SEED, DEMO_SONGS, compose
from tumbao.schema.errors import UserError
from tumbao.serving.formatting import TerminalConsole

if TYPE_CHECKING:
    from tumbao.pipeline.config import Config

_LOCAL = (
    *("data.library --data", "runner.root --workspace", "registry.push_to", "data.genres", "data.layout"),
    *("data.subgenres", "data.min_songs", "split.by --split-by --split", "split.strategy --split-method"),
    *("split.folds", "split.seed", "model.name --model", "model.refit --refit/--no-refit", "training.epochs"),
    *("training.batch", "training.learning_rate", "training.schedule", "training.patience", "training.units"),
    *("training.dropout", "training.l2", "training.label_smoothing", "training.mixup", "training.augment"),
    *("training.fine_tune", "training.class_weights", "model.tune", "gate.min_accuracy", "gate.min_recall"),
    *("gate.push_undecided", "model.weights", "model.precision", "runner.resume", "runner.from_component --from"),
    *("runner.to_component --to", "runner.beam_args --beam"),
)
"""Fields of `Config` that have options in local commands, with their flags where they differ from the name."""

_CLOUD = (
    *("runner.name --runner", "runner.root", "runner.image", "data.library --data", "model.name --model"),
    *("training.epochs", "gate.min_accuracy", "runner.project", "runner.region", "runner.host", "runner.schedule"),
)

_ConfigFile = Annotated[Path | None, Option("--config", exists=True, dir_okay=False, help="YAML, see `tumbao config`.")]
_Settings = Annotated[list[str] | None, Option("--set", help="Set any field: training.mixup=0.2; repeatable.")]


class _LocalCommand(Command):
    """A command with options for fields of `Config`. They are made when it is called, since pydantic takes time."""

    fields: tuple[str, ...] = _LOCAL

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        require_packages()
        return super().make_context(*arguments, **options)

    def get_params(self, ctx: Any) -> Any:
        return [*_options(self.fields), *super().get_params(ctx)]

    def invoke(self, ctx: Any) -> Any:
        paths = [field.split()[0] for field in self.fields]
        values = {path: ctx.params.pop(path.replace(".", "_")) for path in paths}
        ctx.obj = {path: value for path, value in values.items() if value not in (None, (), [])}
        return super().invoke(ctx)


class _CloudCommand(_LocalCommand):
    """A command that compiles the pipeline."""

    fields = _CLOUD


@functools.cache
def _options(fields: Sequence[str]) -> list[Any]:
    """Make options from fields of `Config` with typer."""
    from tumbao.pipeline.config import Config

    def command() -> None:
        pass

    for path, *flags in map(str.split, fields):
        section, _, name = path.partition(".")
        field = Config.model_fields[section].annotation.model_fields[name]  # type: ignore[union-attr]
        kind, bounds = _kind(field)
        command.__annotations__[path.replace(".", "_")] = Annotated[
            kind,
            Option(
                *flags or [f"--{name.replace('_', '-')}"],
                help=f"{field.description}{_default(path, field.default)}",
                min=bounds["Ge"].ge if "Ge" in bounds else None,
                max=bounds["Le"].le if "Le" in bounds else None,
                show_default=False,
            ),
        ]
    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in command.__annotations__.items()
        if name != "return"
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # typer reads it
    application = typer.Typer(add_completion=False)
    application.command()(command)
    return list(typer.main.get_command(application).params)


def _kind(field: Any) -> tuple[Any, dict[str, Any]]:
    """Return the type of an option for a field, and the field's constraints and validators by type name."""
    annotation, metadata = field.annotation, list(field.metadata)
    while get_origin(annotation) is Annotated or NoneType in get_args(annotation):
        annotation, *more = [one for one in get_args(annotation) if one is not NoneType]
        metadata += more
    found = {type(one).__name__: one for one in metadata}
    if get_origin(annotation) is tuple:
        annotation = str if "BeforeValidator" in found else list[str]  # text with commas, or an option that is repeated
    return annotation, found


def _default(path: str, value: Any) -> str:
    if path.startswith("training."):
        return " \\[default: the model's]"
    text = ",".join(value) if isinstance(value, tuple) else str(value)
    return "" if value in (None, "", False) or path == "runner.beam_args" else f" \\[default: {text}]"


def _read(context: Any, file: Path | None, settings: list[str] | None) -> Config:
    """Read the configuration of a command from its options, and check that it is of a run that the command can do."""
    from tumbao.pipeline.config import UsageError, read_config

    config = read_config(file, context.obj or {}, settings or ())
    if isinstance(context.command, _CloudCommand):
        if config.runner.name == "local":
            raise UsageError("Expected --runner kubeflow or vertex, or runner.name in --config. Received: local")
    elif isinstance(context.command, _LocalCommand):
        check_local_config(config)
    return config


def check_local_config(config: Config) -> None:
    """Reject a configuration that is not of a local run, or whose library does not exist, with a `UsageError`."""
    from tumbao.pipeline.config import UsageError

    if config.runner.name != "local":
        raise UsageError(
            f"Expected runner.name=local. Received: {config.runner.name}, for which there is `tumbao submit`."
        )
    if not config.data.library:
        raise UsageError("Expected a library: --data, or data.library in --config. Received: none")
    parse_existing(config.data.library)
    check_workspace(Path(config.runner.root))
    if config.registry.push_to and not is_remote(config.push_to):
        require_writable(Path(config.push_to))


_Pipeline = Annotated[Path, Option(dir_okay=False, callback=check_local, help="The compiled pipeline, YAML.")]


@app.command(cls=_LocalCommand)
def run(context: typer.Context, config: _ConfigFile = None, settings: _Settings = None) -> None:
    """Train, evaluate and push a model of a library.

    Results of earlier runs in the same workspace are reused. Exit codes: 0 done and blessed, 3 done but not blessed,
    1 failed, 2 invalid use, 130 interrupted.
    """
    raise typer.Exit(_run(_read(context, config, settings)))


@app.command(cls=_LocalCommand)
def watch(
    context: typer.Context,
    config: _ConfigFile = None,
    settings: _Settings = None,
    every: Annotated[str, Option(help="Time between checks of the library, as 30m, 1h or 1d.")] = "1h",
    once: Annotated[bool, Option("--once", help="Check once, for cron and timers.")] = False,
) -> None:
    """Run whenever the library has changed, and push models that are no worse than the served one.

    All models are tested with the same songs: those of the first run. Exit codes: 0 ended by SIGTERM, 2 invalid use,
    130 interrupted; with --once 0 nothing to do, 4 nothing trained since all changed files are still being written,
    otherwise as `tumbao run`.
    """
    quiet_tensorflow()
    from tumbao.pipeline.watch import interval
    from tumbao.pipeline.watch import watch as check_and_run

    whole = _read(context, config, settings)
    seconds = None if once else interval(every)
    raise typer.Exit(check_and_run(whole, seconds, lambda line: say(escape(line), error=True)))


@app.command("compile", cls=_CloudCommand)
def compile_(
    context: typer.Context,
    config: _ConfigFile = None,
    settings: _Settings = None,
    out: _Pipeline = Path("pipeline.yaml"),
) -> None:
    """Compile the pipeline for Kubeflow Pipelines or Vertex AI.

    Exit codes: 0 compiled, 2 invalid use.
    """
    quiet_tensorflow()
    from tumbao.pipeline.cloud import compile_pipeline, defaults

    whole = _read(context, config, settings)
    compile_pipeline(whole, out)
    say(f"{escape(str(out))}: for {whole.runner.name}, with the parameters")
    for name, value in defaults(whole).items():
        say(f"  {name} = {escape(str(value))}")


@app.command(cls=_CloudCommand)
def submit(
    context: typer.Context,
    config: _ConfigFile = None,
    settings: _Settings = None,
    out: _Pipeline = Path("pipeline.yaml"),
    dry_run: Annotated[bool, Option("--dry-run", help="Do everything but the submission.")] = False,
) -> None:
    """Compile the pipeline and submit it to Vertex AI or Kubeflow Pipelines, once or on a schedule.

    Credentials come from the environment: Google's own for Vertex AI, KFP_TOKEN for Kubeflow. Exit codes: 0 submitted,
    1 the service rejected it, 2 invalid use.
    """
    quiet_tensorflow()
    from tumbao.pipeline.cloud import SubmissionError
    from tumbao.pipeline.cloud import submit as submit_pipeline

    try:
        submit_pipeline(_read(context, config, settings), out, TerminalConsole(), dry_run)
    except SubmissionError as error:
        fail(str(error))


@app.command("config")
def config_(context: typer.Context, config: _ConfigFile = None, settings: _Settings = None) -> None:
    """Check a configuration, and print all of it as YAML with descriptions.

    Exit codes: 0 valid, 2 invalid.
    """
    require_packages()
    from tumbao.pipeline.config import to_yaml

    typer.echo(to_yaml(_read(context, config, settings)), nl=False)


def _run(config: Config) -> int:
    from tumbao.components.ingest.splits import is_leaky
    from tumbao.pipeline import local_runner, runs
    from tumbao.serving.classify.batch import SYNTHETIC_WARNING
    from tumbao.serving.predict import RUN_MODEL

    code, record = local_runner.run(config, error_console())
    folder = Path(config.root) / runs.RUNS_FOLDER / record.run
    leaky = " (leaky: fragments of one song are in several splits)" if is_leaky(record.protocol) else ""
    recognised = f"of the test fragments recognised{leaky}{' (synthetic library)' if record.synthetic else ''}"
    lines = {
        "outcome": record.sentence,
        "fragments": "" if record.accuracy is None else f"{record.accuracy:.1%} {recognised}",
        "report": folder / runs.REPORT_FILE if (folder / runs.REPORT_FILE).exists() else "",
        "model": record.pushed_to,
        "TFLite": f"{record.pushed_to}/assets.extra" if record.pushed_to else "",
        "log": folder / runs.LOG_FILE,
    }
    for name, value in lines.items():
        if value:
            say(f"[bold]{name:>10}[/bold]  {escape(str(value))}")
    if not record.pushed_to and (folder / RUN_MODEL).exists():
        say(f"`tumbao classify --model {escape(str(folder))}` tries the model.")
    if record.synthetic:
        say(f"[yellow]{SYNTHETIC_WARNING}[/yellow]")
    return code


@app.command()
def report(
    run: Annotated[str | None, Argument(help="Name of the run, or its beginning. [default: the last]")] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Print the path of a run's report."""
    from tumbao.pipeline.runs import find_report

    typer.echo(find_report(workspace, run))


@app.command()
def runs(workspace: Workspace = DEFAULT_WORKSPACE) -> None:
    """List the runs of a workspace."""
    from rich.table import Column, Table

    from tumbao.components.ingest.splits import is_leaky
    from tumbao.pipeline.runs import UNREADABLE, read_runs

    records = read_runs(workspace)
    if not records:
        raise UserError(f"Expected runs in {workspace}. Received: none. `tumbao run --data FOLDER` starts one.")
    table = Table(
        Column("run", no_wrap=True), "library", "songs", "split", "test fragments", "blessed", "outcome", "minutes"
    )
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
        Path, Option(file_okay=False, callback=check_local, help="Folder of the demo library, composed if missing.")
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
            "split": {"seed": DEMO_SEED, "folds": 3},
            # with the paper's batch of 32, the few fragments would make only 20 steps in all
            "training": {"epochs": 10, "batch": 8, "learning_rate": 3e-4},
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
