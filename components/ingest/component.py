"""AudioExampleGen: the TFX component that turns songs into records."""
# No `from __future__ import annotations` here: TFX reads the annotations of a function component at run time.

import collections
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import grpc
from tfx import types
from tfx import v1 as tfx
from tfx.types import artifact_utils, standard_artifacts

from tumbao.components.ingest import progress
from tumbao.components.ingest.library import Rejected, require_few_failures, require_genres
from tumbao.components.ingest.paths import as_path
from tumbao.components.ingest.song_cache import SongCache
from tumbao.components.ingest.tables import json_lines, split_rows
from tumbao.components.ingest.transform import INGESTED, REJECTED, IngestSongs, rejected_lines
from tumbao.schema.mel_spec import MelSpec
from tumbao.schema.record import SPLITS


class RejectedSongs(types.Artifact):
    """`rejected.jsonl`: entry, song, path, reason and detail of every file that was not used."""

    TYPE_NAME = "tumbao.RejectedSongs"


class IngestedSongs(types.Artifact):
    """`ingested.jsonl`: one line for each song that is used, as `transform.IngestSongs` describes it."""

    TYPE_NAME = "tumbao.IngestedSongs"


@tfx.dsl.components.component(use_beam=True)
def AudioExampleGen(  # noqa: N802 - TFX names components so
    examples: tfx.dsl.components.OutputArtifact[standard_artifacts.Examples],
    rejected: tfx.dsl.components.OutputArtifact[RejectedSongs],
    ingested: tfx.dsl.components.OutputArtifact[IngestedSongs],
    manifests: tfx.dsl.components.Parameter[str],
    mel_spec: tfx.dsl.components.Parameter[str],
    cache: tfx.dsl.components.Parameter[str],
    code: tfx.dsl.components.Parameter[str],
    beam_pipeline: tfx.dsl.components.BeamComponentParameter[beam.Pipeline] = None,
) -> None:
    """Decode songs, cut fragments, render mel images and write GZIP TFRecords in the splits train, val and test.

    `manifests` is the folder of `library.write_manifests`. Its name is the digest of its content, so TFX runs the
    component again exactly if a song, its genre, its bytes or its split changed. `mel_spec` is `MelSpec` as JSON,
    `cache` the folder of rendered songs, which runs and workers may share. `code` is the hash of the source code that
    ingest depends on: the records are written again if it changes.

    Raises ValueError if a genre has no usable song in a split, and LibraryUnavailableError if many songs could not be
    read for a reason that may lie outside them, see `library.require_few_failures`.
    """
    examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
    examples.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
    examples.set_string_custom_property("file_format", "tfrecords_gzip")
    description = json.loads(as_path(f"{manifests}/catalog.json").read_bytes())
    songs = SongCache(cache)
    songs.sweep()
    rows = (row for split in SPLITS for row in split_rows(split, manifests))
    progress.start("decode", len({(row["path"], row["start"], row["end"]) for row in rows}))
    with songs.in_use(), _explained(), beam_pipeline as pipeline:
        outputs = (
            pipeline
            | "Manifests" >> beam.Create(SPLITS, reshuffle=False)  # all rows would make the job too large to submit
            | "Rows" >> beam.FlatMap(split_rows, manifests)
            | "Ingest" >> IngestSongs(MelSpec(**json.loads(mel_spec)), description["genres"], cache)
        )
        for split in SPLITS:
            target = f"{artifact_utils.get_split_uri([examples], split)}/data_tfrecord"
            _ = outputs[split] | f"Write[{split}]" >> beam.io.WriteToTFRecord(target, file_name_suffix=".gz")
        rejected_by_scan = (
            pipeline
            | "KnownTable" >> beam.Create([f"{manifests}/rejected.csv"], reshuffle=False)
            | "Known" >> beam.FlatMap(rejected_lines)
        )
        all_rejected = (outputs[REJECTED], rejected_by_scan) | beam.Flatten()
        for name, lines, artifact in (REJECTED, all_rejected, rejected), (INGESTED, outputs[INGESTED], ingested):
            file = f"{artifact.uri}/{name}.jsonl"
            _ = lines | f"Write[{name}]" >> beam.io.WriteToText(file, shard_name_template="")
    _reconcile(json_lines(f"{ingested.uri}/ingested.jsonl"), json_lines(f"{rejected.uri}/rejected.jsonl"), description)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Explain a timeout of Beam's job service."""
    try:
        yield
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
            raise
        raise TimeoutError(
            "The job did not end within --job_server_timeout: a worker could not start or is gone, or the work takes "
            "longer. See the workers' logs. Rendered songs stay in the cache: run again, with more time if needed."
        ) from error


def _reconcile(ingested: list[dict[str, Any]], rejected: list[dict[str, Any]], description: dict[str, Any]) -> None:
    """Check that no song is missing from the results and that every genre has songs in every split."""
    named = {line["entry"] for line in (*ingested, *rejected)}
    if len(named) != description["found"]:
        raise RuntimeError(
            f"Expected {description['found']} songs, each ingested or rejected. Received {len(named)}: a fault in "
            "Tumbao, please report it with the run's log."
        )
    reasons = [Rejected(**line) for line in rejected]
    require_few_failures(description["found"], reasons)
    for split in SPLITS:
        counts = collections.Counter(
            line["genre"] for line in ingested if line["split"] == split and line["fragments"] > 0
        )
        require_genres(counts, description["genres"], reasons, f"in the {split} split")
