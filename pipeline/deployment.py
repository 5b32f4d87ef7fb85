"""Where a pipeline runs in the cloud, and with what: one value, from a YAML file and the command line."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from tumbao.components.ingest.formats import LAYOUTS
from tumbao.components.ingest.library import FIXED, GIVEN
from tumbao.components.ingest.splits import METHODS, PROTOCOLS
from tumbao.pipeline.config import PipelineConfig, UsageError
from tumbao.pipeline.cron import is_schedule
from tumbao.pipeline.kinds import require_kinds
from tumbao.pipeline.known import require_known
from tumbao.schema.genres import GENRES
from tumbao.trainer.models.registry import PAPER, find_model
from tumbao.trainer.vgg16 import Policy
from tumbao.trainer.weights import RANDOM

RUNNERS = ("kubeflow", "vertex")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resources:
    """What a component's container gets.

    Parameters
    ----------
    cpu : float
        Processors; 0 for the platform's default.
    memory_gb : float
        Memory in GB; 0 for the platform's default.
    accelerator : str
        Its type as the platform names it, such as `NVIDIA_TESLA_T4` on Vertex AI or `nvidia.com/gpu` on Kubeflow.
    accelerators : int
        How many of it.

    Raises
    ------
    UsageError
        If a value is out of its range.
    """

    cpu: float = 0
    memory_gb: float = 0
    accelerator: str = ""
    accelerators: int = 0

    def __post_init__(self) -> None:
        require_kinds(self)
        if min(self.cpu, self.memory_gb, self.accelerators) < 0 or bool(self.accelerator) != bool(self.accelerators):
            raise UsageError(
                f"Expected resources of 0 or more, and a type of accelerator with its number. Received: {self}"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deployment:
    """A pipeline in the cloud.

    Parameters
    ----------
    runner : str
        `kubeflow` or `vertex`.
    root : str
        Folder for all that runs write, which every container reaches: a bucket's, or on Kubeflow a mounted volume's.
    image : str
        Container image with Tumbao in it.
    data : str
        The library. A parameter of each submission; this is its default, as are model, epochs and min_accuracy.
    model : str
        Name of the model.
    epochs : int
        Passes over the training split; 0 for the model's own.
    min_accuracy, min_recall, max_accuracy_drop : float
        What a model must reach to be pushed.
    push_to : str
        Where blessed models are pushed; by default `pushed` in the root. A slash at the end of a folder is taken off.
    genres : sequence of str
        The genres.
    min_songs : int
        Songs that a sub-genre needs to be told apart from its genre; 0 where no sub-genre is to be.
    layout, split, split_method : str
        As `tumbao run` takes them; a `split_method` of `given` takes the library's own splits.
    seed : int
        Of split, initial weights and shuffling.
    weights : str
        File of the backbone's weights, `random`, or empty to look for them.
    precision : str
        Of the backbone's computation.
    training : mapping of str to Any
        Settings of `Training` other than epochs.
    tune : int
        Trials of a search.
    cache : bool
        Whether finished steps are taken over from earlier runs.
    images : mapping of str to str
        Images of single components.
    resources : mapping of str to Resources
        Of single components.
    beam : mapping of str to sequence of str
        Beam's flags of single components, for example Dataflow's; the others work in their own containers.
    vertex_training : mapping of str to Any
        On Vertex AI, the custom job that trains (`project`, `worker_pool_specs` and so on): empty to train in the
        component's own container.
    endpoint : mapping of str to Any
        On Vertex AI, the endpoint that blessed models are deployed to (`project_id`, `endpoint_name`, `machine_type`
        and so on), beside the push place: empty for none.
    serving_image : str
        The container that the endpoint serves with.
    project, region : str
        Of Vertex AI.
    service_account : str
        That the steps run as.
    host : str
        Address of Kubeflow Pipelines.
    labels : mapping of str to str
        Put on each run; on Vertex AI only.
    schedule : str
        When runs start by themselves, in cron's five fields; empty for once.

    Raises
    ------
    UsageError
        If something is missing or out of its range.
    """

    runner: str
    root: str
    image: str
    data: str
    model: str = PAPER
    epochs: int = 0
    min_accuracy: float = PipelineConfig.min_accuracy
    min_recall: float = PipelineConfig.min_recall
    max_accuracy_drop: float = PipelineConfig.max_accuracy_drop
    push_to: str = ""
    genres: Sequence[str] = GENRES
    min_songs: int = 0
    layout: str = "auto"
    split: str = "song"
    split_method: str = "stable"
    seed: int = 7
    weights: str = ""
    precision: str = "auto"
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tune: int = 0
    cache: bool = True
    images: Mapping[str, str] = dataclasses.field(default_factory=dict)
    resources: Mapping[str, Resources] = dataclasses.field(default_factory=dict)
    beam: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    vertex_training: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    endpoint: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    serving_image: str = ""
    project: str = ""
    region: str = ""
    service_account: str = ""
    host: str = ""
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    schedule: str = ""

    def __post_init__(self) -> None:
        require_kinds(self)
        for name in ("root", "push_to"):  # in a bucket `pushed//1` is another object than `pushed/1`
            object.__setattr__(self, name, getattr(self, name).rstrip("/"))
        vertex = self.runner == "vertex"
        apart = "epochs" not in self.training and "seed" not in self.training
        weights = self.weights in {"", RANDOM} or _absolute(self.weights)
        precisions, methods = ("auto", *get_args(Policy)), (*METHODS, FIXED, GIVEN)
        job, endpoint = self.vertex_training, self.endpoint
        pools = "with a project, and worker_pool_specs with a container_spec and its image_uri each"
        named = {"project_id", "endpoint_name"} <= endpoint.keys()
        expected: Sequence[tuple[str, bool, str]] = (
            ("runner", self.runner in RUNNERS, f"out of {', '.join(RUNNERS)}"),
            ("root", _absolute(self.root), "a folder by its whole address, such as gs://bucket/tumbao"),
            ("image", bool(self.image), "a container image with Tumbao in it"),
            ("data", _absolute(self.data), "a library by its whole address, such as gs://bucket/library"),
            ("push_to", not self.push_to or _absolute(self.push_to), "a folder by its whole address"),
            ("epochs", self.epochs >= 0, "0 or more"),
            ("min_songs", self.min_songs == 0 or self.min_songs >= 3, "0, or at least 3: one for each split"),
            ("layout", self.layout in LAYOUTS, f"out of {', '.join(LAYOUTS)}"),
            ("split", self.split in PROTOCOLS, f"out of {', '.join(PROTOCOLS)}"),
            ("split_method", self.split_method in methods, f"out of {', '.join(methods)}"),
            ("split", self.split_method != FIXED or self.split == "song", "song where the test songs are fixed"),
            ("seed", self.seed >= 0, "0 or more"),
            ("weights", weights, "random, or a file by its whole address"),
            ("precision", self.precision in precisions, f"out of {', '.join(precisions)}"),
            ("training", apart, "without epochs and seed, which have places of their own"),
            ("vertex_training", vertex or not job, "empty on Kubeflow"),
            ("vertex_training", not job or _trains(job), pools),
            ("endpoint", vertex or not endpoint, "empty on Kubeflow"),
            ("endpoint", not endpoint or named, "with a project_id and an endpoint_name"),
            ("serving_image", bool(self.serving_image) or not endpoint, "named where there is an endpoint"),
            ("labels", vertex or not self.labels, "empty on Kubeflow, whose runs have none"),
            ("schedule", not self.schedule or is_schedule(self.schedule), "in cron's five fields, as 0 3 * * 1"),
        )
        for name, holds, rule in expected:
            if not holds:
                raise UsageError(f"Expected {name}: {rule}. Received: {name}={getattr(self, name)!r}")
        try:
            find_model(self.model).settings(**self.training)
        except (TypeError, ValueError) as error:
            raise UsageError(str(error)) from error

    @property
    def pushed(self) -> str:
        """Where blessed models are pushed."""
        return self.push_to or f"{self.root}/pushed"


def read_deployment(file: Path | None, **flags: Any) -> Deployment:
    """Read a deployment.

    Parameters
    ----------
    file : Path or None
        YAML with fields of `Deployment`.
    **flags : Any
        Fields from the command line, which go before the file's; None where the file decides.

    Returns
    -------
    deployment : Deployment
        Checked.

    Raises
    ------
    UsageError
        If the file is no such YAML, or a field is missing, unknown or out of its range.
    """
    import yaml

    try:
        told = yaml.safe_load(file.read_text("utf-8")) if file else {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"Expected a YAML file in --config. Received: {file} ({error})") from error
    if not isinstance(told, dict):
        raise UsageError(f"Expected a YAML file of names and values in --config. Received: {file}")
    told |= {name: value for name, value in flags.items() if value is not None}
    resources = told.get("resources") or {}
    if isinstance(resources, Mapping):
        told["resources"] = {
            component: _made(Resources, one or {}, f"resources of {component}") for component, one in resources.items()
        }
    return _made(Deployment, told, f"fields of {file}" if file else "options")


def _made(kind: type[Any], told: Any, what: str) -> Any:
    if not isinstance(told, Mapping):
        raise UsageError(f"Expected {what}: names and values. Received: {told!r}")
    names = {field.name: field for field in dataclasses.fields(kind)}
    require_known(told, names, what)
    missing = [
        name
        for name, field in names.items()
        if field.default is field.default_factory is dataclasses.MISSING and name not in told
    ]
    if missing:
        raise UsageError(f"Expected {', '.join(missing)} among the {what}, or as options. Received: none")
    return kind(**told)


def _absolute(address: str) -> bool:
    return re.match(r"gs://[^/]|/", address) is not None


def _trains(job: Mapping[str, Any]) -> bool:
    """Tell whether a custom job of Vertex AI says where it trains and in which images; TFX's own has no Tumbao."""
    try:
        pools = job.get("job_spec", job)["worker_pool_specs"]
        return bool(job["project"] and pools) and all(pool["container_spec"]["image_uri"] for pool in pools)
    except (KeyError, TypeError):
        return False
