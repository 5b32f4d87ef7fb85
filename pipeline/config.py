"""Configuration of a pipeline: one schema for every runner, read from YAML files and the command line."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, get_args

import pydantic
from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from tumbao.components.ingest.formats import LAYOUTS
from tumbao.components.ingest.library import FIXED, GIVEN, Song
from tumbao.components.ingest.splits import SPLIT_BY, SPLIT_STRATEGIES
from tumbao.schema.errors import UserError
from tumbao.schema.genres import GENRES, genre_key, tidy_genre
from tumbao.trainer.models.registry import AUTO, PAPER, find_model, model_names
from tumbao.trainer.training import Training
from tumbao.trainer.vgg16 import Policy
from tumbao.trainer.weights import RANDOM

LOCAL_RUNNER = "--runner=FnApiRunner"
"""Flag of Beam's runner in this process."""

LOCAL_BEAM = (LOCAL_RUNNER, "--sdk_container_image=none")
"""Beam's flags to run in this process. Without the name of a container image, TFX would package itself for workers."""


class UsageError(UserError):
    """An invalid setting of a run."""


class Section(pydantic.BaseModel):
    """A part of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _items(convert: Callable[[str], Any], none: Sequence[Any] = ()) -> Any:
    """Return a validator that accepts a list, text with commas or a number, without the items that are in `none`."""

    def split(value: Any) -> Any:
        if isinstance(value, str):
            value = [one for one in value.split(",") if one.strip()]
        items = [value] if isinstance(value, int) else value
        if not isinstance(items, list | tuple):
            return value
        return tuple(one for one in (convert(one) if isinstance(one, str) else one for one in items) if one not in none)

    return BeforeValidator(split)


def _one_of(names: Sequence[str]) -> Any:
    return Literal[tuple(names)]


Share = Annotated[float, Field(ge=0, le=1)]
Names = Annotated[tuple[str, ...], Field(strict=False)]


class Data(Section):
    """The library."""

    library: str = Field("", description="Folder with one folder of songs per genre, or a list of songs.")
    layout: _one_of(LAYOUTS) = Field(  # type: ignore[valid-type] # the names are defined once, in `formats`
        "auto", description="Form of the library; auto detects it."
    )
    genres: Annotated[Names, _items(tidy_genre)] = Field(
        tuple(GENRES), description="Genres, separated by commas, in the order of the labels: names of folders."
    )
    subgenres: bool = Field(
        False, description="Also train on sub-genres: folders below the genre, or salsa/dura in lists."
    )
    min_songs: int = Field(
        10, ge=3, description="With sub-genres, the number of songs that a sub-genre needs to become a label."
    )


class Split(Section):
    """The division of the songs into training, validation and test split."""

    by: str = Field(
        AUTO,
        min_length=1,
        description="What a split and the folds keep together: song, artist, or a column of the list, such as source. "
        "fragment is the paper's and leaky; given uses the library's own splits; auto stands for artist if at least "
        "half of the songs name one, otherwise for song.",
    )
    strategy: _one_of((*SPLIT_STRATEGIES, FIXED)) | None = Field(  # type: ignore[valid-type]
        None,
        description="While the library grows, stable keeps each song in its split, and fixed keeps the test songs. "
        "By default stratified, and stable on Kubeflow and Vertex AI.",
    )
    seed: int = Field(7, ge=0, description="Seed of the split, the initial weights and the shuffling.")
    folds: int | None = Field(
        None,
        ge=0,
        description="Number of folds of the cross-validation over the songs that are not test songs, 0 for none. By "
        "default 5, and none for one model of a library with at least 60 songs of each genre.",
    )


class Model(Section):
    """The network."""

    name: str = Field(
        AUTO,
        description="Name of the model; `tumbao models` lists them. Of several, separated by commas, the one that is "
        "best in cross-validation is trained; auto stands for the paper's and Tumbao's, or for the paper's alone with "
        "a split by fragment, a search, fine-tuning, --resume or no folds.",
    )
    refit: bool = Field(
        True,
        description="Train the tested model again on all songs before it is exported, test songs too unless later "
        "models are tested with them. It takes effect where the head is not trained by gradients.",
    )
    weights: str = Field(
        "",
        description="File of the backbone's weights, for VGG-16 a Keras no-top file, or random. By default, they are "
        "searched for.",
    )
    precision: _one_of(("auto", *get_args(Policy))) = Field(  # type: ignore[valid-type]
        "auto", description="Data type of the backbone's computations; auto chooses it by the processor."
    )
    tune: int = Field(
        0, ge=0, description="Number of trials of a search for layers, dropout, L2 and learning rate; 0 for no search."
    )


class _Settings(Section):
    """Settings of the training; those that are not given are the model's own."""

    model_config = ConfigDict(strict=False)  # YAML reads 1e-4 as text


_FIELDS: dict[str, Any] = {
    name: (Optional[field.rebuild_annotation()], Field(None, description=field.description))  # noqa: UP045 - computed
    for name, field in Training.__pydantic_fields__.items()  # type: ignore[attr-defined] # pydantic adds them
}
_FIELDS["units"] = (Annotated[Optional[tuple[pydantic.PositiveInt, ...]], _items(int, none=[0])], _FIELDS["units"][1])  # noqa: UP045
TrainingSection: Any = pydantic.create_model(
    "TrainingSection", __base__=_Settings, __module__=__name__, __doc__=_Settings.__doc__, **_FIELDS
)
"""The fields of the trainer's `Training`, each of which may be left out."""


class Gate(Section):
    """The conditions under which a model is blessed."""

    min_accuracy: Share = Field(0.80, description="Lowest accuracy, of songs that the model was not trained on.")
    min_recall: Share = Field(0.50, description="Recall that no genre may be shown to be below.")
    max_accuracy_drop: Share = Field(
        0.01, description="Largest decrease of accuracy against the served model, if the test songs are enough to tell."
    )
    push_undecided: bool = Field(
        False, description="Push a model even if there are too few songs to tell whether it is good enough."
    )


class Registry(Section):
    """Where blessed models go."""

    push_to: str = Field("", description="Folder that blessed models are pushed to. By default `pushed` in the root.")
    endpoint: dict[str, Any] = Field(
        {},
        description="Endpoint of Vertex AI that blessed models are deployed to as well: project_id, endpoint_name, "
        "machine_type and so on.",
    )
    serving_image: str = Field("", description="Container image that the endpoint serves with.")


class Resources(Section):
    """Resources of a component's container; 0 means the platform's default."""

    cpu: float = Field(0, ge=0, description="CPUs.")
    memory_gb: float = Field(0, ge=0, description="Memory in GB.")
    accelerator: str = Field(
        "", description="Type as the platform names it: NVIDIA_TESLA_T4 on Vertex AI, nvidia.com/gpu on Kubeflow."
    )
    accelerators: int = Field(0, ge=0, description="Number of accelerators.")


class Runner(Section):
    """Where the pipeline runs, and with what."""

    name: Literal["local", "kubeflow", "vertex"] = Field("local", description="Where the pipeline runs.")
    root: str = Field(
        "tumbao-workspace",
        description="Folder of metadata, artefacts, runs and, by default, pushed models: the workspace. On Kubeflow "
        "and Vertex AI a folder that every container can access, such as gs://bucket/tumbao.",
    )
    cache: bool = Field(True, description="Reuse results of earlier runs.")
    resume: bool = Field(
        False,
        description="Start training from the best weights of the last run on the same songs, split and seed.",
    )
    from_component: str = Field("", description="First component to run.")
    to_component: str = Field("", description="Last component to run.")
    beam_args: Names = Field(
        LOCAL_BEAM, description="Flags of Beam, a --runner among them. By default in this process."
    )
    beam: dict[str, Names] = Field({}, description="Flags of Beam for single components, on Kubeflow and Vertex AI.")
    image: str = Field("", description="Container image with Tumbao.")
    images: dict[str, str] = Field({}, description="Container images of single components.")
    resources: dict[str, Resources] = Field({}, description="Resources of single components' containers.")
    vertex_training: dict[str, Any] = Field(
        {}, description="Vertex AI's custom job for training: project, worker_pool_specs and so on."
    )
    project: str = Field("", description="Project of Vertex AI.")
    region: str = Field("", description="Region of Vertex AI.")
    service_account: str = Field("", description="Account that the components run as.")
    host: str = Field("", description="Address of Kubeflow Pipelines.")
    labels: dict[str, str] = Field({}, description="Labels of each run, on Vertex AI.")
    schedule: str = Field(
        "", description="When runs start, in cron's five fields, as 0 3 * * 1; empty for a single run."
    )


class Config(Section):
    """Configuration of a pipeline."""

    data: Data = Data()
    split: Split = Split()
    model: Model = Model()
    training: TrainingSection = TrainingSection()
    gate: Gate = Gate()
    registry: Registry = Registry()
    runner: Runner = Runner()

    @model_validator(mode="after")
    def _check(self) -> Config:
        models = [find_model(name) for name in self.models]
        for model in models:
            model.settings(**self.training.model_dump(exclude_none=True))
        by, strategy, genres, folds = self.split.by, self.split.strategy, self.data.genres, self.split.folds
        tune, runner, one = bool(self.model.tune), self.runner, len(models) == 1
        gradients = all(model.train is None for model in models) or not (tune or runner.resume)
        rules = [
            ("data.genres", len(set(map(genre_key, genres))) == len(genres) >= 2, "at least 2, each once"),
            ("split.by", strategy != FIXED or by in ("song", AUTO, GIVEN), "song where the test songs are fixed"),
            ("split.strategy", by != GIVEN or strategy in (None, SPLIT_STRATEGIES[0]), "none for given splits"),
            ("model.name", one or by != "fragment", "one model with a split by fragment"),
            ("split.folds", folds != 1, "0 for no cross-validation, or at least 2"),
            ("split.folds", one or folds != 0, "at least 2 to choose between models"),
            ("model.name", gradients, "that gradients train for a search, or to resume training"),
            ("runner.resume", not (tune and runner.resume), "false for a search: each trial starts anew"),
            ("runner.resume", one or not runner.resume, "false for a choice between models"),
            (
                "runner.beam_args",
                any(flag.startswith("--runner") for flag in runner.beam_args),
                "flags with a --runner",
            ),
            ("runner.schedule", len(runner.schedule.split()) in (0, 5), "in cron's five fields, as 0 3 * * 1"),
            *(self._cloud_rules() if runner.name != "local" else ()),
        ]
        broken = [
            f"Expected {name}: {rule}. Received: {name}={attrgetter(name)(self)!r}"
            for name, holds, rule in rules
            if not holds
        ]
        if broken:
            raise UsageError("\n  ".join(broken))
        return self

    def _cloud_rules(self) -> Iterator[tuple[str, bool, str]]:
        runner, registry, resources = self.runner, self.registry, self.runner.resources.values()
        job, endpoint, named = runner.vertex_training, registry.endpoint, ("project_id", "endpoint_name")
        image = "with a project, and worker_pool_specs with a container_spec and its image_uri each"
        yield "runner.image", bool(runner.image), "a container image with Tumbao"
        yield "runner.root", _is_whole(runner.root), "a folder by its whole address, as gs://bucket/tumbao"
        yield "data.library", _is_whole(self.data.library), "a library by its whole address"
        yield "registry.push_to", _is_whole(registry.push_to or "/"), "a folder by its whole address"
        yield "model.weights", _is_whole(self.model.weights or "/", RANDOM), "random, or a whole address"
        for name in ("runner.resume", "runner.from_component", "runner.to_component"):
            yield name, not attrgetter(name)(self), "unset except locally"
        for name in ("runner.labels", "runner.vertex_training", "registry.endpoint"):
            yield name, runner.name == "vertex" or not attrgetter(name)(self), "empty on Kubeflow"
        accelerators = all(bool(one.accelerator) == bool(one.accelerators) for one in resources)
        yield "runner.resources", accelerators, "a type of accelerator with its number"
        yield "runner.vertex_training", not job or _names_images(job), image
        yield "registry.endpoint", not endpoint or {*named} <= endpoint.keys(), f"with {' and '.join(named)}"
        yield "registry.serving_image", bool(registry.serving_image) or not endpoint, "an image for the endpoint"

    @property
    def root(self) -> str:
        """The root without a trailing slash: in a bucket, `pushed//1` and `pushed/1` are different objects."""
        return self.runner.root.rstrip("/") or "/"

    @property
    def push_to(self) -> str:
        """Folder that blessed models are pushed to."""
        return self.registry.push_to.rstrip("/") or f"{self.root}/pushed"

    @property
    def split_by(self) -> str:
        """One of `splits.SPLIT_BY`, a column of the list, or `AUTO` before the library is scanned."""
        return "song" if self.split.by == GIVEN else self.split.by

    @property
    def split_strategy(self) -> str:
        """One of `splits.SPLIT_STRATEGIES`, `FIXED` or `GIVEN`."""
        return GIVEN if self.split.by == GIVEN else self.split.strategy or SPLIT_STRATEGIES[self.runner.name != "local"]

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models to choose from; `AUTO` is the paper's alone where the settings rule out a choice."""
        alone = self.split.by == "fragment" or self.split.folds == 0
        gradients = self.model.tune or self.runner.resume or self.training.model_dump()["fine_tune"]
        return (PAPER,) if self.model.name == AUTO and (alone or gradients) else model_names(self.model.name)

    @property
    def head(self) -> Training:
        """Settings of the training of the head: the given ones, and those of the model, or of the first of several."""
        return self.head_of(self.models[0])

    def head_of(self, model: str) -> Training:
        """Return the settings of the training of one of the models."""
        given = {"seed": self.split.seed} | self.training.model_dump(exclude_none=True)
        return find_model(model).settings(**given)

    def summary(self) -> dict[str, Any]:
        """Return the settings of data, split, model, training and gate by the names that they have in `run.json`."""
        data, model, used = self.data, self.model, find_model(self.models[0]).used
        return {
            "data": data.library,
            "layout": data.layout,
            "genres": data.genres,
            "protocol": self.split_by,
            "method": self.split_strategy,
            "model": model.name,
            "weights": model.weights,
            "precision": model.precision,
            "min_songs": data.min_songs if data.subgenres else None,
            **{name: value for name, value in dataclasses.asdict(self.head).items() if name in used},
            "min_accuracy": self.gate.min_accuracy,
            "min_recall": self.gate.min_recall,
            "folds": self.split.folds,
            "tune": model.tune,
        }

    def replace(self, **sections: Mapping[str, Any]) -> Config:
        """Return a configuration with other values in some sections; an invalid one raises a `UsageError`."""
        given = self.model_dump(exclude_unset=True)
        return parse(given | {name: {**given.get(name, {}), **values} for name, values in sections.items()})


def _is_whole(address: str, *others: str) -> bool:
    """Check whether an address is a folder in a bucket or an absolute path, or one of some other values."""
    return address in others or bool(re.match(r"gs://[^/]|/", address))


def _names_images(job: Mapping[str, Any]) -> bool:
    """Check whether a custom job of Vertex AI names a project and images; TFX's default image does not have Tumbao."""
    try:
        pools = job.get("job_spec", job)["worker_pool_specs"]
        return bool(job["project"] and pools) and all(pool["container_spec"]["image_uri"] for pool in pools)
    except (KeyError, TypeError):
        return False


def parse(values: Mapping[str, Any]) -> Config:
    """Make a configuration of sections; anything invalid raises a `UsageError` that lists each fault."""
    try:
        return Config.model_validate(values)
    except pydantic.ValidationError as error:
        raise UsageError("\n  ".join(map(_sentence, error.errors(include_url=False)))) from error


def require_split_by(
    split_by: str, songs: Iterable[Song], others: Sequence[str] = (), option: str = "--split-by"
) -> None:
    """Raise UsageError unless the option is a kind of split, a column of the list of songs, or one of `others`."""
    columns = sorted({name for song in songs for name in song.columns})
    known = (*SPLIT_BY, *others)
    if split_by not in known and split_by.lower() not in columns:
        raise UsageError(
            f"Expected {option} out of {', '.join((*known, *columns))}{', the last ones columns' * bool(columns)}. "
            f"Received: {split_by!r}{did_you_mean(split_by, (*known, *columns))}"
        )


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return a question with the closest known name, or an empty text."""
    near = difflib.get_close_matches(str(name), known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _sentence(error: Any) -> str:
    name, kind, value = ".".join(map(str, error["loc"])), error["type"], error["input"]
    if kind == "value_error" and isinstance(error["ctx"]["error"], UserError):
        return str(error["ctx"]["error"])
    if kind == "extra_forbidden":
        models: Sequence[Any] = (Config, type(getattr(Config(), str(error["loc"][0]), None)), Resources)
        known = models[min(len(error["loc"]), 4) // 2].model_fields
        return f"Expected names out of {', '.join(known)}. Received: {name}{did_you_mean(error['loc'][-1], known)}"
    rule = str(error["msg"]).removeprefix("Input should be ").removeprefix("Value error, ")
    return f"Expected {name}: {rule}. Received: {name}={value!r}"


def read_config(file: Path | None = None, options: Mapping[str, Any] = {}, settings: Sequence[str] = ()) -> Config:
    """Read a configuration from YAML, `options` by path, and `settings` such as `training.mixup=0.2`, the strongest."""
    import yaml

    try:
        values = yaml.safe_load(file.read_text("utf-8")) if file else {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(
            f"Expected a YAML file in --config. Received: {file} ({' '.join(str(error).split())})"
        ) from error
    if not isinstance(values, dict):
        raise UsageError(f"Expected a YAML file of sections, names and values in --config. Received: {file}")
    paths = dict(options)
    for setting in settings:
        path, found, text = setting.partition("=")
        if not found or path.count(".") != 1:
            raise UsageError(
                f"Expected --set with a section, a name and a value, as training.mixup=0.2. Received: {setting}"
            )
        try:
            paths[path] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UsageError(f"Expected a value in YAML. Received: {setting} ({error})") from error
    values = {key: {} if value is None else value for key, value in values.items()}
    for path, value in paths.items():
        section, _, name = path.partition(".")
        if not isinstance(values.setdefault(section, {}), dict):
            raise UsageError(f"Expected {section}: names and values. Received: {section}={values[section]!r}")
        values[section] = {**values[section], name: value}
    return parse(values)


def to_yaml(config: Config) -> str:
    """Format a configuration as YAML, with the description of each field as a comment."""
    import textwrap

    import yaml

    lines = []
    for section in Config.model_fields:
        part = getattr(config, section)
        kind = type(part)
        lines += [f"# {(inspect.getdoc(kind) or '').splitlines()[0]}", f"{section}:"]
        for name, one in kind.model_fields.items():
            lines += [f"  # {line}" for line in textwrap.wrap(one.description or "", 114)]
            value = part.model_dump(mode="json")[name]
            text = yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("...\n").strip()
            lines.append(f"  {name}: {text}")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"
