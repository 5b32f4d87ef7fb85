"""Settings of a pipeline in the cloud, read from a YAML file and the command line."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from tumbao.components.ingest.formats import LAYOUTS
from tumbao.components.ingest.library import FIXED, GIVEN
from tumbao.components.ingest.splits import SPLIT_BY, SPLIT_STRATEGIES
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
    """Resources of a component's container; 0 means the platform's default.

    `accelerator` is the type as the platform names it, such as `NVIDIA_TESLA_T4` on Vertex AI or `nvidia.com/gpu` on
    Kubeflow. A negative value, or a type without a number, raises a `UsageError`.
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
    """Settings of a pipeline that runs on Kubeflow Pipelines or Vertex AI.

    Fields not described here are those of `PipelineConfig` or options of `tumbao run`. A field that is missing or out
    of its range raises a `UsageError`.

    - `root`: folder for everything that runs write, in a bucket or, on Kubeflow, on a mounted volume; every container
      must be able to reach it.
    - `image`, `images`: the container image with Tumbao, and other images for single components.
    - `data`, `model`, `epochs`, `min_accuracy`: defaults of parameters that each submission can change.
    - `push_to`: where blessed models are pushed, by default `pushed` in the root; a trailing slash is removed.
    - `min_songs`: songs a sub-genre needs to become a label of its own; 0 for no sub-genres.
    - `split_method`: `given` uses the library's own splits.
    - `training`: settings of `Training` other than epochs and seed.
    - `beam`: Beam's flags of single components, for example Dataflow's; all other components process data in their own
      containers.
    - `vertex_training`: Vertex AI's custom job for training (`project`, `worker_pool_specs` and so on); empty to train
      in the component's own container.
    - `endpoint`, `serving_image`: the endpoint of Vertex AI to which blessed models are deployed in addition to the
      push (`project_id`, `endpoint_name`, `machine_type` and so on), and the container that it serves with.
    - `service_account`: the account that the steps run as.
    - `labels`: of each run, on Vertex AI only.
    - `schedule`: when runs start, in cron's five fields; empty for a single run.
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
        for name in ("root", "push_to"):  # in a bucket, `pushed//1` and `pushed/1` are different objects
            object.__setattr__(self, name, getattr(self, name).rstrip("/"))
        vertex = self.runner == "vertex"
        apart = "epochs" not in self.training and "seed" not in self.training
        weights = self.weights in {"", RANDOM} or _absolute(self.weights)
        precisions, methods = ("auto", *get_args(Policy)), (*SPLIT_STRATEGIES, FIXED, GIVEN)
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
            ("split", self.split in SPLIT_BY, f"out of {', '.join(SPLIT_BY)}"),
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
    """Read a deployment from a YAML file and from options of the command line.

    Options take precedence over the file unless they are None. A file that is not a YAML mapping, and a missing,
    unknown or invalid field, raise a `UsageError`.
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
    """Check whether a custom job of Vertex AI names a project and images; TFX's default image does not have Tumbao."""
    try:
        pools = job.get("job_spec", job)["worker_pool_specs"]
        return bool(job["project"] and pools) and all(pool["container_spec"]["image_uri"] for pool in pools)
    except (KeyError, TypeError):
        return False
