"""Execution of one local run, from the scan of the songs to the report."""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_metadata as mlmd
from absl import logging as absl_logging
from rich.markup import escape
from tfx import v1 as tfx
from tfx.dsl.compiler import constants
from tfx.orchestration.pipeline import RunOptions
from tfx.orchestration.portable import runtime_parameter_utils
from tfx.utils import path_utils

from tumbao.analysis.report.page import write_report
from tumbao.components.evaluation.run_data import verdict
from tumbao.components.ingest import frozen_test_set
from tumbao.components.ingest.library import CATALOGS
from tumbao.components.ingest.paths import as_path
from tumbao.pipeline.config import Config, UsageError
from tumbao.pipeline.graph import build
from tumbao.pipeline.metadata import METADATA_FILE, head_to_resume, run_artifacts, trained_heads
from tumbao.pipeline.report import local_report
from tumbao.pipeline.resolve import PROPERTIES, exec_properties, resolve
from tumbao.pipeline.source import outdated_caches, scan_cache
from tumbao.schema.errors import UserError, describe, is_disk_full, is_unavailable
from tumbao.serving.predict import RUN_MODEL

if TYPE_CHECKING:
    from tumbao.pipeline.progress_display import ProgressDisplay
    from tumbao.pipeline.runs import RunRecord


_MAY_CHANGE = ("custom_config", "code", "summary", "resume")
"""Execution properties that `--from` does not compare."""


class _ComponentLines(logging.Handler):
    """Reports the component that runs. The log is used because TFX's local runner has no callbacks."""

    def __init__(self, display: ProgressDisplay) -> None:
        super().__init__()
        self._display = display
        self._began = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == "Component %s is running.":
            self._began = time.monotonic()
            self._display.say(f"▸ {record.args[0]}")  # type: ignore[index] # one positional argument
        elif record.msg == "Component %s is finished.":
            self._display.say(f"  [dim]done in {time.monotonic() - self._began:.1f} s[/dim]")


def execute(
    config: Config, record: RunRecord, folder: Path, display: ProgressDisplay, growing: frozenset[str] = frozenset()
) -> RunRecord:
    """Run the graph and write the report, also when a component fails; return the record with the outcome."""
    workspace = Path(config.root).absolute()
    push_to = as_path(config.push_to)
    config = config.replace(
        runner={"root": str(workspace)},
        registry={"push_to": str(push_to.absolute() if isinstance(push_to, Path) else push_to)},
    )
    connection = tfx.orchestration.metadata.sqlite_metadata_connection_config(str(workspace / METADATA_FILE))
    tests = frozen_test_set.read_test_songs(workspace / CATALOGS)
    part = _part(config, connection)
    resume = functools.partial(head_to_resume, mlmd.MetadataStore(connection)) if config.runner.resume else None
    resolved = resolve(config, display.say, scan_cache(workspace), growing, resume)
    if chosen := frozen_test_set.newly_chosen(tests, frozen_test_set.read_test_songs(workspace / CATALOGS)):
        display.say(escape(chosen))
    if resolved.resume:
        display.say(f"Training starts from {escape(resolved.resume)}")
    properties = exec_properties(resolved)
    pipeline = build(config, properties, connection)
    if first := config.runner.from_component:
        _require_unchanged(pipeline, first, run_artifacts(connection).executions)
    error = _run(pipeline, part, record.run, workspace, display)
    if not error:
        for outdated in outdated_caches(workspace):
            shutil.rmtree(outdated, ignore_errors=True)
    others = {name: value for name, value in record.settings.items() if name not in config.summary()}
    record = dataclasses.replace(
        record,
        synthetic=resolved.catalog.synthetic,
        protocol=resolved.config.split_by,
        settings={**resolved.config.summary(), **others, "policy": resolved.policy},
    )
    artifacts = run_artifacts(connection, run=record.run)
    if exported := artifacts.uri("EdgeExport", "model"):
        target = os.path.relpath(path_utils.serving_model_path(exported), folder)
        (folder / RUN_MODEL).symlink_to(target, target_is_directory=True)
    about = {"run_id": record.run, "started": record.started, "settings": record.settings}
    report = local_report(pipeline, artifacts, properties, about, error)
    write_report(report, folder / "report")
    decision = verdict(report)
    gate, mobile_check = report.gate, report.mobile_check
    return dataclasses.replace(
        record,
        outcome="failed" if error else decision.outcome,
        sentence=error or decision.sentence,
        songs=report.catalog.ingested if report.catalog else 0,
        accuracy=report.evaluation.accuracy if report.evaluation else None,
        blessed=bool(gate and gate.blessed and mobile_check and mobile_check.blessed),
        pushed_to=(report.push.pushed_to or "") if report.push else "",
    )


def _part(config: Config, connection: Any) -> RunOptions | None:
    """Return the part of the graph to run, None for all of it; check what does not depend on the library."""
    if config.runner.resume:
        trained_heads(mlmd.MetadataStore(connection))
    first, last = config.runner.from_component, config.runner.to_component
    if not first and not last:
        return None
    graph = build(config.replace(model={"name": config.models[0]}), dict.fromkeys(PROPERTIES, ""))
    known = [component.id for component in graph.components]
    for name in filter(None, (first, last)):
        if name not in known:
            raise UsageError(f"Expected --from and --to out of {', '.join(known)}. Received: {name}")
    if first and last and known.index(first) > known.index(last):
        raise UsageError(f"Expected --from before --to in {', '.join(known)}. Received: --from {first} --to {last}")
    if first and not run_artifacts(connection).executions:
        raise UserError(
            f"Expected an earlier run, whose results before {first} are reused. "
            "Received: a workspace without one; leave --from out."
        )
    return RunOptions(from_nodes=[first] if first else None, to_nodes=[last] if last else None)


def _require_unchanged(pipeline: tfx.dsl.Pipeline, first: str, former: Mapping[str, Any]) -> None:
    """Raise UserError if settings other than code of the components before the first differ from the former run's."""
    run, changed = {first}, []
    for component in pipeline.components:  # in topological order
        if component.id in run or run & {one.id for one in component.upstream_nodes}:
            run.add(component.id)
        elif component.id in former:
            values = former[component.id].custom_properties.items()
            then = _settings({name: getattr(value, value.WhichOneof("value")) for name, value in values})
            now = _settings(component.exec_properties)
            if names := sorted(name for name in then.keys() & now.keys() if then[name] != now[name]):
                changed.append(f"{component.id} ({', '.join(names)})")
    if changed:
        raise UserError(
            f"Expected the songs and settings of the last run, whose results before {first} are reused. Received "
            f"others for {', '.join(changed)}. Leave --from out: results that are still valid are reused anyway."
        )


def _settings(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return execution properties without those that may change, and with the keys of a custom configuration."""
    custom = json.loads(properties.get("custom_config", "{}"))
    return {name: value for name, value in {**properties, **custom}.items() if name not in _MAY_CHANGE}


def _interrupted(error: BaseException | None) -> bool:
    """Check whether Ctrl-C caused an error, since Beam wraps it in an error of its own."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


class _Runner(tfx.orchestration.LocalDagRunner):
    """TFX's local runner with the run's name in the workspace as its name in ML Metadata."""

    def __init__(self, run: str) -> None:
        super().__init__()
        self._run = run

    def run_with_ir(self, pipeline: Any, run_options: Any = None) -> None:
        name = {constants.PIPELINE_RUN_ID_PARAMETER_NAME: self._run}
        runtime_parameter_utils.substitute_runtime_parameter(pipeline, name)
        super().run_with_ir(pipeline, run_options)


def _run(
    pipeline: tfx.dsl.Pipeline, part: RunOptions | None, run: str, workspace: Path, display: ProgressDisplay
) -> str | None:
    """Run the graph; return the message of the error that ended it, or None if it completed."""
    handler = _ComponentLines(display)
    logger = absl_logging.get_absl_logger()
    logger.addHandler(handler)
    logger.addFilter(_is_news)
    absl_logging.set_verbosity(absl_logging.INFO)
    try:
        _Runner(run).run(pipeline, run_options=part)
    except Exception as error:
        logging.exception("A component failed")
        if _interrupted(error):
            raise KeyboardInterrupt from error
        if is_disk_full(error) or is_unavailable(error):
            return describe(error, [workspace])
        return str(error) or type(error).__name__
    finally:
        logger.removeHandler(handler)
        logger.removeFilter(_is_news)
    return None


def _is_news(record: logging.LogRecord) -> bool:
    """Drop the warning of each query that TFX filters, with the same result, as ML Metadata 1.21 has no ZetaSQL."""
    return "non-ZetaSQL" not in str(record.msg)
