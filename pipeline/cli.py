"""The command `tumbao`. Heavy modules are imported only by the commands that need them."""

from __future__ import annotations

import contextlib
import difflib
import enum
import functools
import importlib.util
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.markup import escape
from typer.core import TyperCommand
from typer.exceptions import TyperException

from tumbao import __version__
from tumbao.components.ingest.download_cache import ensure_home
from tumbao.pipeline.standard_streams import standard_streams
from tumbao.schema.errors import UserError
from tumbao.schema.genres import GENRES
from tumbao.serving.terminal import TerminalConsole

if TYPE_CHECKING:
    from tumbao.pipeline.deployment import Deployment
    from tumbao.pipeline.local_runner import LocalRun


class _Command(TyperCommand):
    """A command whose errors become a message and an exit code, see `failures`."""

    def make_context(self, info_name: str | None, *arguments: Any, **options: Any) -> Any:
        with _explained(self.name or "", {}):
            return super().make_context(info_name, *arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        with _explained(self.name or "", ctx.params):
            return super().invoke(ctx)


class _Commands(typer.Typer):
    """An application whose commands are `_Command`s."""

    def command(self, *arguments: Any, **options: Any) -> Any:
        return super().command(*arguments, cls=_Command, **options)


app = _Commands(
    name="tumbao",
    help="Recognise tropical music genres (bachata, cumbia, merengue, salsa, vallenato) from audio.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

DEFAULT_WORKSPACE = Path("tumbao-workspace")
DEMO_LIBRARY = Path("demo-library")
DEMO_SONGS, DEMO_SEED = 12, 7
DEMO_TRAINING = {"epochs": 10, "batch": 8, "learning_rate": 3e-4}
"""Training settings of the demo. With the paper's batch of 32, its few fragments would make only 20 steps in all."""


class Protocol(str, enum.Enum):
    """What a split keeps whole: the values of `splits.SPLIT_BY`."""

    SONG = "song"
    ARTIST = "artist"
    FRAGMENT = "fragment"


class Split(str, enum.Enum):
    """What a split keeps whole: one of `splits.SPLIT_BY`, or the library's own splits."""

    SONG = "song"
    ARTIST = "artist"
    FRAGMENT = "fragment"
    GIVEN = "given"


class SplitMethod(str, enum.Enum):
    """How a split is made: the values of `splits.SPLIT_STRATEGIES`, and `library.FIXED`."""

    STRATIFIED = "stratified"
    STABLE = "stable"
    FIXED = "fixed"


class Layout(str, enum.Enum):
    """The form of a library: the values of `formats.LAYOUTS`."""

    AUTO = "auto"
    FOLDER = "folder"
    MANIFEST = "manifest"
    AUDIOFOLDER = "audiofolder"
    FMA = "fma"
    JAMENDO = "jamendo"


class ClassWeights(str, enum.Enum):
    """Whether genres are weighted by their number of fragments."""

    AUTO = "auto"
    NONE = "none"


class Precision(str, enum.Enum):
    """Data type of the backbone's computation."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "mixed_bfloat16"


def _workspace(path: Path) -> Path:
    """Reject a workspace whose path TFX, Beam or TensorFlow would read as a pattern, or could not store."""
    whole = str(path.absolute())
    wrong = {character for character in whole if character in "*?[\\" or not character.isprintable()}
    if wrong:
        raise typer.BadParameter(
            "Expected a workspace whose absolute path has none of * ? [ \\ and no control characters, which TFX reads "
            f"as patterns or cannot store. Received: {whole!r}, with {' '.join(sorted(map(repr, wrong)))}. Choose "
            "another folder."
        )
    return path


Workspace = Annotated[
    Path, typer.Option(callback=_workspace, help="Folder of metadata, artefacts, runs and pushed models.")
]


def _console() -> TerminalConsole:
    return TerminalConsole(stderr=True)


def _fail(sentence: str, code: int = 1) -> NoReturn:
    _console().print(f"[bold red]error:[/bold red] {escape(sentence)}", highlight=False, soft_wrap=True)
    raise typer.Exit(code)


@contextlib.contextmanager
def _explained(command: str, parameters: Mapping[str, Any]) -> Iterator[None]:
    """Convert errors to a message and an exit code."""
    try:
        yield
    except (typer.Exit, typer.Abort, TyperException, BrokenPipeError):
        raise
    except Exception as error:
        from tumbao.pipeline.failures import explain

        values = [one for value in parameters.values() for one in (value if isinstance(value, list) else [value])]
        code, sentence = explain(error, command, [str(value) for value in values if value])
        _fail(sentence, code)


def _require_pipeline() -> None:
    """Exit with a message if only the edge runtime is installed."""
    missing = [package for package in ("tfx", "pretty_midi") if importlib.util.find_spec(package) is None]
    if missing:
        _fail(
            f"Expected the pipeline to be installed. Received: no {', '.join(missing)}. This install only "
            'classifies; in a checkout `make setup` brings the rest, elsewhere `pip install "tumbao[pipeline]"`.'
        )


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tumbao {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    with _explained("", {}):
        ensure_home()


def _address(text: str) -> Any:
    """Parse a path or an address in a bucket."""
    from tumbao.components.ingest.paths import as_path

    return as_path(text)


def _place(text: str) -> Any:
    """Parse a path, which must exist, or an address in a bucket."""
    found = _address(text)
    if isinstance(found, Path) and not found.exists():
        raise typer.BadParameter(
            f"Path {text!r} does not exist. Expected a folder, a file or an address such as gs://bucket/songs."
        )
    return found


def _here(path: Path | None) -> Path | None:
    """Reject an address (whose `//` is shortened to `/` by `Path`), and a path that cannot be written to."""
    if path is not None and str(path).startswith(("gs:/", "ram:/")):
        raise typer.BadParameter(
            f"Expected a path of this machine. Received: {str(path).replace(':/', '://')}. Write it here, then copy it "
            "there, as with `gcloud storage cp --recursive`."
        )
    if path is not None:
        _require_writable(path)
    return path


def _require_writable(path: Path) -> None:
    try:
        path.stat()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise typer.BadParameter(f"Path {str(path)!r} cannot be written to: {error.strerror}.") from error
    found = next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())
    if not os.access(found, os.W_OK) or (found != path.absolute() and not found.is_dir()):
        reason = "may not be written to" if found.is_dir() else "is no folder"
        raise typer.BadParameter(f"Path {str(path)!r} cannot be written to: {found} {reason}.")


Library = Annotated[Path, typer.Argument(parser=_place, help="A folder of songs, or a list of songs.")]
PushedModel = Annotated[
    Any,
    typer.Option(parser=_address, metavar="<path>", help="Where models are pushed, or one pushed version."),
]


def _defaults(context: typer.Context, file: Path | None) -> Path | None:
    """Read defaults of a command's options from a YAML file; the command line takes precedence."""
    if file is None:
        return None
    import yaml

    try:
        told = yaml.safe_load(file.read_text("utf-8"))
        told |= told.pop("training", {})
    except (OSError, ValueError, yaml.YAMLError, TypeError, AttributeError) as error:
        raise typer.BadParameter(f"Expected a YAML file of options and values. Received: {file} ({error})") from error
    options = {parameter.name or "": parameter.opts for parameter in context.command.params}
    known = {alias: name for name, opts in options.items() for alias in (*_spellings(opts), name)}
    for name in told:
        if known.get(name, "config") in {"config", "help"}:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise typer.BadParameter(
                f"Expected options out of {', '.join(sorted(options.keys() - {'config', 'help'}))} in {file}. "
                f"Received: {name}{hint}"
            )
    told = {known[name]: value for name, value in told.items()}
    for name in {"genres", "units"} & {name for name, value in told.items() if isinstance(value, list)}:
        told[name] = ",".join(map(str, told[name]))
    context.default_map = {**(context.default_map or {}), **told}
    return file


def _spellings(opts: Sequence[str]) -> list[str]:
    """Return the names of an option in a YAML file, with hyphens or underscores: min-songs and min_songs."""
    names = [option.lstrip("-") for option in opts]
    return [*names, *(name.replace("-", "_") for name in names)]


def _local_run(
    data: Annotated[
        Any,
        typer.Option(
            parser=_place,
            metavar="<path>",
            help="The library: a folder with one folder of songs per genre, or a list of songs.",
        ),
    ],
    config: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, is_eager=True, callback=_defaults, help="YAML with options of this command."
        ),
    ] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    push_to: Annotated[
        str, typer.Option(help="Where blessed models are pushed. [default: WORKSPACE/pushed]", show_default=False)
    ] = "",
    genres: Annotated[str, typer.Option(help="The genres, separated by commas: names of folders.")] = ",".join(GENRES),
    layout: Annotated[Layout, typer.Option(help="The library's form; auto looks at what is there.")] = Layout.AUTO,
    subgenres: Annotated[
        bool,
        typer.Option("--subgenres", help="Tell sub-genres apart: folders below the genre, or salsa/dura in lists."),
    ] = False,
    min_songs: Annotated[
        int, typer.Option(min=3, help="With --subgenres: a sub-genre with fewer songs counts for its genre.")
    ] = 10,
    split: Annotated[
        Split,
        typer.Option(help="What a split keeps whole. fragment: the paper's, leaky. given: the library's own splits."),
    ] = Split.SONG,
    split_method: Annotated[
        SplitMethod,
        typer.Option(help="While the library grows: stable: a song keeps its side. fixed: the test songs stay."),
    ] = SplitMethod.STRATIFIED,
    seed: Annotated[int, typer.Option(min=0, help="Of split, initial weights and shuffling.")] = 7,
    model: Annotated[str, typer.Option(help="The model; `tumbao models` lists them.")] = "vgg16",
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the training split. [default: the model's]")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Fragments in a batch. [default: the model's]")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Adam's. [default: the model's]")] = None,
    schedule: Annotated[
        str | None, typer.Option(help="Of the learning rate: constant or cosine. [default: the model's]")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="Epochs without a better one that end training. [default: the model's]")
    ] = None,
    units: Annotated[
        str | None, typer.Option(help="Widths of the dense layers, as 512,64. [default: the model's]")
    ] = None,
    dropout: Annotated[float | None, typer.Option(help="Share that is dropped. [default: the model's]")] = None,
    l2: Annotated[float | None, typer.Option(help="Weight of the squared kernels. [default: the model's]")] = None,
    label_smoothing: Annotated[
        float | None, typer.Option(help="Share of a label spread over all genres. [default: the model's]")
    ] = None,
    mixup: Annotated[
        float | None, typer.Option(help="Mix pairs of fragments: beta's parameters. [default: the model's]")
    ] = None,
    augment: Annotated[
        int | None, typer.Option(help="Copies of each training fragment, masked. [default: the model's]")
    ] = None,
    fine_tune: Annotated[
        int | None, typer.Option(help="Epochs more, in which VGG-16's last block learns too. [default: the model's]")
    ] = None,
    class_weights: Annotated[
        ClassWeights, typer.Option(help="Whether genres are weighed by their number of fragments.")
    ] = ClassWeights.AUTO,
    tune: Annotated[
        int, typer.Option(min=0, help="Trials of a search for better layers, dropout, L2 and learning rate.")
    ] = 0,
    min_accuracy: Annotated[float, typer.Option(min=0, max=1, help="Lowest accuracy on the test split.")] = 0.80,
    min_recall: Annotated[float, typer.Option(min=0, max=1, help="Lowest recall of each genre.")] = 0.50,
    weights: Annotated[
        str,
        typer.Option(help="A file of the backbone's weights, for VGG-16 a Keras no-top file. [default: look for them]"),
    ] = "",
    precision: Annotated[
        Precision, typer.Option(help="What the backbone computes in; auto looks at the processor.")
    ] = Precision.AUTO,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Start training from the best weights of the last run on the same songs, split and seed."
        ),
    ] = False,
    from_component: Annotated[str, typer.Option("--from", help="First component to run.")] = "",
    to_component: Annotated[str, typer.Option("--to", help="Last component to run.")] = "",
    beam: Annotated[
        list[str] | None,
        typer.Option(
            help="A flag for Beam, as --beam=--runner=FlinkRunner; may be repeated. [default: in this process]"
        ),
    ] = None,
) -> LocalRun:
    """Convert the options of `run` to its settings."""
    from tumbao.pipeline.local_runner import LocalRun

    if push_to and isinstance(_address(push_to), Path):
        _require_writable(Path(push_to))
    if split_method is SplitMethod.FIXED and split not in (Split.SONG, Split.GIVEN):
        raise UserError(f"Expected --split song where the test songs are fixed. Received: --split {split.value}")
    if split_method is not SplitMethod.STRATIFIED and split is Split.GIVEN:
        raise UserError(
            "Expected no --split-method where the library brings its own splits. Received: --split given "
            f"--split-method {split_method.value}"
        )
    training = {
        "epochs": epochs,
        "batch": batch,
        "learning_rate": learning_rate,
        "schedule": schedule,
        "patience": patience,
        "class_weights": class_weights.value,
        "units": _widths(units),
        "dropout": dropout,
        "l2": l2,
        "label_smoothing": label_smoothing,
        "mixup": mixup,
        "augment": augment,
        "fine_tune": fine_tune,
    }
    return LocalRun(
        data=data,
        workspace=workspace,
        genres=_names(genres),
        layout=layout.value,
        min_songs=min_songs if subgenres else None,
        protocol=Split.SONG.value if split is Split.GIVEN else split.value,
        method=split.value if split is Split.GIVEN else split_method.value,
        seed=seed,
        model=model,
        weights=weights,
        precision=precision.value,
        push_to=push_to or str(workspace / "pushed"),
        resume=resume,
        from_component=from_component,
        to_component=to_component,
        training={name: value for name, value in training.items() if value is not None},
        settings={
            "min_accuracy": min_accuracy,
            "min_recall": min_recall,
            "tune": tune,
            **({"beam_args": tuple(beam)} if beam else {}),
        },
    )


def _deployment(
    config: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="YAML of the deployment, see docs/deploy.md.")
    ] = None,
    runner: Annotated[str | None, typer.Option(help="kubeflow or vertex.")] = None,
    root: Annotated[str | None, typer.Option(help="Folder for all that runs write, as gs://bucket/tumbao.")] = None,
    image: Annotated[str | None, typer.Option(help="Container image with Tumbao in it.")] = None,
    data: Annotated[str | None, typer.Option(help="The library, as gs://bucket/library.")] = None,
    model: Annotated[str | None, typer.Option(help="The model; `tumbao models` lists them.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training split; 0 for the model's own.")] = None,
    min_accuracy: Annotated[float | None, typer.Option(help="Lowest accuracy on the test split.")] = None,
    project: Annotated[str | None, typer.Option(help="Of Vertex AI.")] = None,
    region: Annotated[str | None, typer.Option(help="Of Vertex AI.")] = None,
    host: Annotated[str | None, typer.Option(help="Address of Kubeflow Pipelines.")] = None,
    schedule: Annotated[str | None, typer.Option(help='When runs start by themselves, as "0 3 * * 1".')] = None,
) -> Deployment:
    """Read the settings of `compile` and `submit` from options and a file; options take precedence."""
    from tumbao.pipeline.deployment import read_deployment

    return read_deployment(
        config,
        runner=runner,
        root=root,
        image=image,
        data=data,
        model=model,
        epochs=epochs,
        min_accuracy=min_accuracy,
        project=project,
        region=region,
        host=host,
        schedule=schedule,
    )


def _with_options_of(make: Callable[..., Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Put the options of `make` before a command's own; its first argument is the result of `make`."""
    unknown = {"LocalRun": Any, "Deployment": Any}  # not imported at run time, for a fast start
    options = signature(make, locals=unknown, eval_str=True).parameters

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(signature(command, locals=unknown, eval_str=True).parameters.values())[1:]

        @functools.wraps(command)
        def called(**values: Any) -> None:
            _require_pipeline()
            command(make(**{name: values.pop(name) for name in options}), **values)

        parameters = [*options.values(), *own]
        called.__signature__ = Signature(parameters)  # type: ignore[attr-defined] # typer reads it
        called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return called

    return decorate


Pipeline = Annotated[Path, typer.Option(dir_okay=False, callback=_here, help="The compiled pipeline, YAML.")]
DEFAULT_PIPELINE = Path("pipeline.yaml")


@app.command("compile")
@_with_options_of(_deployment)
def compile_(asked: Deployment, out: Pipeline = DEFAULT_PIPELINE) -> None:
    """Compile the pipeline for Kubeflow Pipelines or Vertex AI, and look through what came of it.

    Exit codes: 0 compiled, 2 wrong use.
    """
    _hush()
    from tumbao.pipeline.submit import prepare

    submission = prepare(asked, out, needed=())
    console = TerminalConsole()
    console.print(f"{escape(str(out))}: for {asked.runner}, with the parameters", highlight=False, soft_wrap=True)
    for name, value in submission.parameters.items():
        console.print(f"  {name} = {escape(str(value))}", highlight=False, soft_wrap=True)


@app.command()
@_with_options_of(_deployment)
def submit(
    asked: Deployment,
    out: Pipeline = DEFAULT_PIPELINE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do everything but the submission.")] = False,
) -> None:
    """Compile the pipeline and hand it to Vertex AI or Kubeflow Pipelines, once or on a schedule.

    Credentials come from the environment: Google's own for Vertex AI, KFP_TOKEN for Kubeflow. Exit codes: 0 submitted,
    1 the service did not take it, 2 wrong use.
    """
    _hush()
    from tumbao.pipeline.submit import SubmissionError
    from tumbao.pipeline.submit import submit as hand_over

    try:
        hand_over(asked, out, TerminalConsole(), dry_run)
    except SubmissionError as error:
        _fail(str(error))


@app.command()
@_with_options_of(_local_run)
def run(asked: LocalRun) -> None:
    """Train, evaluate, gate and push: from a library to a model.

    Finished work is taken over from earlier runs of the same workspace. Exit codes: 0 done and blessed, 3 done but not
    blessed, 1 failed, 2 wrong use, 130 interrupted.
    """
    raise typer.Exit(_run(asked))


@app.command()
@_with_options_of(_local_run)
def watch(
    asked: LocalRun,
    every: Annotated[str, typer.Option(help="From one look at the library to the next, as 30m, 1h or 1d.")] = "1h",
    once: Annotated[bool, typer.Option("--once", help="Look once, for cron and timers.")] = False,
) -> None:
    """Run whenever the library has changed, and push what is no worse than the model that stands.

    All models are tested with the same songs: those of the first run. Exit codes: 0 ended by SIGTERM, 2 wrong use,
    130 interrupted; with --once 0 nothing to do, 4 nothing trained since all that changed is still being written, else
    as `tumbao run`.
    """
    _hush()
    from tumbao.pipeline.watch import interval
    from tumbao.pipeline.watch import watch as look_and_run

    console = _console()
    seconds = None if once else interval(every)
    code = look_and_run(asked, seconds, lambda line: console.print(escape(line), highlight=False, soft_wrap=True))
    raise typer.Exit(code)


def _run(asked: LocalRun) -> int:
    from tumbao.components.ingest.splits import is_leaky
    from tumbao.pipeline import local_runner, runs
    from tumbao.serving.classify.batch import SYNTHETIC_WARNING

    code, record = local_runner.run(asked, _console())
    out = TerminalConsole()
    folder = asked.workspace / runs.RUNS_FOLDER / record.run
    lines = {
        "outcome": record.sentence,
        "accuracy": f"{record.accuracy:.1%} of the test fragments" if record.accuracy is not None else "",
        "report": folder / runs.REPORT_FILE if (folder / runs.REPORT_FILE).exists() else "",
        "model": record.pushed_to,
        "TFLite": f"{record.pushed_to}/assets.extra" if record.pushed_to else "",
        "log": folder / runs.LOG_FILE,
    }
    if record.accuracy is not None and is_leaky(record.protocol):
        lines["accuracy"] = f"{lines['accuracy']} (leaky: fragments of one song stand on both sides of the split)"
    if record.accuracy is not None and record.synthetic:
        lines["accuracy"] = f"{lines['accuracy']} (synthetic library)"
    for name, value in lines.items():
        if value:
            out.print(f"[bold]{name:>9}[/bold]  {escape(str(value))}", highlight=False, soft_wrap=True)
    if record.synthetic:
        out.print(f"[yellow]{SYNTHETIC_WARNING}[/yellow]", soft_wrap=True)
    return code


@app.command()
def inspect(
    library: Library,
    out: Annotated[
        Path, typer.Option(file_okay=False, callback=_here, help="Folder to write the page to: index.html.")
    ],
    genres: Annotated[
        str, typer.Option(help="The genres, separated by commas. [default: all that the library names]")
    ] = "",
    layout: Annotated[Layout, typer.Option(help="The library's form; auto looks at what is there.")] = Layout.AUTO,
) -> None:
    """Show what is in a library before any training, as one page.

    Files, hours, formats, genres, artists, durations, loudness, duplicates, rejects and mel images; beside the page
    TFDV's statistics. Exit codes: 0 page written, 1 written but no song is usable, 2 wrong use, 130 interrupted.
    """
    _require_pipeline()
    _hush()
    from tumbao.analysis.inspect.page import run_inspect
    from tumbao.components.ingest import progress
    from tumbao.pipeline.progress_display import ProgressDisplay

    with ProgressDisplay(_console()) as watch, progress.listen(watch):
        code = run_inspect(library, out, _names(genres), layout.value, lambda line: watch.say(escape(line)))
    raise typer.Exit(code)


@app.command()
def drift(
    new: Annotated[
        Path,
        typer.Argument(parser=_place, help="A folder of songs, or a list of songs; genres or none."),
    ],
    out: Annotated[
        Path, typer.Option(file_okay=False, callback=_here, help="Folder to write the page and its figures to.")
    ] = Path("tumbao-drift"),
    workspace: Workspace = DEFAULT_WORKSPACE,
    layout: Annotated[Layout, typer.Option(help="The form of NEW; auto looks at what is there.")] = Layout.AUTO,
) -> None:
    """Say whether new music is like what the workspace's last run was trained on.

    Exit codes: 0 alike, 3 drift, 1 no song of NEW can be measured, 2 wrong use, 130 interrupted.
    """
    _require_pipeline()
    _hush()
    from tumbao.pipeline.drift import drift as compare

    code = compare(workspace, new, out, layout.value, _console(), TerminalConsole())
    raise typer.Exit(code)


def _hush() -> None:
    """Suppress log messages and warnings of TensorFlow and its packages."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", "You are using a non-supported Python version", FutureWarning)
    warnings.filterwarnings("ignore", "Support for google-cloud-storage < 3.0.0", FutureWarning)


def _names(genres: str) -> tuple[str, ...]:
    from tumbao.schema.genres import tidy_genre

    return tuple(tidy_genre(name) for name in genres.split(",") if name.strip())


def _widths(units: str | None) -> tuple[int, ...] | None:
    """Parse widths such as 512,64; zeros are dropped, so `0` means no layer."""
    if units is None:
        return None
    try:
        return tuple(int(width) for width in units.split(",") if int(width))
    except ValueError as error:
        raise UserError(f"Expected --units as whole numbers with commas, as 512,64. Received: {units}") from error


@app.command()
def models() -> None:
    """List the models that `tumbao run --model` and `tumbao compare` know, a line each."""
    from tumbao.trainer.models.registry import MODELS

    for one in MODELS.values():
        TerminalConsole().print(
            f"[bold]{one.name:<15}[/bold] {one.summary} [dim]({one.after})[/dim]", highlight=False, soft_wrap=True
        )


@app.command()
def compare(
    data: Annotated[
        Any, typer.Option(parser=_place, metavar="<path>", help="The library: a folder, or a list of songs.")
    ],
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A model, alone or with settings: --model=vgg16-gap --model=vgg16:epochs=20,dropout=0.5; may be "
            "repeated. [default: all but other sizes of one]"
        ),
    ] = None,
    split: Annotated[
        list[Protocol] | None,
        typer.Option(help="What splits keep whole: song, artist, or the leaky fragment. [default: song and fragment]"),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each model on each split.")] = 3,
    folds: Annotated[int, typer.Option(min=0, help="Parts of a cross-validation; 0: one split.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the split, and the first of the trainings.")] = 7,
    out: Annotated[
        Path, typer.Option(file_okay=False, callback=_here, help="Folder to write page, tables and figures to.")
    ] = Path("tumbao-comparison"),
    workspace: Workspace = DEFAULT_WORKSPACE,
    genres: Annotated[str, typer.Option(help="The genres, separated by commas.")] = ",".join(GENRES),
    layout: Annotated[Layout, typer.Option(help="The library's form; auto looks at what is there.")] = Layout.AUTO,
    weights: Annotated[str, typer.Option(help="File of backbones' weights, or random. [default: look for them]")] = "",
) -> None:
    """Train models side by side on one library, and compare them on one page.

    What is trained already is taken over. Exit codes: 0 all compared, 1 some models could not be, 2 wrong use,
    130 interrupted: the same command goes on.
    """
    _require_pipeline()
    _hush()
    from tumbao.pipeline import runs
    from tumbao.pipeline.compare import Comparison
    from tumbao.pipeline.compare import compare as train_and_compare
    from tumbao.pipeline.redirect_output import noise_to
    from tumbao.trainer.models.registry import MODELS

    asked = Comparison(
        data=data,
        layout=layout.value,
        workspace=workspace.absolute(),
        genres=_names(genres),
        models=tuple(dict.fromkeys(model or (one.name for one in MODELS.values() if not one.option_of))),
        protocols=tuple(dict.fromkeys(one.value for one in split or (Protocol.SONG, Protocol.FRAGMENT))),
        seeds=seeds,
        folds=folds,
        seed=seed,
        weights=weights,
        out=out,
    )
    with runs.locked(workspace), noise_to(workspace / "compare.log", _console(), (2,)) as console:
        code = train_and_compare(asked, console, TerminalConsole())
    raise typer.Exit(code)


@app.command()
def curate(
    library: Library,
    out: Annotated[
        Path,
        typer.Option(
            callback=_here, help="Folder to write page and tables to; with --apply the corrected list, a new .csv."
        ),
    ],
    apply: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A suspects.csv with your verdicts. [default: find suspects]"),
    ] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    genres: Annotated[str, typer.Option(help="The genres, separated by commas.")] = ",".join(GENRES),
    layout: Annotated[Layout, typer.Option(help="The library's form; auto looks at what is there.")] = Layout.AUTO,
    model: Annotated[str, typer.Option(help="What answers: see `tumbao models`.")] = "vgg16-gap",
    folds: Annotated[int, typer.Option(min=3, help="Parts of the cross-validation.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of the cross-validation and of the trainings.")] = 7,
    weights: Annotated[str, typer.Option(help="File of the backbone's weights, or random. [default: search]")] = "",
    top: Annotated[int, typer.Option(min=1, help="Songs on the page; the tables list all.")] = 40,
) -> None:
    """List songs whose label looks wrong, with players and mel images, and apply what you decide.

    Never changes the library's files. Exit codes: 0 done, 2 wrong use, 130 interrupted.
    """
    _require_pipeline()
    _hush()
    from tumbao.pipeline import runs
    from tumbao.pipeline.curate import Asked, curate
    from tumbao.pipeline.curate import apply as apply_verdicts
    from tumbao.pipeline.redirect_output import noise_to

    named = _names(genres)
    if apply:
        apply_verdicts(apply, library, out, layout.value, named, TerminalConsole())
        return
    asked = Asked(
        library=library,
        layout=layout.value,
        genres=named,
        workspace=workspace.absolute(),
        model=model,
        folds=folds,
        seed=seed,
        weights=weights,
        top=top,
    )
    with runs.locked(workspace), noise_to(workspace / "curate.log", _console(), (2,)) as console:
        curate(asked, out, console, TerminalConsole())


@app.command()
def explain(
    out: Annotated[Path, typer.Option(callback=_here, help="Folder to write the page to.")],
    songs: Annotated[
        list[Path] | None,
        typer.Argument(parser=_address, help="Songs to explain: files, folders and lists."),
    ] = None,
    model: PushedModel = DEFAULT_WORKSPACE / "pushed",
    data: Annotated[
        Any,
        typer.Option(
            parser=_place, metavar="<path>", help="The library to look for neighbours in and to map. [default: none]"
        ),
    ] = None,
    layout: Annotated[Layout, typer.Option(help="The library's form; auto looks at what is there.")] = Layout.AUTO,
    workspace: Workspace = DEFAULT_WORKSPACE,
    genres: Annotated[
        str, typer.Option(help="Genres for activation maximization, separated by commas. [default: all of the model's]")
    ] = "",
    seed: Annotated[int, typer.Option(min=0, help="Of all that is drawn at random.")] = 7,
) -> None:
    """Show what a model learned, on one page with players: what genres sound like to it, and why songs get theirs.

    Exit codes: 0 all done, 1 some songs cannot be read, 2 wrong use, 130 interrupted: no page is written then.
    """
    _require_pipeline()
    _hush()
    from tumbao.pipeline.explain import Asked
    from tumbao.pipeline.explain import explain as look_into

    asked = Asked(
        model=model,
        songs=tuple(songs or ()),
        data=data,
        layout=layout.value,
        workspace=workspace.absolute(),
        genres=_names(genres),
        seed=seed,
        out=out,
    )
    code = look_into(asked, _console(), TerminalConsole())
    raise typer.Exit(code)


@app.command()
def classify(
    songs: Annotated[
        list[Path],
        typer.Argument(parser=_address, help="Audio files, folders, and lists of songs (CSV, TSV, JSONL)."),
    ],
    model: PushedModel = DEFAULT_WORKSPACE / "pushed",
    as_json: Annotated[bool, typer.Option("--json", help="JSON Lines: one object a song.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV: one row a fragment.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            callback=_here,
            help="Write to this .jsonl or .csv instead, or go on with it. [default: none]",
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
            file_okay=False, callback=_here, help="Folder to write a playlist for each genre to. [default: none]"
        ),
    ] = None,
) -> None:
    """Say which genre songs are: genre, probability and a line per fragment.

    Needs only the edge runtime. Exit codes: 0 all done, 1 songs were rejected or could not be tagged, 2 wrong use,
    130 interrupted: with --out the same command goes on.
    """
    _hush()
    from tumbao.pipeline.classify import Asked, run_classify

    asked = Asked(songs, model, as_json, as_csv, out, write_tags, overwrite_genre, playlists)
    raise typer.Exit(run_classify(asked, _console(), sys.stdout))


@app.command()
def serve(
    model: Annotated[
        Any,
        typer.Option(
            parser=_address, metavar="<path>", help="Where models are pushed, now and later, or one pushed version."
        ),
    ],
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 for all of this machine's.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen at; 0: a free one.")] = 8080,
    megabytes: Annotated[float, typer.Option(help="Limit for the files of a request, together.")] = 200.0,
    sound_minutes: Annotated[float, typer.Option(help="Limit for the sound of a file.")] = 30.0,
    files: Annotated[int, typer.Option(help="Limit for the files of a request.")] = 10,
    seconds: Annotated[float, typer.Option(help="Limit for a request, from its first byte to its answer.")] = 120.0,
    parallel: Annotated[
        int | None, typer.Option(help="Requests worked on at the same time. [default: as many as there are CPUs]")
    ] = None,
    waiting: Annotated[int, typer.Option(help="Requests beyond these that may wait; others are told to.")] = 64,
    allow_origin: Annotated[
        list[str] | None, typer.Option(help="Origin whose pages may ask too; may be repeated. [default: none]")
    ] = None,
    root_path: Annotated[str, typer.Option(help="Where a proxy has the server, as /tumbao. [default: /]")] = "",
) -> None:
    """Answer over HTTP: songs in, genres out; a page at /, the API at /docs, metrics for Prometheus.

    A model that is pushed while it runs takes over without a pause. Exit codes: 0 ended by SIGTERM, with all requests
    answered, 2 wrong use, 130 interrupted.
    """
    if importlib.util.find_spec("fastapi") is None:
        _fail('Expected the server to be installed. Received: no fastapi. `pip install "tumbao[serve]"`.')
    _hush()
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
    to: Annotated[str, typer.Option(help="The version that is to be served. [default: the model before]")] = "",
    why: Annotated[str, typer.Option(help="A word for the log. [default: none]")] = "",
    show: Annotated[bool, typer.Option("--list", help="Only show who pushed and replaced what, when and why.")] = False,
) -> None:
    """Serve an earlier model again: it is copied under a new, higher number, and nothing is deleted.

    Exit codes: 0 done, 2 wrong use.
    """
    _require_pipeline()
    _hush()

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
def report(
    run: Annotated[str | None, typer.Argument(help="Name of the run, or its beginning. [default: the last]")] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Print the path of a run's report."""
    from tumbao.pipeline.runs import find_report

    try:
        typer.echo(find_report(workspace, run))
    except UserError as error:
        _fail(str(error))


@app.command()
def runs(workspace: Workspace = DEFAULT_WORKSPACE) -> None:
    """List the runs with data, accuracy, blessed or not."""
    from rich.table import Table

    from tumbao.components.ingest.splits import is_leaky
    from tumbao.pipeline.runs import UNREADABLE, read_runs

    records = read_runs(workspace)
    if not records:
        _fail(f"Expected runs in {workspace}. Received: none. `tumbao run --data FOLDER` makes one.")
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
            _console().print(escape(record.sentence), highlight=False, soft_wrap=True)


@app.command()
def doctor(workspace: Workspace = DEFAULT_WORKSPACE) -> None:
    """Check this machine: versions, CPU, weights, decoders, disk; what is not fine, and what to do."""
    from tumbao.pipeline.doctor import run_doctor

    raise typer.Exit(run_doctor(TerminalConsole(), workspace))


@app.command()
def fetch(
    urls: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV with url, genre and, if known, more.")],
    out: Annotated[
        Path, typer.Option(file_okay=False, callback=_here, help="Folder to write <genre>/<song> and manifest.csv to.")
    ],
    sleep: Annotated[float, typer.Option(help="Seconds to wait between songs.")] = 5.0,
    kilobytes_per_second: Annotated[float | None, typer.Option(help="Limit of the rate. [default: none]")] = None,
) -> None:
    """Fetch songs that you have the right to use: audio as it is, with a manifest of sources.

    Exit codes: 0 all fetched or there already, 1 some failed (failed.csv says why), 2 wrong use, 130 interrupted.
    """
    from tumbao.datasets.fetch.run import run_fetch
    from tumbao.datasets.fetch.source import RateLimits
    from tumbao.pipeline.progress_display import ProgressDisplay

    limits = RateLimits(sleep_seconds=sleep, kilobytes_per_second=kilobytes_per_second)
    with ProgressDisplay(_console()) as watch:
        code = run_fetch(urls, out, watch.console, watch, limits)
    raise typer.Exit(code)


@app.command()
def demo_library(
    out: Annotated[
        Path, typer.Argument(file_okay=False, callback=_here, help="Folder to write <genre>/<song>.mp3 to.")
    ],
    songs_per_genre: Annotated[int, typer.Option(min=1, help="Songs of each genre.")] = DEMO_SONGS,
    seed: Annotated[int, typer.Option(min=0, help="Other seed, other songs.")] = DEMO_SEED,
) -> None:
    """Compose the demo library: synthetic songs, rendered from scores made here."""
    _compose(out, songs_per_genre, seed)


def _compose(out: Path, songs_per_genre: int, seed: int) -> None:
    _require_pipeline()
    from tumbao.datasets.demo.library import make_library
    from tumbao.pipeline.progress_display import ProgressDisplay

    with ProgressDisplay(_console()) as watch:
        songs = make_library(
            out, songs_per_genre, seed, progress=lambda done, total, name: watch("compose", done, total)
        )
        watch.say(f"{len(songs)} synthetic songs in {escape(str(out))}")


@app.command()
def demo(
    library: Annotated[
        Path, typer.Option(file_okay=False, callback=_here, help="Where the demo library lies, or is made.")
    ] = DEMO_LIBRARY,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Compose the demo library, run the whole pipeline on it, and classify a song that the model never saw."""
    _require_pipeline()
    from tumbao.datasets.demo.song import compose_file
    from tumbao.pipeline.classify import Asked, run_classify
    from tumbao.pipeline.local_runner import LocalRun

    _compose(library, DEMO_SONGS, DEMO_SEED)
    asked = LocalRun(
        data=library,
        workspace=workspace,
        genres=GENRES,
        layout=Layout.FOLDER.value,
        protocol=Split.SONG.value,
        method=SplitMethod.STRATIFIED.value,
        seed=DEMO_SEED,
        model="vgg16",
        weights="",
        precision=Precision.AUTO.value,
        push_to=str(workspace / "pushed"),
        resume=False,
        from_component="",
        to_component="",
        training=DEMO_TRAINING,
    )
    code = _run(asked)
    if code == 0:
        unseen = compose_file(workspace / "unseen" / "salsa.mp3", "salsa", DEMO_SONGS, DEMO_SEED)
        out = TerminalConsole()
        out.print()
        out.print(f"A salsa that the model never saw, {escape(str(unseen))}:", highlight=False, soft_wrap=True)
        code = run_classify(Asked([unseen], asked.push_to), _console(), sys.stdout)
    raise typer.Exit(code)


def main() -> None:
    """Run the command; Ctrl-C ends it with exit code 130 and without a traceback."""
    with standard_streams():
        app()
