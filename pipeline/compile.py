"""Compilation of the pipeline for Kubeflow Pipelines and Vertex AI: a YAML file and the defaults of its parameters."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import yaml
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx import v1 as tfx
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec

from tumbao.components.ingest.atomic_write import write_whole
from tumbao.pipeline.config import Order, PipelineConfig, UsageError
from tumbao.pipeline.deployment import Deployment, Resources
from tumbao.pipeline.graph import NAME, build
from tumbao.pipeline.known import require_known
from tumbao.pipeline.run_settings import SETTLED, RunSettings
from tumbao.pipeline.settled import Settled
from tumbao.schema.genres import tidy_genre
from tumbao.trainer.models.registry import find_model

PARAMETERS = {"data": str, "model": str, "epochs": int, "min_accuracy": float}
"""Parameters that each submission can change, with their types."""

FRESH = ("RunSettings", "Baseline", "Pusher")
"""Components that read state outside the pipeline, so their results are never reused from an earlier run."""


def compile_pipeline(deployment: Deployment, out: Path) -> dict[str, Any]:
    """Compile the pipeline to the YAML file `out`, with its parameters' defaults in a file beside it.

    Returns the PipelineSpec (schema 2.1). Raises a `UsageError` if the deployment names unknown components, or the file
    cannot be written.
    """
    specification = specify(deployment)
    defaults = {name: getattr(deployment, name) for name in PARAMETERS}
    told = "".join(f"#   {name}: {json.dumps(value)}\n" for name, value in defaults.items())
    header = (
        f"# {NAME} for {deployment.runner}, compiled by `tumbao compile`. The parameters have no defaults in here:\n"
        f"# `tumbao submit` passes those of {parameters_file(out).name}, unless it is told others.\n{told}"
    )
    try:
        write_whole(parameters_file(out), f"{json.dumps(defaults, indent=1)}\n".encode())
        write_whole(out, (header + yaml.safe_dump(specification, sort_keys=True)).encode())
    except OSError as error:
        raise UsageError(f"Expected a file that can be written in --out. Received: {out} ({error})") from error
    return specification


def parameters_file(out: Path) -> Path:
    """Return the path of the parameters' defaults, beside the pipeline's YAML file."""
    return out.with_suffix(".parameters.json")


def specify(deployment: Deployment) -> dict[str, Any]:
    """Build the pipeline's PipelineSpec (schema 2.1).

    Raises a `UsageError` if the deployment names unknown components.
    """
    pipeline = _pipeline(deployment)
    experimental = tfx.orchestration.experimental
    runner = experimental.KubeflowV2DagRunner(
        experimental.KubeflowV2DagRunnerConfig(
            default_image={"default_image_path": deployment.image, **deployment.images}
            if deployment.images
            else deployment.image,
            use_pipeline_spec_2_1=True,
        )
    )
    specification: dict[str, Any] = runner.run(pipeline, write_out=False)["pipelineSpec"]
    for name, task in specification["root"]["dag"]["tasks"].items():
        for value in task.get("inputs", {}).get("parameters", {}).values():
            if producer := value.get("taskOutputParameter"):  # TFX 1.16 writes the name of a task that does not exist
                producer["producerTask"] = producer["producerTask"].removesuffix("_task")
        if name in FRESH:
            task.pop("cachingOptions", None)
    return specification


def _pipeline(deployment: Deployment) -> tfx.dsl.Pipeline:
    model = find_model(deployment.model)
    config = PipelineConfig(
        workspace=deployment.root,
        manifests="",
        genres=tuple(map(tidy_genre, deployment.genres)),
        weights="",
        weights_digest="",
        policy="",
        push_to=deployment.pushed,
        model=model.name,
        training=model.settings(**deployment.training),
        tune=deployment.tune,
        min_accuracy=deployment.min_accuracy,
        min_recall=deployment.min_recall,
        max_accuracy_drop=deployment.max_accuracy_drop,
        baseline="push place",
        cache=deployment.cache,
        vertex_training=deployment.vertex_training,
        endpoint=deployment.endpoint,
        serving_image=deployment.serving_image,
        region=deployment.region,
    )
    parameters = {
        name: tfx.dsl.experimental.RuntimeParameter(name=name, ptype=kind) for name, kind in PARAMETERS.items()
    }
    settings = RunSettings(
        **parameters, order=json.dumps(_order(deployment)), workspace=deployment.root, push_to=deployment.pushed
    )
    told = Settled(**{name: settings.outputs[name].future()[0].value for name in SETTLED})
    pipeline = build(config, settled=told, first=[settings])
    components = {one.id: one for one in pipeline.components if isinstance(one, BaseComponent)}
    for field in ("images", "resources", "beam"):
        require_known(getattr(deployment, field), components, f"{field} of components")
    for name, resources in deployment.resources.items():
        components[name].with_platform_config(_resource_spec(resources))
    for name, flags in deployment.beam.items():
        if not isinstance(components[name].executor_spec, BeamExecutorSpec):
            able = [key for key, one in components.items() if isinstance(one.executor_spec, BeamExecutorSpec)]
            raise UsageError(f"Expected Beam's flags of components out of {', '.join(able)}. Received: {name}")
        components[name].executor_spec.beam_pipeline_args = list(flags)
    return pipeline


def _order(deployment: Deployment) -> dict[str, Any]:
    """Return the settings of `RunSettings` that are not parameters."""
    order = Order(
        data="",
        layout=deployment.layout,
        genres=tuple(map(tidy_genre, deployment.genres)),
        protocol=deployment.split,
        method=deployment.split_method,
        seed=deployment.seed,
        model="",
        weights=deployment.weights,
        precision=deployment.precision,
        training=dict(deployment.training),
        min_songs=deployment.min_songs or None,
        settings={
            "min_recall": deployment.min_recall,
            "max_accuracy_drop": deployment.max_accuracy_drop,
            "tune": deployment.tune,
            "vertex_training": dict(deployment.vertex_training),
            "region": deployment.region,
        },
    )
    told = dataclasses.asdict(order)
    return {name: value for name, value in told.items() if name not in {*PARAMETERS, "growing"}}


def _resource_spec(resources: Resources) -> Any:
    kind = pipeline_spec_pb2.PipelineDeploymentConfig.PipelineContainerSpec.ResourceSpec
    accelerator = kind.AcceleratorConfig(type=resources.accelerator, count=resources.accelerators)
    return kind(
        cpu_limit=resources.cpu,
        memory_limit=resources.memory_gb,
        accelerator=accelerator if resources.accelerator else None,
    )
