"""Songs → records, as a Beam transform: imports no TFX, so that workers start quickly and stay small."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import apache_beam as beam
import numpy as np
from apache_beam.transforms.window import GlobalWindows

from tumbao import progress
from tumbao.components.ingest import copies, drawers, records, song_cache
from tumbao.components.ingest.audio_error import AudioError, Reason
from tumbao.components.ingest.decoders import Part
from tumbao.components.ingest.fragments import Ending
from tumbao.components.ingest.manifest_rows import Row
from tumbao.components.ingest.read_ahead import Reading
from tumbao.components.ingest.song_cache import Drawn, SongCache
from tumbao.schema.mel_spec import MelSpec
from tumbao.schema.record import SPLITS

if TYPE_CHECKING:
    from tumbao.components.ingest.drawing import Drawing  # which would bring the front-end into this process

REJECTED, INGESTED = "rejected", "ingested"


@dataclasses.dataclass(frozen=True)
class DrawnPart:
    """What became of a part of a file.

    Parameters
    ----------
    rows : list of Row
        The rows that name it: with the fragment protocol one in each split, otherwise one.
    cached : str
        Where its images stand in the cache; empty if it was refused.
    drawn : Drawn or None
        What is known of it; None if it was refused.
    reason, detail : str
        Why it was refused; else empty.
    """

    rows: list[Row]
    cached: str = ""
    drawn: Drawn | None = None
    reason: str = ""
    detail: str = ""


class DrawSongs(beam.DoFn):
    """Decode and draw parts of files, a few ahead, into the cache.

    Parameters
    ----------
    spec : MelSpec
        The front-end's parameters.
    cache : str
        Folder of the cache.
    """

    def __init__(self, spec: MelSpec, cache: str) -> None:
        self._spec = spec
        self._cache = cache
        self._begun: collections.deque[tuple[list[Row], str, Reading[Drawing] | None]] = collections.deque()

    def setup(self) -> None:
        """Find the drawers of this process, or start them."""
        self._drawing = drawers.acquire()

    def teardown(self) -> None:
        """Let the drawers go, which end when nobody has them."""
        drawers.release()

    def start_bundle(self) -> None:
        """Drop what a bundle that failed had begun."""
        while self._begun:
            if reading := self._begun.popleft()[2]:
                reading.close()

    def process(self, rows: list[Row]) -> Iterator[DrawnPart]:
        """Begin one part and end those before it.

        Parameters
        ----------
        rows : list of Row
            The rows that name it.

        Yields
        ------
        part : DrawnPart
            One for each element, later.
        """
        part, sha256 = _part(rows[0]), rows[0]["sha256"]
        path = SongCache(self._cache).path(part, sha256)
        known = song_cache.description(path) is not None
        self._begun.append((rows, path, None if known else self._drawing.draw(part, self._spec, sha256)))
        while len(self._begun) > self._drawing.decoders:
            yield self._end()

    def finish_bundle(self) -> Iterator[Any]:
        """End what was begun.

        Yields
        ------
        part : WindowedValue of DrawnPart
            The last parts.
        """
        while self._begun:
            yield GlobalWindows.windowed_value(self._end())

    def _end(self) -> DrawnPart:
        rows, path, reading = self._begun.popleft()
        try:
            if reading is not None:
                self._draw(reading, path)
            return DrawnPart(rows, path, song_cache.description(path))
        except AudioError as error:
            return DrawnPart(rows, reason=error.reason.value, detail=error.sentence)
        finally:
            progress.advance("decode")

    def _draw(self, reading: Reading[Drawing], path: str) -> None:
        silent, padded = 0, False
        words: list[np.ndarray] = []
        indexes: list[int] = []
        with contextlib.closing(reading), SongCache(self._cache).writing(path) as song:
            for item in reading:
                if isinstance(item, Ending):
                    ending = item
                    break
                padded, silent = item.padded, silent + item.silent
                words.append(item.words)
                if not item.silent:
                    indexes.append(item.index)
                    song_cache.add_image(song, item.index, item.png)
            drawn = Drawn(
                seconds=ending.seconds,
                declared_seconds=ending.header.declared_seconds,
                truncated=ending.truncated,
                padded=padded,
                silent=silent,
                fragments=indexes,
                fingerprint=copies.to_text(np.concatenate(words)),
            )
            song_cache.add_description(song, drawn)


@beam.ptransform_fn
@beam.typehints.with_input_types(Row)
def IngestSongs(rows: beam.PCollection, spec: MelSpec, genres: list[str], cache: str) -> Any:  # noqa: N802 - Beam names transforms so
    """Turn rows of manifests into records; of songs that are the same recording one is kept.

    A keyed shuffle spreads the parts over workers, always in the same way.

    Parameters
    ----------
    rows : beam.PCollection of Row
        Rows of all splits.
    spec : MelSpec
        The front-end's parameters.
    genres : list of str
        The run's genres, in the order of the labels.
    cache : str
        Folder of the `SongCache`.

    Returns
    -------
    outputs : dict of str to beam.PCollection
        `train`, `val` and `test`: serialized tf.Examples. `INGESTED`: a line of JSON for each row. `REJECTED`: a line
        for each part that was refused.
    """
    drawn = (
        rows
        | "KeyByPart" >> beam.Map(lambda row: ("\0".join((row["path"], row["start"], row["end"])), row))
        | "Spread" >> beam.GroupByKey()
        | "Rows" >> beam.Map(lambda keyed: sorted(keyed[1], key=lambda row: SPLITS.index(row["split"])))
        | "Draw" >> beam.ParDo(DrawSongs(spec, cache))
    )
    kept = (
        drawn
        | "Fingerprints" >> beam.FlatMap(_fingerprints)
        | "AllFingerprints" >> beam.combiners.ToList()
        | "Copies" >> beam.Map(_copies)
    )
    told = drawn | "Tell" >> beam.FlatMap(_tell, beam.pvalue.AsSingleton(kept)).with_outputs(
        REJECTED, INGESTED, main="rows"
    )
    records_of = told.rows | "Records" >> beam.FlatMap(_records, spec, genres)
    split_of = records_of | "Splits" >> beam.Partition(lambda record, _: SPLITS.index(record[0]), len(SPLITS))
    examples = {
        split: part | f"Examples[{split}]" >> beam.Values() for split, part in zip(SPLITS, split_of, strict=True)
    }
    return {**examples, INGESTED: told[INGESTED], REJECTED: told[REJECTED]}


def _part(row: Row) -> Part:
    return Part(row["path"], float(row["start"]), float(row["end"]) if row["end"] else None)


def _fingerprints(part: DrawnPart) -> Iterator[tuple[Row, int, str]]:
    if part.drawn:
        yield part.rows[0], len(part.rows), part.drawn.fingerprint


def _copies(told: Sequence[tuple[Row, int, str]]) -> dict[str, str]:
    """Find songs to leave out: each → the song that it is the same recording as."""
    in_order = sorted(told, key=lambda one: (one[0]["song"], int(one[0]["first"])))
    found = copies.find_copies((row["song"], int(row["entry"]), copies.from_text(text)) for row, _, text in in_order)
    progress.start("write", sum(rows for row, rows, _ in told if row["song"] not in found))
    return found


def _tell(part: DrawnPart, kept: Mapping[str, str]) -> Iterator[Any]:
    first = part.rows[0]
    reason, detail = part.reason, part.detail
    if original := kept.get(first["song"], ""):
        reason, detail = Reason.DUPLICATE.value, copies.same_as(original)
    if reason or part.drawn is None:
        line = {"entry": int(first["entry"]), "song": first["song"], "path": first["path"]}
        line |= {"reason": reason, "detail": detail, "duplicate_of": original}
        yield beam.pvalue.TaggedOutput(REJECTED, json.dumps(line))
        return
    for row in _with_unlisted(part.rows, part.drawn.fragments):
        line = {
            "entry": int(row["entry"]),
            "song": row["song"],
            "genre": row["genre"],
            "split": row["split"],
            "fragments": len(_wanted(row, part.drawn.fragments)),
            "padded": part.drawn.padded,
            "silent": part.drawn.silent,
            "truncated": part.drawn.truncated,
            "seconds": round(part.drawn.seconds, 3),
            "declared_seconds": part.drawn.declared_seconds,
        }
        yield beam.pvalue.TaggedOutput(INGESTED, json.dumps(line))
        yield row, part.cached, part.drawn


def _with_unlisted(rows: list[Row], indexes: Sequence[int]) -> list[Row]:
    """Give fragments that no row lists to the first: of a file that is longer than its header says."""
    listed = {int(index) for row in rows for index in row["fragments"].split()}
    more = [str(index) for index in indexes if index not in listed]
    if not listed or not more:
        return rows
    return [{**rows[0], "fragments": " ".join([rows[0]["fragments"], *more])}, *rows[1:]]


def _wanted(row: Row, indexes: Sequence[int]) -> list[int]:
    listed = {int(index) for index in row["fragments"].split()}
    return [index for index in indexes if not listed or index in listed]


def _records(written: tuple[Row, str, Drawn], spec: MelSpec, genres: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    row, cached, drawn = written
    wanted = set(_wanted(row, drawn.fragments))
    for index, png in song_cache.images(cached):
        if index in wanted:
            example = records.to_example(
                png,
                label=genres.index(row["genre"]),
                genre=row["genre"],
                song=row["song"],
                fragment=int(row["first"]) + index,
                start_seconds=float(row["start"]) + index * spec.fragment_seconds,
                padded=drawn.padded,
            )
            yield row["split"], example.SerializeToString(deterministic=True)
    progress.advance("write")
