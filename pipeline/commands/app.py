"""The application `tumbao`, with the error messages, consoles and arguments that its commands share."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import platform
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer
from rich.markup import escape
from typer import Argument, Option
from typer.core import TyperCommand
from typer.exceptions import TyperException

from tumbao import __version__
from tumbao.components.ingest.download_cache import ensure_home
from tumbao.components.ingest.formats import LAYOUTS
from tumbao.components.ingest.paths import as_path
from tumbao.pipeline.failures import explain
from tumbao.schema.genres import tidy_genre
from tumbao.serving.formatting import TerminalConsole


class Command(TyperCommand):
    """A command whose errors become a message and an exit code, see `failures`."""

    def make_context(self, info_name: str | None, *arguments: Any, **options: Any) -> Any:
        """Parse the arguments."""
        with explained(self.name or "", {}):
            return super().make_context(info_name, *arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with explained(self.name or "", ctx.params):
            return super().invoke(ctx)


class _Commands(typer.Typer):
    """An application whose commands are `Command`s by default."""

    def command(self, *arguments: Any, **options: Any) -> Any:
        return super().command(*arguments, **{"cls": Command} | options)


app = _Commands(
    name="tumbao",
    help="Recognise tropical music genres (bachata, cumbia, merengue, salsa, vallenato) from audio.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

DEFAULT_WORKSPACE = Path("tumbao-workspace")

_LAYOUT = Literal[LAYOUTS]  # type: ignore[valid-type] # the names are defined once, in `formats`
Layout = Annotated[_LAYOUT, Option(help="Form of the library; auto detects it.")]


def check_workspace(path: Path) -> Path:
    """Reject a workspace whose path TFX, Beam or TensorFlow would read as a pattern, or could not store."""
    whole = str(path.absolute())
    if wrong := {character for character in whole if character in "*?[\\" or not character.isprintable()}:
        raise typer.BadParameter(
            "Expected a workspace whose absolute path has none of * ? [ \\ and no control characters, which TFX reads "
            f"as patterns or cannot store. Received: {whole!r}, with {' '.join(sorted(map(repr, wrong)))}. Choose "
            "another folder."
        )
    return path


Workspace = Annotated[Path, Option(callback=check_workspace, help="Folder of metadata, artefacts, runs and models.")]


def error_console() -> TerminalConsole:
    """Return a console on standard error."""
    return TerminalConsole(stderr=True)


def say(markup: str, error: bool = False) -> None:
    """Print a line, which is not wrapped."""
    TerminalConsole(stderr=error).print(markup, highlight=False, soft_wrap=True)


def fail(sentence: str, code: int = 1) -> NoReturn:
    """Print an error message and exit."""
    say(f"[bold red]error:[/bold red] {escape(sentence)}", error=True)
    raise typer.Exit(code)


@contextlib.contextmanager
def explained(command: str, parameters: Mapping[str, Any]) -> Iterator[None]:
    """Convert errors, and Ctrl-C, to a message and an exit code."""
    try:
        yield
    except KeyboardInterrupt:
        say("Interrupted.", error=True)
        raise typer.Exit(130) from None
    except (typer.Exit, typer.Abort, TyperException, BrokenPipeError):
        raise
    except Exception as error:
        values = [one for value in parameters.values() for one in (value if isinstance(value, list) else [value])]
        code, sentence = explain(error, command, [str(value) for value in values if value])
        fail(sentence, code)


def missing_pipeline() -> str:
    """Return the error message if only the edge runtime is installed, otherwise an empty text."""
    missing = [package for package in ("tfx", "pretty_midi") if importlib.util.find_spec(package) is None]
    if missing and sys.version_info >= (3, 14):
        return (
            f"Expected Python 3.10 to 3.13, for which there is a TFX. Received: {platform.python_version()}. This "
            "install only classifies; to train, install Tumbao with one of these, best by `make setup` in a checkout."
        )
    if missing:
        return (
            f"Expected the pipeline to be installed. Received: no {', '.join(missing)}. This install only "
            'classifies; in a checkout `make setup` brings the rest, elsewhere `pip install "tumbao[pipeline]"`.'
        )
    return ""


def require_packages() -> None:
    """Exit with a message if only the edge runtime is installed."""
    if missing := missing_pipeline():
        fail(missing)


def require_pipeline() -> None:
    """Exit with a message if only the edge runtime is installed, and silence TensorFlow."""
    require_packages()
    quiet_tensorflow()


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tumbao {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[bool, Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    with explained("", {}):
        ensure_home()


def parse_existing(text: str) -> Any:
    """Parse a path, which must exist, or an address in a bucket."""
    found = as_path(text)
    if isinstance(found, Path) and not found.exists():
        raise typer.BadParameter(
            f"Path {text!r} does not exist. Expected a folder, a file or an address such as gs://bucket/songs."
        )
    return found


def check_local(path: Path | None) -> Path | None:
    """Reject an address (whose `//` is shortened to `/` by `Path`), and a path that cannot be written to."""
    if path is None:
        return None
    if str(path).startswith(("gs:/", "ram:/")):
        raise typer.BadParameter(
            f"Expected a path of this machine. Received: {str(path).replace(':/', '://')}. Write it here, then copy it "
            "there, as with `gcloud storage cp --recursive`."
        )
    require_writable(path)
    return path


def require_writable(path: Path) -> None:
    """Reject a path that cannot be written to."""
    try:
        path.stat()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise typer.BadParameter(f"Path {str(path)!r} cannot be written to: {error.strerror}.") from error
    whole = path.absolute()
    found = next(one for one in (whole, *whole.parents) if one.exists())
    reason = ""
    if found.is_dir():
        try:  # the permissions of a folder do not tell root what its file system takes
            tempfile.TemporaryFile(dir=found).close()
        except OSError as error:
            reason = f"may not be written to ({error.strerror})"
    elif found != whole:
        reason = "is not a folder"
    elif not os.access(found, os.W_OK):
        reason = "is read-only"
    if reason:
        raise typer.BadParameter(f"Path {str(path)!r} cannot be written to: {found} {reason}.")


Library = Annotated[Path, Argument(parser=parse_existing, help="A folder of songs, or a list of songs.")]
PushedModel = Annotated[Any, Option(parser=as_path, metavar="<path>", help="Pushed models, or one version.")]


def quiet_tensorflow() -> None:
    """Suppress log messages and warnings of TensorFlow and its packages."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", "You are using a non-supported Python version", FutureWarning)
    warnings.filterwarnings("ignore", "Support for google-cloud-storage < 3.0.0", FutureWarning)


def genre_names(genres: str) -> tuple[str, ...]:
    """Split a list of genres at its commas."""
    return tuple(tidy_genre(name) for name in genres.split(",") if name.strip())
