"""Compilation of the pipeline for Kubeflow Pipelines and Vertex AI, and its submission after all local checks."""

from __future__ import annotations

import datetime
import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kfp
import kfp.components
import yaml
from kfp.pipeline_spec import pipeline_spec_pb2
from rich.console import Console
from rich.markup import escape
from tfx import v1 as tfx
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec

from tumbao.components.ingest.atomic_write import write_whole
from tumbao.pipeline.config import Config, UsageError, did_you_mean
from tumbao.pipeline.graph import NAME, build
from tumbao.pipeline.resolve import PROPERTIES, RunSettings

FRESH = ("RunSettings", "Baseline", "Pusher")
"""Components that read state outside the pipeline, so their results are never reused from an earlier run."""

NEEDED = {"vertex": ("project", "region"), "kubeflow": ("host",)}
"""Fields of `Runner` that a submission requires, by runner."""


class SubmissionError(RuntimeError):
    """The service cannot be reached, or rejected the pipeline."""


def compile_pipeline(config: Config, out: Path) -> None:
    """Compile the pipeline to the YAML file `out`, with its parameters' defaults in a file beside it."""
    file = parameters_file(out)
    header = f"# {NAME} for {config.runner.name}. `tumbao submit` passes the parameters in {file.name}.\n"
    text = header + yaml.safe_dump(specify(config), sort_keys=True)
    try:
        write_whole(file, f"{json.dumps(defaults(config), indent=1)}\n".encode())
        write_whole(out, text.encode())
    except OSError as error:
        raise UsageError(f"Expected a file that can be written in --out. Received: {out} ({error})") from error
    kfp.components.load_component_from_file(str(out))


def parameters_file(out: Path) -> Path:
    """Return the path of the parameters' defaults, beside the pipeline's YAML file."""
    return out.with_suffix(".parameters.json")


def defaults(config: Config) -> dict[str, Any]:
    """Return the parameters that a submission can change, and their defaults; 0 epochs means the model's own number."""
    return {
        "data": config.data.library,
        "model": config.model.name,
        "epochs": config.training.model_dump()["epochs"] or 0,
        "min_accuracy": config.gate.min_accuracy,
    }


def specify(config: Config) -> dict[str, Any]:
    """Build the pipeline's PipelineSpec (schema 2.1); unknown components in the configuration raise a `UsageError`."""
    parameter = tfx.dsl.experimental.RuntimeParameter
    parameters = {name: parameter(name=name, ptype=type(value)) for name, value in defaults(config).items()}
    settings = RunSettings(**parameters, config=config.model_dump_json(exclude_unset=True))
    properties = {name: settings.outputs[name].future()[0].value for name in PROPERTIES}
    pipeline = build(config, properties, first=[settings])
    _configure(pipeline, config)
    runner = tfx.orchestration.experimental.KubeflowV2DagRunner(
        tfx.orchestration.experimental.KubeflowV2DagRunnerConfig(
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


def _configure(pipeline: tfx.dsl.Pipeline, config: Config) -> None:
    """Apply the resources and the flags of single components."""
    components = {node.id: node for node in pipeline.components if isinstance(node, BaseComponent)}
    beam = [name for name, node in components.items() if isinstance(node.executor_spec, BeamExecutorSpec)]
    for field, known in (("images", components), ("resources", components), ("beam", beam)):
        for name in getattr(config.runner, field):
            if name not in known:
                raise UsageError(
                    f"Expected runner.{field} for {', '.join(known)}. Received: {name}{did_you_mean(name, known)}"
                )
    kind = pipeline_spec_pb2.PipelineDeploymentConfig.PipelineContainerSpec.ResourceSpec
    for name, one in config.runner.resources.items():
        accelerator = kind.AcceleratorConfig(type=one.accelerator, count=one.accelerators) if one.accelerator else None
        limits = kind(cpu_limit=one.cpu, memory_limit=one.memory_gb, accelerator=accelerator)
        components[name].with_platform_config(limits)
    for name, flags in config.runner.beam.items():
        components[name].executor_spec.beam_pipeline_args = list(flags)


def submit(config: Config, out: Path, console: Console, dry_run: bool) -> None:
    """Compile the pipeline and submit it, once or on a schedule; `dry_run` does everything but the submission."""
    runner = config.runner
    missing = [
        f"{runner.name} needs runner.{name}: in the configuration file, or as --{name}"
        for name in NEEDED[runner.name]
        if not getattr(runner, name)
    ]
    if runner.name == "vertex" and not config.root.startswith("gs://"):
        missing.append(f"vertex needs a runner.root in a bucket, gs://…; received {config.root}")
    if missing:
        raise UsageError("The pipeline cannot be submitted:\n" + "\n".join(f"  {line}" for line in missing))
    compile_pipeline(config, out)
    parameters = defaults(config)
    console.print(f"Compiled: {escape(str(out))}, {len(parameters)} parameters")
    for name, value in parameters.items():
        console.print(f"  {name} = {escape(json.dumps(value))}")
    name = f"{NAME}-{datetime.datetime.now(datetime.timezone.utc):%Y%m%d-%H%M%S}"
    job = _vertex_job(config, out, name, parameters, dry_run) if runner.name == "vertex" else None
    if dry_run:
        console.print("All checks that need no service passed. Nothing was submitted (--dry-run).")
        return
    try:
        where = _to_vertex(config, name, job) if job else _to_kubeflow(config, out, name, parameters)
    except Exception as error:
        raise SubmissionError(f"{runner.name} did not accept the pipeline: {error}") from error
    console.print(f"Submitted: {escape(where)}")


def _vertex_job(config: Config, file: Path, name: str, parameters: Mapping[str, Any], dry_run: bool) -> Any:
    """Create the job, which validates the file and the parameters locally; only its submission contacts Google."""
    import google.auth
    from google.auth.credentials import AnonymousCredentials
    from google.auth.exceptions import DefaultCredentialsError
    from google.cloud import aiplatform

    credentials: Any = AnonymousCredentials()
    if not dry_run:
        try:
            credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
        except DefaultCredentialsError as error:
            raise UsageError(
                "Expected credentials for Google Cloud: `gcloud auth application-default login`, or a service "
                f"account's key in $GOOGLE_APPLICATION_CREDENTIALS. Received: none ({error})"
            ) from error
    runner = config.runner
    try:
        return aiplatform.PipelineJob(
            display_name=name,
            job_id=name,
            template_path=str(file),
            pipeline_root=f"{config.root}/pipeline",
            parameter_values=dict(parameters),
            labels=runner.labels,
            credentials=credentials,
            project=runner.project,
            location=runner.region,
        )
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"Expected a job that is valid for Vertex AI. Received: {file}, project {runner.project}, region "
            f"{runner.region}, labels {runner.labels} ({error})"
        ) from error


def _to_vertex(config: Config, name: str, job: Any) -> str:
    account = config.runner.service_account or None
    if not config.runner.schedule:
        job.submit(service_account=account)
        return str(job.resource_name)
    schedule = job.create_schedule(
        cron=config.runner.schedule, display_name=name, max_concurrent_run_count=1, service_account=account
    )
    return f"schedule {schedule.resource_name} ({config.runner.schedule})"


def _to_kubeflow(config: Config, file: Path, name: str, parameters: Mapping[str, Any]) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # about compatible servers, with every client
        client = kfp.Client(host=config.runner.host, existing_token=os.environ.get("KFP_TOKEN"))
    options: dict[str, Any] = {
        "pipeline_root": f"{config.root}/pipeline",
        "service_account": config.runner.service_account or None,
    }
    experiment = client.create_experiment(NAME)
    if not config.runner.schedule:
        options |= {"run_name": name, "experiment_id": experiment.experiment_id}
        run = client.create_run_from_pipeline_package(str(file), arguments=dict(parameters), **options)
        return f"{config.runner.host}/#/runs/details/{run.run_id}"
    schedule = client.create_recurring_run(
        experiment.experiment_id,
        name,
        cron_expression=f"0 {config.runner.schedule}",  # Kubeflow's cron begins with seconds
        pipeline_package_path=str(file),
        params=dict(parameters),
        no_catchup=True,
        **options,
    )
    return f"schedule {schedule.recurring_run_id} ({config.runner.schedule})"
