"""Beam transform from songs to records; imports no TFX, so that workers start quickly and stay small."""

from __future__ import annotations

import collections
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows

from tumbao.components.ingest import progress, records, song_cache
from tumbao.components.ingest.audio_error import Reason
from tumbao.components.ingest.decoders import AudioSegment
from tumbao.components.ingest.fingerprint import decode_fingerprint, duplicate_detail, find_duplicates
from tumbao.components.ingest.render import Rendered, Renderer
from tumbao.components.ingest.song_cache import SongMetadata
from tumbao.components.ingest.tables import Row, table_rows
from tumbao.schema.mel_spec import MelSpec
from tumbao.schema.record import SPLITS

REJECTED, INGESTED = "rejected", "ingested"


RenderedRows = tuple[list[Row], Rendered]
"""The rendered part of a file, and its rows: one in each split when splitting by fragment, otherwise one."""

_renderers: dict[tuple[MelSpec, str], list[Renderer]] = {}  # one Renderer, listed once per user
_renderers_lock = threading.Lock()


class RenderMel(beam.DoFn):
    """Render parts of files into the cache, a few ahead; the instances in a process share their worker processes."""

    def __init__(self, spec: MelSpec, cache: str) -> None:
        self._spec = spec
        self._cache = cache
        self._started: collections.deque[tuple[list[Row], Future[Rendered]]] = collections.deque()

    def setup(self) -> None:
        """Start the worker processes, unless another instance has started them."""
        with _renderers_lock:
            users = _renderers.setdefault((self._spec, self._cache), [])
            users.append(users[0] if users else Renderer(self._spec, self._cache))
            self._renderer = users[0]

    def teardown(self) -> None:
        """Stop the worker processes with the last instance."""
        with _renderers_lock:
            users = _renderers[self._spec, self._cache]
            users.pop()
            if not users:
                self._renderer.close()

    def start_bundle(self) -> None:
        """Cancel the work of a bundle that failed."""
        while self._started:
            self._started.popleft()[1].cancel()

    def process(self, rows: list[Row]) -> Iterator[RenderedRows]:
        """Start one part, given by its rows; yield the earliest ones if more are in progress than there are workers."""
        self._started.append((rows, self._renderer.submit(_part(rows[0]), rows[0]["sha256"])))
        while len(self._started) > self._renderer.workers:
            yield self._finish()

    def finish_bundle(self) -> Iterator[Any]:
        """Yield the remaining parts."""
        while self._started:
            yield GlobalWindows.windowed_value(self._finish())

    def _finish(self) -> RenderedRows:
        rows, future = self._started.popleft()
        rendered = future.result()
        progress.advance("decode")
        return rows, rendered


@beam.ptransform_fn
@beam.typehints.with_input_types(Row)
def IngestSongs(rows: beam.PCollection, spec: MelSpec, genres: list[str], cache: str) -> Any:  # noqa: N802 - Beam names transforms so
    """Turn rows of manifests into records; of duplicates, one song is used.

    A keyed shuffle spreads the parts over workers, always in the same way. `genres` are in the order of the labels;
    `cache` is the folder of the `SongCache`. The outputs are `train`, `val` and `test`, serialized tf.Examples;
    `INGESTED`, a line of JSON for each row; and `REJECTED`, a line for each rejected part.
    """
    rendered = (
        rows
        | "KeyByPart" >> beam.Map(lambda row: ("\0".join((row["path"], row["start"], row["end"])), row))
        | "Spread" >> beam.GroupByKey()
        | "Rows" >> beam.Map(lambda keyed: sorted(keyed[1], key=lambda row: SPLITS.index(row["split"])))
        | "Render" >> beam.ParDo(RenderMel(spec, cache))
    )
    duplicate_of = (
        rendered
        | "Fingerprints" >> beam.FlatMap(_fingerprints)
        | "AllFingerprints" >> beam.combiners.ToList()
        | "Duplicates" >> beam.Map(_find_duplicates)
    )
    outcomes = rendered | "Outcomes" >> beam.FlatMap(_outcome, beam.pvalue.AsSingleton(duplicate_of)).with_outputs(
        REJECTED, INGESTED, main="rows"
    )
    records_of = outcomes.rows | "Records" >> beam.FlatMap(_records, spec, genres)
    split_of = records_of | "Splits" >> beam.Partition(lambda record, _: SPLITS.index(record[0]), len(SPLITS))
    examples = {
        split: part | f"Examples[{split}]" >> beam.Values() for split, part in zip(SPLITS, split_of, strict=True)
    }
    return {**examples, INGESTED: outcomes[INGESTED], REJECTED: outcomes[REJECTED]}


def rejected_lines(table: str) -> list[str]:
    """Read the rows of `rejected.csv` as lines of JSON, with `entry` as a number."""
    return [json.dumps({**row, "entry": int(row["entry"])}) for row in table_rows(table)]


def _part(row: Row) -> AudioSegment:
    return AudioSegment(row["path"], float(row["start"]), float(row["end"]) if row["end"] else None)


def _fingerprints(part: RenderedRows) -> Iterator[tuple[Row, int, str]]:
    rows, rendered = part
    if rendered.metadata:
        yield rows[0], len(rows), rendered.metadata.fingerprint


def _find_duplicates(fingerprints: Sequence[tuple[Row, int, str]]) -> dict[str, str]:
    """Return each duplicate → the song that is used instead."""
    in_order = sorted(fingerprints, key=lambda one: (one[0]["song"], int(one[0]["first"])))
    found = find_duplicates((row["song"], int(row["entry"]), decode_fingerprint(text)) for row, _, text in in_order)
    progress.start("write", sum(rows for row, rows, _ in fingerprints if row["song"] not in found))
    return found


def _outcome(part: RenderedRows, duplicate_of: Mapping[str, str]) -> Iterator[Any]:
    rows, rendered = part
    first, metadata = rows[0], rendered.metadata
    reason, detail = rendered.reason, rendered.detail
    if original := duplicate_of.get(first["song"], ""):
        reason, detail = Reason.DUPLICATE.value, duplicate_detail(original)
    if reason or metadata is None:
        line = {"entry": int(first["entry"]), "song": first["song"], "path": first["path"]}
        line |= {"reason": reason, "detail": detail, "duplicate_of": original}
        yield beam.pvalue.TaggedOutput(REJECTED, json.dumps(line))
        return
    for row in _with_unlisted(rows, metadata.fragments):
        line = {
            "entry": int(row["entry"]),
            "song": row["song"],
            "genre": row["genre"],
            "split": row["split"],
            "fragments": len(_wanted(row, metadata.fragments)),
            "padded": metadata.padded,
            "silent": metadata.silent,
            "truncated": metadata.truncated,
            "seconds": round(metadata.seconds, 3),
            "declared_seconds": metadata.declared_seconds,
        }
        yield beam.pvalue.TaggedOutput(INGESTED, json.dumps(line))
        yield row, rendered.archive, metadata


def _with_unlisted(rows: list[Row], indexes: Sequence[int]) -> list[Row]:
    """Add fragments that no row lists to the first row: a file may be longer than its header declares."""
    listed = {int(index) for row in rows for index in row["fragments"].split()}
    more = [str(index) for index in indexes if index not in listed]
    if not listed or not more:
        return rows
    return [{**rows[0], "fragments": " ".join([rows[0]["fragments"], *more])}, *rows[1:]]


def _wanted(row: Row, indexes: Sequence[int]) -> list[int]:
    listed = {int(index) for index in row["fragments"].split()}
    return [index for index in indexes if not listed or index in listed]


def _records(song: tuple[Row, str, SongMetadata], spec: MelSpec, genres: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    row, archive, metadata = song
    wanted = set(_wanted(row, metadata.fragments))
    for index, png in song_cache.images(archive):
        if index in wanted:
            example = records.to_example(
                png,
                label=genres.index(row["genre"]),
                genre=row["genre"],
                song=row["song"],
                fragment=int(row["first"]) + index,
                start_seconds=float(row["start"]) + index * spec.fragment_seconds,
                padded=metadata.padded,
            )
            yield row["split"], example.SerializeToString(deterministic=True)
    progress.advance("write")
