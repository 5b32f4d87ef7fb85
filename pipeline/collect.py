"""Collection of the report's data from ML Metadata and from the artefacts of a run."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import ml_metadata as mlmd
import numpy as np
from ml_metadata.proto import metadata_store_pb2
from tfx import v1 as tfx

from tumbao.components.evaluation import run_data
from tumbao.components.evaluation.eval_config import ACCURACY, LOSS, OVERALL, read_figures, read_thresholds
from tumbao.components.evaluation.run_data import Search
from tumbao.components.ingest.paths import as_path
from tumbao.components.ingest.records import decode_image, first_of_each
from tumbao.components.ingest.tables import json_lines
from tumbao.components.pusher import REASON
from tumbao.components.song_evaluation import read_song_metrics
from tumbao.components.tuner import read_search
from tumbao.pipeline.resolve import Resolved
from tumbao.schema import record
from tumbao.trainer.fit import HISTORY_FILE

FEW_SONGS = 5
"""The report warns of unreliable figures for genres with fewer test songs than this."""

_STATES: dict[int, run_data.ComponentState] = {
    metadata_store_pb2.Execution.COMPLETE: "ran",
    metadata_store_pb2.Execution.CACHED: "cached",
}


@dataclasses.dataclass(frozen=True)
class Artifacts:
    """Executions and output artefacts of one run.

    `executions` are by component, `outputs` by component and output key. `run` is empty if there is no run.
    """

    run: str
    executions: dict[str, Any]
    outputs: dict[tuple[str, str], Any]

    def uri(self, component: str, key: str) -> str | None:
        """Return the URI of an output, or None if the run did not produce it."""
        artifact = self.outputs.get((component, key))
        return artifact.uri if artifact is not None else None

    def property(self, component: str, key: str, name: str) -> Any:
        """Return the value of an output's custom property, or None if there is no such output or property."""
        artifact = self.outputs.get((component, key))
        if artifact is None or name not in artifact.custom_properties:
            return None
        value = artifact.custom_properties[name]
        return getattr(value, value.WhichOneof("value"))


def run_artifacts(metadata: Any, after: int = 0, run: str = "", past: str = "") -> Artifacts:
    """Read the newest run from ML Metadata; the result is empty if no run matches.

    `after` is the earliest creation time in milliseconds since the epoch, `run` a run's name. With the name of a
    component in `past`, runs in which this component has not finished (still at work, or killed) are skipped.
    """
    store = mlmd.MetadataStore(metadata)
    for context in sorted(store.get_contexts_by_type("pipeline_run"), key=lambda one: one.id, reverse=True):
        if context.create_time_since_epoch >= after and run in ("", context.name):
            artifacts = _artifacts(store, context)
            execution = artifacts.executions.get(past)
            if not past or (execution and execution.last_known_state != metadata_store_pb2.Execution.RUNNING):
                return artifacts
    return Artifacts("", {}, {})


def _artifacts(store: Any, run: Any) -> Artifacts:
    """Read one run. ML Metadata guarantees no order; the newest of several executions of a component is used."""
    executions = {}
    for execution in sorted(store.get_executions_by_context(run.id), key=lambda one: one.id):
        for context in store.get_contexts_by_execution(execution.id):
            if context.type == "node":
                executions[context.name.partition(".")[2]] = execution
    components = {execution.id: component for component, execution in executions.items()}
    events = [
        event
        for event in store.get_events_by_execution_ids(list(components))
        if event.type == metadata_store_pb2.Event.OUTPUT
    ]
    found = store.get_artifacts_by_id(sorted({event.artifact_id for event in events}))
    artifacts = {artifact.id: artifact for artifact in found if artifact.state == metadata_store_pb2.Artifact.LIVE}
    outputs = {
        (components[event.execution_id], event.path.steps[0].key): artifacts[event.artifact_id]
        for event in sorted(events, key=lambda one: one.artifact_id)
        if event.artifact_id in artifacts
    }
    return Artifacts(run.name, executions, outputs)


def report_data(
    pipeline: tfx.dsl.Pipeline, resolved: Resolved, artifacts: Artifacts, run: run_data.Run, error: str | None
) -> run_data.ReportData:
    """Collect the data of the report; fields for steps that the run did not reach are None or empty."""
    figures = artifacts.uri("SongEvaluation", "figures")
    components = tuple(_component(one.id, artifacts.executions.get(one.id), error) for one in pipeline.components)
    edges = tuple((up.id, one.id) for one in pipeline.components for up in sorted(one.upstream_nodes, key=str))
    return run_data.ReportData(
        run=run,
        mel_spec=resolved.mel_spec,
        components=components,
        edges=edges,
        catalog=_catalog(resolved, artifacts),
        samples=tuple(_samples(artifacts.uri("AudioExampleGen", "examples"), resolved.genres)),
        search=_search(artifacts.uri("Tuner", "tuner_results")),
        history=_history(artifacts.uri("Trainer", "model_run")),
        evaluation=_evaluation(resolved, artifacts),
        songs=read_song_metrics(figures) if figures else None,
        gate=_gate(artifacts),
        mobile_check=_mobile_check(artifacts),
        artefacts=tuple(_artefacts(artifacts.uri("MobileCheck", "report"))),
        push=_push(artifacts),
    )


def _component(name: str, execution: Any, error: str | None) -> run_data.Component:
    if execution is None:
        return run_data.Component(name, "not run", 0.0)
    state = _STATES.get(execution.last_known_state, "failed")
    seconds = (execution.last_update_time_since_epoch - execution.create_time_since_epoch) / 1000
    return run_data.Component(name, state, seconds if state != "cached" else 0.0, error if state == "failed" else None)


def _catalog(resolved: Resolved, artifacts: Artifacts) -> run_data.Catalog | None:
    if not artifacts.uri("AudioExampleGen", "examples"):
        return None
    description = json.loads(as_path(f"{resolved.manifests}/catalog.json").read_bytes())
    songs = json_lines(f"{artifacts.uri('AudioExampleGen', 'ingested')}/ingested.jsonl")
    rejected = json_lines(f"{artifacts.uri('AudioExampleGen', 'rejected')}/rejected.jsonl")
    in_split = Counter(
        (genre, split) for genre, split, _ in {(s["genre"], s["split"], s["song"]) for s in songs if s["fragments"]}
    )
    fragments: Counter[tuple[str, str]] = Counter()
    for song in songs:
        fragments[song["genre"], song["split"]] += song["fragments"]
    flagged = {(song["song"], remark) for song in songs for remark in remarks(song)}
    few = [genre for genre in resolved.genres if in_split[genre, "test"] < FEW_SONGS]
    warnings = []
    if few:
        warnings.append(
            f"Fewer than {FEW_SONGS} songs stand in the test split for {', '.join(few)}: "
            "one song more or less that is recognised changes these figures a lot, so they mean little."
        )
    if shared := description["artists_on_two_sides"]:
        warnings.append(
            f"{len(shared)} artists stand on two sides of the split ({', '.join(shared[:5])}"
            f"{' …' if len(shared) > 5 else ''}), so the model may know their voices: --split artist keeps each on one."
        )
    return run_data.Catalog(
        found=description["found"],
        ingested=len({song["entry"] for song in songs}),
        rejected=tuple(run_data.RejectedFile(one["song"], one["reason"], one["detail"]) for one in rejected),
        flagged=tuple(run_data.FlaggedSong(*remark) for remark in sorted(flagged)),
        counts=tuple(
            run_data.SplitCount(genre, split, in_split[genre, split], fragments[genre, split])
            for genre in resolved.genres
            for split in record.SPLITS
        ),
        protocol=description["protocol"],
        split_seed=description["seed"],
        warnings=tuple(warnings),
        merged=tuple(description.get("folded", ())),
        method=description["method"],
    )


def remarks(song: dict[str, Any]) -> Iterator[str]:
    """Describe each irregularity of an ingested song, given its line of `ingested.jsonl`."""
    if song["padded"]:
        yield "shorter than a fragment: silence was added"
    if song["truncated"]:
        declared = song["declared_seconds"]
        whole = f" of {declared:.1f}" if declared is not None and declared > song["seconds"] else ""
        yield f"truncated: decoded {song['seconds']:.1f}{whole} s"
    if song["silent"]:
        fragments = "fragment is" if song["silent"] == 1 else "fragments are"
        yield f"{song['silent']} {fragments} silent and left out"


def _samples(examples: str | None, genres: Sequence[str]) -> Iterable[run_data.SampleImage]:
    found = first_of_each(f"{examples}/Split-train/*.gz", sorted(genres)) if examples else {}
    for genre, features in found.items():
        song, start = features[record.SONG].decode(), float(features[record.START_SECONDS])
        yield run_data.SampleImage(genre, decode_image(features[record.IMAGE]), song, start)


def _history(model_run: str | None) -> run_data.History | None:
    if model_run is None:
        return None
    history = json.loads(as_path(f"{model_run}/{HISTORY_FILE}").read_bytes())
    epochs = tuple(
        run_data.Epoch(one["loss"], one["accuracy"], one["val_loss"], one["val_accuracy"]) for one in history["epochs"]
    )
    return run_data.History(epochs, history["best_epoch"])


def _search(results: str | None) -> Search | None:
    return read_search(results) if results else None


def _evaluation(resolved: Resolved, artifacts: Artifacts) -> run_data.Evaluation | None:
    report, judged = artifacts.uri("MobileCheck", "report"), artifacts.uri("Evaluator", "evaluation")
    if report is None or judged is None:
        return None
    lines = json_lines(f"{report}/predictions.jsonl")
    return run_data.Evaluation(
        genres=resolved.genres,
        labels=np.array([line["label"] for line in lines]),
        probabilities=np.array([line["probabilities"] for line in lines]),
        songs=np.array([line["song"] for line in lines]),
        accuracy=read_figures(judged, ACCURACY)[OVERALL].value,
        loss=read_figures(judged, LOSS)[OVERALL].value,
    )


def _gate(artifacts: Artifacts) -> run_data.Gate | None:
    evaluation = artifacts.uri("Evaluator", "evaluation")
    if evaluation is None:
        return None
    return run_data.Gate(bool(artifacts.property("Evaluator", "blessing", "blessed")), read_thresholds(evaluation))


def _mobile_check(artifacts: Artifacts) -> run_data.MobileCheck | None:
    report = artifacts.uri("MobileCheck", "report")
    if report is None:
        return None
    rows = json.loads(as_path(f"{report}/agreement.json").read_bytes())
    failures = tuple(f"{row['name']} ({row['through']}) {failure}." for row in rows for failure in row["failures"])
    return run_data.MobileCheck(bool(artifacts.property("MobileCheck", "blessing", "blessed")), failures)


def _artefacts(report: str | None) -> Iterable[run_data.VariantResult]:
    for row in json.loads(as_path(f"{report}/agreement.json").read_bytes()) if report else ():
        passed = not row.pop("failures")
        yield run_data.VariantResult(**row, passed=passed)


def _push(artifacts: Artifacts) -> run_data.Push | None:
    if not artifacts.uri("Pusher", "pushed_model"):
        return None
    done = artifacts.property("Pusher", "pushed_model", "pushed")
    where = artifacts.property("Pusher", "pushed_model", "pushed_destination")
    fresh = artifacts.executions["Pusher"].last_known_state == metadata_store_pb2.Execution.COMPLETE
    return run_data.Push(bool(done) and fresh, where, artifacts.property("Pusher", "pushed_model", REASON) or "")
