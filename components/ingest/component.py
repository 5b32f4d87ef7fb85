"""AudioExampleGen: the TFX component that turns songs into records."""

from __future__ import annotations

import collections
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import grpc
from tfx import types
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts

from tumbao.components.ingest import progress
from tumbao.components.ingest.library import Rejected, require_few_failures, require_genres
from tumbao.components.ingest.manifest import json_lines, rejected_lines, split_rows
from tumbao.components.ingest.paths import as_path
from tumbao.components.ingest.song_cache import SongCache
from tumbao.components.ingest.transform import INGESTED, REJECTED, IngestSongs
from tumbao.schema.mel_spec import MelSpec
from tumbao.schema.record import SPLITS


class RejectedSongs(types.Artifact):
    """`rejected.jsonl`: entry, song, path, reason and detail of every file that was not used."""

    TYPE_NAME = "tumbao.RejectedSongs"


class IngestedSongs(types.Artifact):
    """`ingested.jsonl`: one line for each song that is used, as `transform.IngestSongs` describes it."""

    TYPE_NAME = "tumbao.IngestedSongs"


class AudioExampleGenSpec(component_spec.ComponentSpec):
    """Interface of `AudioExampleGen`."""

    PARAMETERS = {  # noqa: RUF012 - TFX reads the class attribute
        "manifests": component_spec.ExecutionParameter(type=str),
        "mel_spec": component_spec.ExecutionParameter(type=str),
        "cache": component_spec.ExecutionParameter(type=str),
        "code": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: dict[str, component_spec.ChannelParameter] = {}  # noqa: RUF012 - TFX reads the class attribute
    OUTPUTS = {  # noqa: RUF012 - TFX reads the class attribute
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "rejected": component_spec.ChannelParameter(type=RejectedSongs),
        "ingested": component_spec.ChannelParameter(type=IngestedSongs),
    }


class Executor(base_beam_executor.BaseBeamExecutor):
    """Run `IngestSongs` over the manifests of a catalog."""

    def Do(  # noqa: N802 - TFX's name
        self, input_dict: dict[str, Any], output_dict: dict[str, Any], exec_properties: dict[str, Any]
    ) -> None:
        """Write the splits, the rejected and the ingested songs.

        The execution properties are `manifests` (folder), `mel_spec` (JSON), `cache` (folder of rendered songs) and
        `code` (hash of the source); there are no inputs, and the outputs are `examples`, `rejected` and `ingested`.
        Raises ValueError if a genre has no usable song in a split, and LibraryUnavailableError if many songs could not
        be read for a reason that may lie outside them, see `library.require_few_failures`.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        manifests = exec_properties["manifests"]
        spec = MelSpec(**json.loads(exec_properties["mel_spec"]))
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
        examples.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
        examples.set_string_custom_property("file_format", "tfrecords_gzip")
        rejected = f"{artifact_utils.get_single_uri(output_dict['rejected'])}/rejected.jsonl"
        ingested = f"{artifact_utils.get_single_uri(output_dict['ingested'])}/ingested.jsonl"
        description = json.loads(as_path(f"{manifests}/catalog.json").read_bytes())
        cache = exec_properties["cache"]
        songs = SongCache(cache)
        songs.sweep()
        rows = (row for split in SPLITS for row in split_rows(split, manifests))
        progress.start("decode", len({(row["path"], row["start"], row["end"]) for row in rows}))
        with songs.in_use(), _explained(), self._make_beam_pipeline() as pipeline:
            outputs = (
                pipeline
                | "Manifests" >> beam.Create(SPLITS, reshuffle=False)  # all rows would make the job too large to submit
                | "Rows" >> beam.FlatMap(split_rows, manifests)
                | "Ingest" >> IngestSongs(spec, description["genres"], cache)
            )
            for split in SPLITS:
                target = f"{artifact_utils.get_split_uri([examples], split)}/data_tfrecord"
                _ = outputs[split] | f"Write[{split}]" >> beam.io.WriteToTFRecord(target, file_name_suffix=".gz")
            rejected_by_scan = (
                pipeline
                | "KnownTable" >> beam.Create([f"{manifests}/rejected.csv"], reshuffle=False)
                | "Known" >> beam.FlatMap(rejected_lines)
            )
            all_rejected = (outputs[REJECTED], rejected_by_scan)
            _ = all_rejected | beam.Flatten() | _text_file(REJECTED, rejected)
            _ = outputs[INGESTED] | _text_file(INGESTED, ingested)
        _reconcile(json_lines(ingested), json_lines(rejected), description)


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


def _text_file(name: str, path: str) -> beam.PTransform:
    return f"Write[{name}]" >> beam.io.WriteToText(path, shard_name_template="")


def _reconcile(ingested: list[dict[str, Any]], rejected: list[dict[str, Any]], description: dict[str, Any]) -> None:
    """Check that no song is missing from the results and that every genre has songs in every split."""
    named = {line["entry"] for line in ingested} | {line["entry"] for line in rejected}
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


class AudioExampleGen(base_beam_component.BaseBeamComponent):
    """Decode songs, cut fragments, render mel images and write GZIP TFRecords in the splits train, val and test.

    Parameters
    ----------
    manifests : str
        Folder of `library.write_manifests`. Its name is the digest of its content, so TFX runs the component
        again exactly if a song, its genre, its bytes or its split changed.
    mel_spec : str
        The front-end's parameters, `MelSpec` as JSON.
    cache : str
        Folder of rendered songs, see `song_cache`; runs and workers may share it.
    code : str
        Hash of the source code that ingest depends on: the records are written again if the code changes.

    Examples
    --------
    >>> songs = AudioExampleGen(manifests="catalogs/0a1b", mel_spec="{}", cache="songs", code="")
    >>> songs.outputs["examples"].type_name
    'Examples'
    """

    SPEC_CLASS = AudioExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(self, *, manifests: str, mel_spec: str, cache: str, code: str) -> None:
        spec = AudioExampleGenSpec(
            manifests=manifests,
            mel_spec=mel_spec,
            cache=cache,
            code=code,
            examples=types.Channel(type=standard_artifacts.Examples),
            rejected=types.Channel(type=RejectedSongs),
            ingested=types.Channel(type=IngestedSongs),
        )
        super().__init__(spec=spec)
