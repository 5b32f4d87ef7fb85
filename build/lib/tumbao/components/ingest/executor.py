"""AudioExampleGen's work in Beam: manifests → TFRecords of mel images, and what became of every song."""

from __future__ import annotations

import collections
import csv
import functools
import io
import json
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import tensorflow as tf
from tfx.dsl.components.base import base_beam_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils

from tumbao import progress
from tumbao.components.ingest import mel, records
from tumbao.components.ingest.catalog import Rejected, require_genres
from tumbao.components.ingest.fragments import cut
from tumbao.components.ingest.waveform import AudioError, decode
from tumbao.schema.mel_spec import MelSpec
from tumbao.schema.record import SPLITS

REJECTED = "rejected"
INGESTED = "ingested"


@functools.lru_cache(maxsize=2)
def _levels(spec: MelSpec) -> Any:
    signature = [tf.TensorSpec([None, spec.fragment_samples], tf.float32)]
    return tf.function(lambda fragments: mel.mel_levels(fragments, spec), input_signature=signature)


class SongToExamples(beam.DoFn):
    """Decode, cut and draw one song.

    Parameters
    ----------
    spec : MelSpec
        The front-end's parameters.
    genres : list of str
        The run's genres, in the order of the labels.
    """

    def __init__(self, spec: MelSpec, genres: list[str]) -> None:
        self._spec = spec
        self._genres = genres

    def process(self, row: dict[str, str]) -> Iterator[Any]:
        """Give the song's records; say on the side what became of it.

        Parameters
        ----------
        row : dict
            A row of a manifest, see `catalog.MANIFEST_COLUMNS`, and `split`.

        Yields
        ------
        record : bytes or beam.pvalue.TaggedOutput
            Serialized tf.Examples, and one line of JSON to `INGESTED` or `REJECTED`.
        """
        try:
            waveform = decode(row["path"], self._spec.sample_rate_hz)
            rate, start = self._spec.sample_rate_hz, float(row["start"])
            end = round(float(row["end"]) * rate) if row["end"] else None
            fragments, padded = cut(waveform.samples[round(start * rate) : end], self._spec, row["path"])
        except AudioError as error:
            rejected = {
                "entry": int(row["entry"]),
                "song": row["song"],
                "path": row["path"],
                "reason": error.reason.value,
                "detail": error.sentence,
            }
            yield beam.pvalue.TaggedOutput(REJECTED, json.dumps(rejected))
        else:
            wanted = [int(index) for index in row["fragments"].split()] or list(range(len(fragments)))
            present = [index for index in wanted if index < len(fragments)]
            for index in present:
                levels = _levels(self._spec)(fragments[index : index + 1])[0].numpy()
                example = records.to_example(
                    records.to_png(levels, mel.palette(self._spec)),
                    label=self._genres.index(row["genre"]),
                    genre=row["genre"],
                    song=row["song"],
                    fragment=int(row["first"]) + index,
                    start_seconds=start + index * self._spec.fragment_seconds,
                    padded=padded,
                )
                yield example.SerializeToString(deterministic=True)
            told = {
                "entry": int(row["entry"]),
                "song": row["song"],
                "genre": row["genre"],
                "split": row["split"],
                "fragments": len(present),
                "padded": padded,
                "truncated": waveform.truncated,
                "seconds": round(waveform.duration_seconds, 3),
            }
            yield beam.pvalue.TaggedOutput(INGESTED, json.dumps(told))
        progress.advance("decode")


@beam.ptransform_fn
@beam.typehints.with_input_types(dict[str, str])
def IngestSongs(rows: beam.PCollection, spec: MelSpec, genres: list[str]) -> Any:  # noqa: N802 - Beam names transforms so
    """Turn rows of a manifest into records; the keyed shuffle spreads songs over workers, always in the same way.

    Parameters
    ----------
    rows : beam.PCollection
        Rows of a manifest, as dicts of str.
    spec : MelSpec
        The front-end's parameters.
    genres : list of str
        The run's genres, in the order of the labels.

    Returns
    -------
    outputs : beam.pvalue.DoOutputsTuple
        `examples`, `INGESTED` and `REJECTED`, see `SongToExamples`.
    """
    return (
        rows
        | "KeyBySong" >> beam.Map(lambda row: (row["song"], row))
        | "Spread" >> beam.GroupByKey()
        | "Rows" >> beam.FlatMap(lambda keyed: keyed[1])
        | "Ingest" >> beam.ParDo(SongToExamples(spec, genres)).with_outputs(REJECTED, INGESTED, main="examples")
    )


class Executor(base_beam_executor.BaseBeamExecutor):
    """Runs `IngestSongs` over the manifests of a catalog."""

    def Do(  # noqa: N802 - TFX's name
        self, input_dict: dict[str, Any], output_dict: dict[str, Any], exec_properties: dict[str, Any]
    ) -> None:
        """Write the splits, the rejected and the ingested songs; refuse a result in which a genre misses a split.

        Parameters
        ----------
        input_dict : dict
            Empty: the manifests are named in the properties.
        output_dict : dict
            `examples`, `rejected` and `ingested`.
        exec_properties : dict
            `manifests` (folder), `mel_spec` (JSON) and `code` (hash of our source).

        Raises
        ------
        ValueError
            If a genre has no usable song in a split.
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
        description = json.loads(_read(f"{manifests}/catalog.json"))
        rows = {split: _rows(f"{manifests}/{split}.csv", split) for split in SPLITS}
        progress.start("decode", sum(map(len, rows.values())))
        with self._make_beam_pipeline() as pipeline:
            told: dict[str, list[beam.PCollection]] = {REJECTED: [], INGESTED: []}
            for split in SPLITS:
                outputs = (
                    pipeline
                    | f"Manifest[{split}]" >> beam.Create(rows[split], reshuffle=False)
                    | f"Ingest[{split}]" >> IngestSongs(spec, description["genres"])
                )
                target = f"{artifact_utils.get_split_uri([examples], split)}/data_tfrecord"
                _ = outputs.examples | f"Write[{split}]" >> beam.io.WriteToTFRecord(target, file_name_suffix=".gz")
                for tag, collections_ in told.items():
                    collections_.append(outputs[tag])
            rows_rejected = _rows(f"{manifests}/rejected.csv")
            known = [json.dumps({**row, "entry": int(row["entry"])}) for row in rows_rejected]
            told[REJECTED].append(pipeline | "KnownRejected" >> beam.Create(known, reshuffle=False))
            for tag, path in ((REJECTED, rejected), (INGESTED, ingested)):
                _ = (
                    told[tag]
                    | f"All[{tag}]" >> beam.Flatten()
                    | f"Once[{tag}]" >> beam.Distinct()  # a song of several splits is rejected in each
                    | f"Write[{tag}]" >> beam.io.WriteToText(path, shard_name_template="")
                )
        _reconcile(_lines(ingested), _lines(rejected), description)


def _read(path: str) -> str:
    with fileio.open(path, "rb") as file:
        return file.read().decode()


def _lines(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _read(path).splitlines()]


def _rows(path: str, split: str = "") -> list[dict[str, str]]:
    rows = list(csv.DictReader(io.StringIO(_read(path), newline="")))
    return [{**row, "split": split} for row in rows] if split else rows


def _reconcile(ingested: list[dict[str, Any]], rejected: list[dict[str, Any]], description: dict[str, Any]) -> None:
    """Check that nothing was lost and that every genre stands in every split."""
    named = {line["entry"] for line in ingested} | {line["entry"] for line in rejected}
    if len(named) != description["found"]:
        raise RuntimeError(
            f"Expected {description['found']} songs, each ingested or rejected. Received {len(named)}: a fault in "
            "Tumbao, please report it with the run's log."
        )
    reasons = [Rejected(**line) for line in rejected]
    for split in SPLITS:
        counts = collections.Counter(
            line["genre"] for line in ingested if line["split"] == split and line["fragments"] > 0
        )
        require_genres(counts, description["genres"], reasons, f"in the {split} split")
