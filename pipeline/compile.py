"""Compilation of the pipeline for Kubeflow Pipelines and Vertex AI: a YAML file and the defaults of its parameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx import v1 as tfx
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec

from tumbao.components.ingest.atomic_write import write_whole
from tumbao.pipeline.config import Config, Resources, UsageError, did_you_mean
from tumbao.pipeline.graph import NAME, build
from tumbao.pipeline.resolve import PROPERTIES
from tumbao.pipeline.run_settings import RunSettings

PARAMETERS = {"data": str, "model": str, "epochs": int, "min_accuracy": float}
"""Parameters that each submission can change, with their types."""

FRESH = ("RunSettings", "Baseline", "Pusher")
"""Components that read state outside the pipeline, so their results are never reused from an earlier run."""


def compile_pipeline(config: Config, out: Path) -> dict[str, Any]:
    """Compile the pipeline to the YAML file `out`, with its parameters' defaults in a file beside it.

    Returns the PipelineSpec (schema 2.1). Raises a `UsageError` if the configuration names unknown components, or
    the file cannot be written.
    """
    specification = specify(config)
    parameters = defaults(config)
    listed = "".join(f"#   {name}: {json.dumps(value)}\n" for name, value in parameters.items())
    header = (
        f"# {NAME} for {config.runner.name}, compiled by `tumbao compile`. Its parameters have no defaults here:\n"
        f"# `tumbao submit` passes those of {parameters_file(out).name}, unless others are given.\n{listed}"
    )
    try:
        write_whole(parameters_file(out), f"{json.dumps(parameters, indent=1)}\n".encode())
        write_whole(out, (header + yaml.safe_dump(specification, sort_keys=True)).encode())
    except OSError as error:
        raise UsageError(f"Expected a file that can be written in --out. Received: {out} ({error})") from error
    return specification


def parameters_file(out: Path) -> Path:
    """Return the path of the parameters' defaults, beside the pipeline's YAML file."""
    return out.with_suffix(".parameters.json")


def specify(config: Config) -> dict[str, Any]:
    """Build the pipeline's PipelineSpec (schema 2.1).

    Raises a `UsageError` if the configuration names unknown components.
    """
    pipeline = _pipeline(config)
    experimental = tfx.orchestration.experimental
    runner = experimental.KubeflowV2DagRunner(
        experimental.KubeflowV2DagRunnerConfig(
            default_image={"default_image_path": config.runner.image, **config.runner.images},
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


def _pipeline(config: Config) -> tfx.dsl.Pipeline:
    parameters = {
        name: tfx.dsl.experimental.RuntimeParameter(name=name, ptype=kind) for name, kind in PARAMETERS.items()
    }
    settings = RunSettings(**parameters, config=config.model_dump_json(exclude_unset=True))
    properties = {name: settings.outputs[name].future()[0].value for name in PROPERTIES}
    pipeline = build(config, properties, first=[settings])
    components = {one.id: one for one in pipeline.components if isinstance(one, BaseComponent)}
    beam = [name for name, one in components.items() if isinstance(one.executor_spec, BeamExecutorSpec)]
    for field, known in (("images", components), ("resources", components), ("beam", beam)):
        for name in getattr(config.runner, field):
            if name not in known:
                raise UsageError(
                    f"Expected runner.{field} for {', '.join(known)}. Received: {name}{did_you_mean(name, known)}"
                )
    for name, resources in config.runner.resources.items():
        components[name].with_platform_config(_resource_spec(resources))
    for name, flags in config.runner.beam.items():
        components[name].executor_spec.beam_pipeline_args = list(flags)
    return pipeline


def defaults(config: Config) -> dict[str, Any]:
    """Return the default values of the parameters; 0 epochs means the model's own number."""
    values = (
        config.data.library,
        config.model.name,
        config.training.model_dump()["epochs"] or 0,
        config.gate.min_accuracy,
    )
    return dict(zip(PARAMETERS, values, strict=True))


def _resource_spec(resources: Resources) -> Any:
    kind = pipeline_spec_pb2.PipelineDeploymentConfig.PipelineContainerSpec.ResourceSpec
    accelerator = kind.AcceleratorConfig(type=resources.accelerator, count=resources.accelerators)
    return kind(
        cpu_limit=resources.cpu,
        memory_limit=resources.memory_gb,
        accelerator=accelerator if resources.accelerator else None,
    )
