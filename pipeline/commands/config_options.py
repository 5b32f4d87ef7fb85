"""Commands with a configuration, whose options are made from the fields of `Config`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

import typer
import typer.main

from tumbao.pipeline.commands.app import (
    Command,
    check_workspace,
    missing_path,
    parse_path,
    require_packages,
    require_writable,
)

if TYPE_CHECKING:
    from tumbao.pipeline.config import Config

_LOCAL = (
    *("data", "workspace", "push_to", "genres", "layout", "subgenres", "min_songs", "split", "split_method", "seed"),
    *("model", "epochs", "batch", "learning_rate", "schedule", "patience", "units", "dropout", "l2", "label_smoothing"),
    *("mixup", "augment", "fine_tune", "class_weights", "tune", "min_accuracy", "min_recall", "weights", "precision"),
    *("resume", "from_component", "to_component", "beam_args"),
)
_CLOUD = ("runner", "root", "image", "data", "model", "epochs", "min_accuracy", "project", "region", "host", "cron")
_FLAGS = {"from_component": "--from", "to_component": "--to", "beam_args": "--beam", "cron": "--schedule"}
_FIELDS = {
    "data": "data.library",
    "model": "model.name",
    "runner": "runner.name",
    "workspace": "runner.root",
    "split": "split.by",
    "split_method": "split.strategy",
    "seed": "split.seed",
    "cron": "runner.schedule",
}
"""Fields of options with another name."""

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", exists=True, dir_okay=False, help="Configuration in YAML; see `tumbao config`."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Set any field, as --set training.mixup=0.2; may be repeated.", show_default=False),
]


class _ConfigCommand(Command):
    """A command with options for fields of `Config`. They are made when it is called, since pydantic takes time."""

    names: tuple[str, ...] = ()

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        require_packages()
        return super().make_context(*arguments, **options)

    def get_params(self, ctx: Any) -> Any:
        return [*_options(self.names), *super().get_params(ctx)]

    def invoke(self, ctx: Any) -> Any:
        values = {name: ctx.params.pop(name) for name in self.names}
        ctx.obj = {_field(name): value for name, value in values.items() if value not in (None, (), [])}
        return super().invoke(ctx)


class LocalCommand(_ConfigCommand):
    """A command that runs the pipeline on this machine."""

    names = _LOCAL


class CloudCommand(_ConfigCommand):
    """A command that compiles the pipeline."""

    names = _CLOUD


@functools.cache
def _field(option: str) -> str:
    """Return the section and the name of the field that an option sets."""
    from tumbao.pipeline.config import Config

    sections = (name for name, kind in Config.model_fields.items() if option in kind.annotation.model_fields)  # type: ignore[union-attr]
    return _FIELDS.get(option) or f"{next(sections)}.{option}"


@functools.cache
def _options(names: Sequence[str]) -> list[Any]:
    """Make options from the fields of `Config` with typer."""
    from tumbao.pipeline.config import Config

    def command(**values: Any) -> None:
        pass

    parameters = []
    for name in names:
        section, _, key = _field(name).partition(".")
        field = Config.model_fields[section].annotation.model_fields[key]  # type: ignore[union-attr]
        kind, bounds = _kind(field)
        option = typer.Option(
            _FLAGS.get(name, f"--{name.replace('_', '-')}"),
            help=f"{field.description}{'' if name == 'beam_args' else _default(section, field.default)}",
            min=bounds["Ge"].ge if "Ge" in bounds else None,
            max=bounds["Le"].le if "Le" in bounds else None,
            show_default=False,
        )
        parameters.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option])
        )
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # typer reads it
    command.__annotations__ = {one.name: one.annotation for one in parameters}
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
    return annotation | None if isinstance(annotation, type) or get_origin(annotation) is list else annotation, found


def _default(section: str, value: Any) -> str:
    if section == "training":
        return " \\[default: the model's]"
    text = ",".join(value) if isinstance(value, tuple) else str(value)
    return "" if value in (None, "", False) else f" \\[default: {text}]"


def read(context: Any, file: Path | None, settings: list[str] | None) -> Config:
    """Read the configuration of a command from its options."""
    from tumbao.pipeline.config import read_config

    return read_config(file, context.obj or {}, settings or ())


def read_local(context: Any, file: Path | None, settings: list[str] | None) -> Config:
    """Read the configuration of a local run; a library that does not exist raises a `UsageError`."""
    from tumbao.pipeline.config import UsageError

    config = read(context, file, settings)
    if config.runner.name != "local":
        raise UsageError(
            f"Expected runner.name=local. Received: {config.runner.name}, for which there is `tumbao submit`."
        )
    if not config.data.library:
        raise UsageError("Expected a library: --data, or data.library in --config. Received: none")
    if message := missing_path(config.data.library):
        raise UsageError(message)
    check_workspace(Path(config.runner.root))
    if config.registry.push_to and isinstance(parse_path(config.push_to), Path):
        require_writable(Path(config.push_to))
    return config


def read_cloud(context: Any, file: Path | None, settings: list[str] | None) -> Config:
    """Read the configuration of a pipeline for Kubeflow or Vertex AI."""
    from tumbao.pipeline.config import UsageError

    config = read(context, file, settings)
    if config.runner.name == "local":
        raise UsageError("Expected --runner kubeflow or vertex, or runner.name in --config. Received: local")
    return config
