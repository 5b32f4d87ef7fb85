"""Submission of a compiled pipeline to Vertex AI or Kubeflow Pipelines, after all checks that can be made locally."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import kfp
import kfp.components
import yaml
from rich.console import Console
from rich.markup import escape

from tumbao.pipeline.compile import compile_pipeline, parameters_file
from tumbao.pipeline.config import Config, UsageError
from tumbao.pipeline.specification import faults

CREDENTIALS = "GOOGLE_APPLICATION_CREDENTIALS"


class SubmissionError(RuntimeError):
    """The service cannot be reached, or rejected the pipeline."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Submission:
    """A compiled pipeline, the values of all of its parameters and the run's name."""

    file: Path
    parameters: Mapping[str, Any]
    name: str


NEEDED = {"vertex": ("project", "region"), "kubeflow": ("host",)}
"""Fields of `Runner` that a submission requires, by runner."""


def prepare(config: Config, out: Path, needed: Sequence[str]) -> Submission:
    """Compile the pipeline to the YAML file `out` and check it.

    A field in `needed` that is empty, or a fault of the pipeline, raises a `UsageError` whose message lists all of
    them.
    """
    found = [
        f"{config.runner.name} needs runner.{name}: in the configuration file, or as --{name}"
        for name in needed
        if not getattr(config.runner, name)
    ]
    if config.runner.name == "vertex" and not config.root.startswith("gs://"):
        found.append(f"vertex needs a runner.root in a bucket, gs://…; received {config.root}")
    compile_pipeline(config, out)
    specification = yaml.safe_load(out.read_text("utf-8"))
    parameters = json.loads(parameters_file(out).read_text("utf-8"))
    found += faults(specification, parameters)
    if found:
        raise UsageError("The pipeline cannot be submitted:\n" + "\n".join(f"  {fault}" for fault in found))
    moment = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%d-%H%M%S")
    return Submission(file=out, parameters=parameters, name=f"tumbao-{moment}")


def submit(config: Config, out: Path, console: Console, dry_run: bool) -> None:
    """Submit the pipeline, once or on a schedule; `dry_run` does everything but the submission.

    Faults, missing credentials and a job that Google's client rejects raise a `UsageError`; a service that cannot be
    reached or rejects the pipeline raises a `SubmissionError`.
    """
    submission = prepare(config, out, NEEDED[config.runner.name])
    console.print(f"Compiled: {escape(str(out))}, {len(submission.parameters)} parameters")
    for name, value in submission.parameters.items():
        console.print(f"  {name} = {escape(json.dumps(value))}")
    to_vertex = config.runner.name == "vertex"
    job = _vertex_job(config, submission, dry_run) if to_vertex else None
    if not to_vertex:
        kfp.components.load_component_from_file(str(submission.file))  # reads the file as the service does
    if dry_run:
        console.print("All checks that need no service passed. Nothing was submitted (--dry-run).")
        return
    try:
        where = _to_vertex(config, submission, job) if to_vertex else _to_kubeflow(config, submission)
    except Exception as error:
        raise SubmissionError(f"{config.runner.name} did not take the pipeline: {error}") from error
    console.print(f"Submitted: {escape(where)}")


def _vertex_job(config: Config, submission: Submission, dry_run: bool) -> Any:
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
                f"account's key in ${CREDENTIALS}. Received: none ({error})"
            ) from error
    try:
        return aiplatform.PipelineJob(
            display_name=submission.name,
            job_id=submission.name,
            template_path=str(submission.file),
            pipeline_root=f"{config.root}/pipeline",
            parameter_values=dict(submission.parameters),
            labels=config.runner.labels,
            credentials=credentials,
            project=config.runner.project,
            location=config.runner.region,
        )
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"Expected a job that is valid for Vertex AI. Received: {submission.file}, project "
            f"{config.runner.project}, region {config.runner.region}, labels {config.runner.labels} ({error})"
        ) from error


def _to_vertex(config: Config, submission: Submission, job: Any) -> str:
    account = config.runner.service_account or None
    if config.runner.schedule:
        made = job.create_schedule(
            cron=config.runner.schedule,
            display_name=submission.name,
            max_concurrent_run_count=1,
            service_account=account,
        )
        return f"schedule {made.resource_name} ({config.runner.schedule})"
    job.submit(service_account=account)
    return str(job.resource_name)


def _to_kubeflow(config: Config, submission: Submission) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # about compatible servers, with every client
        client = kfp.Client(host=config.runner.host, existing_token=os.environ.get("KFP_TOKEN"))
    options: dict[str, Any] = {
        "pipeline_root": f"{config.root}/pipeline",
        "service_account": config.runner.service_account or None,
    }
    experiment = client.create_experiment("tumbao")
    if config.runner.schedule:
        made = client.create_recurring_run(
            experiment.experiment_id,
            submission.name,
            cron_expression=f"0 {config.runner.schedule}",  # Kubeflow's cron begins with seconds
            pipeline_package_path=str(submission.file),
            params=dict(submission.parameters),
            no_catchup=True,
            **options,
        )
        return f"schedule {made.recurring_run_id} ({config.runner.schedule})"
    run = client.create_run_from_pipeline_package(
        str(submission.file),
        arguments=dict(submission.parameters),
        run_name=submission.name,
        experiment_id=experiment.experiment_id,
        **options,
    )
    return f"{config.runner.host}/#/runs/details/{run.run_id}"
