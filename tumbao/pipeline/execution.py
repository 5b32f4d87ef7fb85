"""One local run: look through the songs, find the weights, run the graph, gather what came, write the report."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_metadata as mlmd
from absl import logging as absl_logging
from rich.markup import escape
from tfx import v1 as tfx
from tfx.dsl.compiler import constants
from tfx.orchestration.pipeline import RunOptions
from tfx.orchestration.portable import runtime_parameter_utils

from tumbao.components.ingest import fixed_tests
from tumbao.components.ingest.look_memory import LookMemory
from tumbao.components.ingest.places import place
from tumbao.components.model_card.provenance import versions
from tumbao.components.report import data
from tumbao.components.report.render import write_report
from tumbao.components.report.verdict import verdict
from tumbao.errors import UserError, describe, is_disk_full, is_unavailable
from tumbao.pipeline import collect
from tumbao.pipeline.config import UsageError
from tumbao.pipeline.configuration import configure
from tumbao.pipeline.graph import build
from tumbao.pipeline.resume import head_to_resume
from tumbao.pipeline.song_folder import song_cache
from tumbao.pipeline.source import source_digest

if TYPE_CHECKING:
    from tumbao.pipeline.local import LocalRun
    from tumbao.pipeline.runs import RunRecord
    from tumbao.pipeline.watch import Watch


class _ComponentLines(logging.Handler):
    """Says which component TFX's local runner is at; the runner has no hook but its log."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch
        self._began = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == "Component %s is running.":
            self._began = time.monotonic()
            self._watch.say(f"▸ {record.args[0]}")  # type: ignore[index] # one positional argument
        elif record.msg == "Component %s is finished.":
            self._watch.say(f"  [dim]done in {time.monotonic() - self._began:.1f} s[/dim]")


def execute(asked: LocalRun, record: RunRecord, folder: Path, watch: Watch) -> RunRecord:
    """Run the graph and write the report, also when a component fails.

    Parameters
    ----------
    asked : LocalRun
        What to run.
    record : RunRecord
        What is known of the run so far.
    folder : Path
        The run's folder.
    watch : Watch
        The terminal.

    Returns
    -------
    record : RunRecord
        With its outcome.

    Raises
    ------
    UsageError
        If a setting is out of its range.
    ValueError
        If library, settings or weights are not usable; no component has run then.
    """
    workspace = asked.workspace.absolute()
    connection = tfx.orchestration.metadata.sqlite_metadata_connection_config(str(workspace / "metadata.sqlite"))
    memory = LookMemory(workspace / "looked.sqlite", source_digest("tumbao.components.ingest.decoders"))
    tests = fixed_tests.kept(workspace / "catalogs")
    configured = configure(asked, str(workspace), _absolute(asked.push_to), watch.say, memory)
    if chosen := fixed_tests.newly_chosen(tests, fixed_tests.kept(workspace / "catalogs")):
        watch.say(escape(chosen))
    config, catalog, weights = configured.config, configured.catalog, configured.weights
    if asked.resume:
        config = dataclasses.replace(config, resume=head_to_resume(mlmd.MetadataStore(connection), config))
        watch.say(f"Training goes on from {escape(config.resume)}")
    pipeline = build(config, connection)
    part = _part(pipeline, asked, connection)
    error = _run(pipeline, part, record.run, workspace, watch)
    if not error:
        _forget_other_songs(Path(song_cache(config.workspace, config.mel_spec)).parent)
    record = dataclasses.replace(
        record,
        synthetic=catalog.synthetic,
        protocol=asked.protocol,
        settings={**record.settings, **dataclasses.asdict(config.training), "policy": config.policy},
    )
    about = data.Run(
        run_id=record.run,
        started=record.started,
        library=catalog.name,
        synthetic=catalog.synthetic,
        seed=asked.seed,
        settings=record.settings,
        versions=versions(),
        code_digest=source_digest("tumbao.pipeline.execution"),
        weights_source=weights.source,
        precision=config.policy,
        precision_reason=configured.precision_reason,
    )
    artifacts = collect.run_artifacts(connection, run=record.run)
    report = collect.report_data(pipeline, config, artifacts, about, error)
    write_report(report, folder / "report")
    decision = verdict(report)
    gate, mobile_check = report.gate, report.mobile_check
    return dataclasses.replace(
        record,
        outcome="failed" if error else decision.outcome,
        sentence=error or decision.sentence,
        songs=report.catalog.ingested if report.catalog else 0,
        accuracy=gate.accuracy if gate else None,
        blessed=bool(gate and gate.blessed and mobile_check and mobile_check.blessed),
        pushed_to=(report.push.pushed_to or "") if report.push else "",
    )


def _absolute(folder: str) -> str:
    found = place(folder)
    return str(found.absolute()) if isinstance(found, Path) else str(found)


def _forget_other_songs(cache: Path) -> None:
    """Delete what former code has drawn: it will not be asked for again."""
    for other in cache.parent.glob("*"):
        if other != cache:
            shutil.rmtree(other, ignore_errors=True)


def _part(pipeline: tfx.dsl.Pipeline, asked: LocalRun, connection: Any) -> RunOptions | None:
    """Say which part of the graph runs, None for all of it."""
    first, last = asked.from_component, asked.to_component
    if not first and not last:
        return None
    known = [component.id for component in pipeline.components]
    for name in filter(None, (first, last)):
        if name not in known:
            raise UsageError(f"Expected --from and --to out of {', '.join(known)}. Received: {name}")
    if first and last and known.index(first) > known.index(last):
        raise UsageError(f"Expected --from before --to in {', '.join(known)}. Received: --from {first} --to {last}")
    former = collect.run_artifacts(connection).executions
    if first and not former:
        raise UserError(
            f"Expected an earlier run to take over what comes before {first}. "
            "Received: a workspace without one; leave --from out."
        )
    if first and (changed := list(_changed(pipeline, first, former))):
        raise UserError(
            f"Expected the songs and settings of the last run, whose work is taken over up to {first}. Received "
            f"others for {', '.join(changed)}. Leave --from out: what has not changed is taken over all the same."
        )
    return RunOptions(from_nodes=[first] if first else None, to_nodes=[last] if last else None)


def _changed(pipeline: tfx.dsl.Pipeline, first: str, former: Mapping[str, Any]) -> Iterator[str]:
    """List settings of the components before the first one that have changed since the former run, other than code."""
    run = {first}
    for component in pipeline.components:  # in topological order
        if run & {one.id for one in component.upstream_nodes}:
            run.add(component.id)
    for component in pipeline.components:
        then = former[component.id].custom_properties if component.id in former and component.id not in run else {}
        for name in then.keys() & component.exec_properties.keys() - {"code"}:
            value = getattr(then[name], then[name].WhichOneof("value"))
            now = component.exec_properties[name]
            if name == "custom_config":
                before, after = json.loads(value), json.loads(now)
                others = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
                if others - {"code", "summary", "resume"}:
                    yield f"{component.id} ({', '.join(sorted(others - {'code', 'summary', 'resume'}))})"
            elif value != now:
                yield f"{component.id} ({name})"


def _interrupted(error: BaseException | None) -> bool:
    """Tell whether Ctrl-C is behind an error; Beam makes an error of its own of it."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


class _Runner(tfx.orchestration.LocalDagRunner):
    """TFX's local runner, with the run's name in the workspace as its name in ML Metadata."""

    def __init__(self, run: str) -> None:
        super().__init__()
        self._run = run

    def run_with_ir(self, pipeline: Any, run_options: Any = None) -> None:
        name = {constants.PIPELINE_RUN_ID_PARAMETER_NAME: self._run}
        runtime_parameter_utils.substitute_runtime_parameter(pipeline, name)
        super().run_with_ir(pipeline, run_options)


def _run(pipeline: tfx.dsl.Pipeline, part: RunOptions | None, run: str, workspace: Path, watch: Watch) -> str | None:
    """Run the graph; give the message of what ended it, None where it came to its end."""
    handler = _ComponentLines(watch)
    logger = absl_logging.get_absl_logger()
    logger.addHandler(handler)
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
    return None
