"""The component `Report`, and the data of its page from a run's artefacts."""
# No `from __future__ import annotations` here: TFX reads the annotations of a function component at run time.

import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ml_metadata.proto import metadata_store_pb2
from pydantic import TypeAdapter
from tfx import v1 as tfx
from tfx.dsl.io import fileio
from tfx.utils import io_utils

from tumbao.analysis.report.page import render_report
from tumbao.components.evaluation import run_data
from tumbao.components.evaluation.metrics import Evaluation
from tumbao.components.evaluator import read_thresholds
from tumbao.components.ingest.component import IngestedSongs, RejectedSongs
from tumbao.components.ingest.fragments import decoded_part
from tumbao.components.ingest.paths import as_path
from tumbao.components.ingest.records import decode_image, first_of_each
from tumbao.components.ingest.tables import json_lines
from tumbao.components.mobile_check import AgreementReport, read_variants
from tumbao.components.model_card.card import versions
from tumbao.components.pusher import REASON, ReportPage
from tumbao.components.song_evaluation import PREDICTIONS_FILE, SongFigures, read_song_metrics
from tumbao.components.song_gate import SongDecision, read_decision
from tumbao.components.tuner import read_search
from tumbao.pipeline.metadata import Artifacts
from tumbao.pipeline.source import source_digest
from tumbao.schema import record
from tumbao.schema.mel_spec import MelSpec
from tumbao.trainer.fit import HISTORY_FILE

REPORT_FILE = "report.html"

FEW_SONGS = 5
"""The report warns of unreliable figures for genres with fewer test songs than this."""

SOURCES = {
    "examples": ("AudioExampleGen", "examples"),
    "ingested": ("AudioExampleGen", "ingested"),
    "rejected": ("AudioExampleGen", "rejected"),
    "search": ("Tuner", "tuner_results"),
    "model_run": ("Trainer", "model_run"),
    "evaluation": ("Evaluator", "evaluation"),
    "blessing": ("SongGate", "blessing"),
    "decision": ("SongGate", "decision"),
    "figures": ("SongEvaluation", "figures"),
    "agreement": ("MobileCheck", "report"),
    "infra_blessing": ("MobileCheck", "blessing"),
}
"""The artefacts of a report: its inputs, with the component and the output that each comes from."""

_STATES: dict[int, run_data.ComponentState] = {
    metadata_store_pb2.Execution.COMPLETE: "ran",
    metadata_store_pb2.Execution.CACHED: "cached",
}


@tfx.dsl.components.component
def Report(  # noqa: N802 - TFX names components so
    examples: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Examples],
    ingested: tfx.dsl.components.InputArtifact[IngestedSongs],
    rejected: tfx.dsl.components.InputArtifact[RejectedSongs],
    model_run: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.ModelRun],
    evaluation: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.ModelEvaluation],
    blessing: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.ModelBlessing],
    decision: tfx.dsl.components.InputArtifact[SongDecision],
    figures: tfx.dsl.components.InputArtifact[SongFigures],
    agreement: tfx.dsl.components.InputArtifact[AgreementReport],
    infra_blessing: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.InfraBlessing],
    page: tfx.dsl.components.OutputArtifact[ReportPage],
    manifests: tfx.dsl.components.Parameter[str],
    mel_spec: tfx.dsl.components.Parameter[str],
    run: tfx.dsl.components.Parameter[str],
    code: tfx.dsl.components.Parameter[str],
    search: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.TunerResults] = None,  # optional
) -> None:
    """Write the report of a run before its model is pushed; `run` is described in `exec_properties`."""
    first = (examples, ingested, rejected, search, model_run)
    given = (*first, evaluation, blessing, decision, figures, agreement, infra_blessing)
    uris = {name: one.uri for name, one in zip(SOURCES, given, strict=True) if one is not None}
    data = report_data(uris, manifests, mel_spec, run, code)
    io_utils.write_bytes_file(f"{page.uri}/{REPORT_FILE}", render_report(data)[0])


def local_report(
    pipeline: tfx.dsl.Pipeline,
    artifacts: Artifacts,
    properties: Mapping[str, Any],
    run: Mapping[str, Any],
    error: str | None,
) -> run_data.ReportData:
    """Collect the report of a run that has ended, also by an error, with its components' states and the push."""
    uris = {name: uri for name, place in SOURCES.items() if (uri := artifacts.uri(*place))}
    code = source_digest("tumbao.pipeline.graph")
    data = report_data(uris, properties["manifests"], properties["mel_spec"], properties["run"], code)
    return dataclasses.replace(
        data,
        run=dataclasses.replace(data.run, **run),
        components=tuple(_component(one, artifacts.executions.get(one.id), error) for one in pipeline.components),
        push=_push(artifacts),
    )


def report_data(uris: Mapping[str, str], manifests: str, mel_spec: str, run: str, code: str) -> run_data.ReportData:
    """Collect the data of a report from artefacts, by their names in `SOURCES`; fields without artefacts stay empty."""
    catalog = json.loads(as_path(f"{manifests}/catalog.json").read_bytes())
    genres = catalog["genres"]
    about = json.loads(run) | {name: catalog[name] for name in ("library", "synthetic", "seed")}
    candidates = TypeAdapter(tuple[run_data.Candidate, ...]).validate_python(about.pop("candidates"))
    fields: dict[str, Any] = {  # function and the artefacts that it reads
        "catalog": (functools.partial(_catalog, catalog), "ingested", "rejected"),
        "samples": (functools.partial(_samples, genres), "examples"),
        "search": (read_search, "search"),
        "history": (lambda uri: json.loads(as_path(f"{uri}/{HISTORY_FILE}").read_bytes()), "model_run"),
        "evaluation": (
            lambda uri: Evaluation.of_test_split(genres, json_lines(f"{uri}/{PREDICTIONS_FILE}")),
            "figures",
        ),
        "songs": (read_song_metrics, "figures"),
        "gate": (
            lambda blessing, uri: run_data.Gate(fileio.exists(f"{blessing}/BLESSED"), read_thresholds(uri)),
            *("blessing", "evaluation"),
        ),
        "decision": (read_decision, "decision"),
        "mobile_check": (
            lambda blessing, uri: run_data.MobileCheck(fileio.exists(f"{blessing}/INFRA_BLESSED"), read_variants(uri)),
            *("infra_blessing", "agreement"),
        ),
    }
    return run_data.ReportData(
        run=run_data.Run("", "", **about, candidates=candidates, versions=versions(), code_digest=code),
        mel_spec=MelSpec(**json.loads(mel_spec)),
        **{
            field: read(*(uris[name] for name in names))
            for field, (read, *names) in fields.items()
            if uris.keys() >= set(names)
        },
    )


def _component(node: Any, execution: Any, error: str | None) -> run_data.Component:
    inputs = tuple(sorted(one.id for one in node.upstream_nodes))
    if execution is None:
        return run_data.Component(node.id, inputs, "not run", 0.0)
    state = _STATES.get(execution.last_known_state, "failed")
    seconds = (execution.last_update_time_since_epoch - execution.create_time_since_epoch) / 1000
    failure = error if state == "failed" else None
    return run_data.Component(node.id, inputs, state, seconds if state != "cached" else 0.0, failure)


def _catalog(description: Mapping[str, Any], ingested: str, rejected: str) -> run_data.Catalog:
    songs = json_lines(f"{ingested}/ingested.jsonl")
    counts = run_data.count_by_split(songs, description["genres"])
    warnings = []
    if few := [genre for genre, own in counts.items() if own["test"].songs < FEW_SONGS]:
        warnings.append(
            f"The test split has fewer than {FEW_SONGS} songs of {', '.join(few)}: one song more or less that is "
            "recognised changes these figures a lot, so they mean little."
        )
    if shared := description["artists_on_two_sides"]:
        warnings.append(
            f"An artist's songs are in several splits ({', '.join(shared[:5])}{' …' if len(shared) > 5 else ''}), "
            "so the model may know the voice: --split-by artist keeps an artist in one split."
        )
    return run_data.Catalog(
        found=description["found"],
        ingested=len({song["entry"] for song in songs}),
        rejected=json_lines(f"{rejected}/rejected.jsonl"),
        flagged=sorted({(song["song"], remark) for song in songs for remark in remarks(song)}),
        counts=counts,
        split_by=description["protocol"],
        split_seed=description["seed"],
        warnings=warnings,
        merged=description.get("folded", ()),
        split_strategy=description["method"],
    )


def remarks(song: Mapping[str, Any]) -> Iterator[str]:
    """Describe each irregularity of an ingested song, given its line of `ingested.jsonl`."""
    if song["padded"]:
        yield "shorter than a fragment: repeated"
    if song["truncated"]:
        yield f"truncated: decoded {decoded_part(song['seconds'], song['declared_seconds'])}"
    if song["silent"]:
        fragments = "fragment is" if song["silent"] == 1 else "fragments are"
        yield f"{song['silent']} {fragments} silent and left out"


def _samples(genres: Sequence[str], examples: str) -> tuple[run_data.SampleImage, ...]:
    return tuple(
        run_data.SampleImage(
            genre,
            decode_image(features[record.IMAGE]),
            features[record.SONG].decode(),
            float(features[record.START_SECONDS]),
        )
        for genre, features in first_of_each(f"{examples}/Split-train/*.gz", sorted(genres)).items()
    )


def _push(artifacts: Artifacts) -> run_data.Push | None:
    artifact = artifacts.outputs.get(("Pusher", "pushed_model"))
    if artifact is None:
        return None
    properties = artifact.custom_properties
    fresh = artifacts.executions["Pusher"].last_known_state == metadata_store_pb2.Execution.COMPLETE
    return run_data.Push(
        pushed=fresh and bool(properties["pushed"].int_value),
        pushed_to=properties["pushed_destination"].string_value or None,
        withdrawn=properties[REASON].string_value,
    )
