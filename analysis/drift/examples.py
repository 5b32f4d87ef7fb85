"""Fragments that illustrate drift: new ones far from the training data, and usual training fragments."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tumbao.analysis.drift.comparison import Measure
from tumbao.analysis.drift.descriptors import DESCRIPTORS, Descriptor
from tumbao.analysis.drift.new_songs import levels_at
from tumbao.analysis.drift.song_descriptors import SongDescriptors
from tumbao.analysis.drift.training import TrainingData, pictures
from tumbao.components.ingest import progress
from tumbao.components.ingest.audio_error import AudioError
from tumbao.components.ingest.worker_pool import WorkerPool
from tumbao.schema.mel_spec import MelSpec

SHOWN_DESCRIPTORS, FARTHEST, USUAL = 2, 6, 3
"""Number of descriptors, and of new and of training fragments for each."""


@dataclasses.dataclass(frozen=True)
class Example:
    """A fragment: song, start in the file, value of the descriptor, and mel image as in a record."""

    song: str
    start_seconds: float
    value: float
    png: bytes


@dataclasses.dataclass(frozen=True)
class Examples:
    """Fragments that show the drift of a descriptor.

    `usual` are training fragments near the median, `farthest` are new fragments, the farthest from this median first.
    """

    descriptor: Descriptor
    usual: tuple[Example, ...]
    farthest: tuple[Example, ...]


@dataclasses.dataclass(frozen=True)
class _Place:
    song: SongDescriptors
    index: int
    column: int

    @property
    def start_seconds(self) -> float:
        return float(self.song.starts[self.index])

    def example(self, png: bytes) -> Example:
        value = float(self.song.values[self.index, self.column])
        return Example(self.song.song, self.start_seconds, value, png)


def choose_examples(
    drifted: Sequence[Measure],
    training: TrainingData,
    recalled: Sequence[SongDescriptors],
    new: Sequence[SongDescriptors],
) -> tuple[Examples, ...]:
    """Render examples for the descriptors that drifted most, at most one fragment of each song.

    `drifted` is sorted, the largest drift first; measures of songs have no examples. A new song that has become
    unusable since it was measured is left out.
    """
    columns = {descriptor: column for column, descriptor in enumerate(DESCRIPTORS)}
    shown = [measure.descriptor for measure in drifted if measure.descriptor in columns][:SHOWN_DESCRIPTORS]
    chosen = []
    for descriptor in shown:
        column = columns[descriptor]
        median = float(np.median(np.concatenate([song.values[:, column] for song in recalled])))
        chosen.append((_nearest(recalled, column, median)[:USUAL], _nearest(new, column, median, -1)[:FARTHEST]))
    pngs = pictures(training, {(place.song.song, place.start_seconds) for usual, _ in chosen for place in usual})
    progress.start("draw", sum(len(farthest) for _, farthest in chosen))
    with WorkerPool() as pool:
        return tuple(
            Examples(
                descriptor,
                tuple(place.example(pngs[place.song.song, place.start_seconds]) for place in usual),
                tuple(example for place in farthest for example in _draw(place, training.spec, pool)),
            )
            for descriptor, (usual, farthest) in zip(shown, chosen, strict=True)
        )


def _nearest(songs: Sequence[SongDescriptors], column: int, median: float, sign: int = 1) -> list[_Place]:
    """Return a fragment of each song, the nearest to the median first; with sign -1 the farthest first."""
    away = [sign * np.abs(song.values[:, column] - median) for song in songs]
    places = [_Place(song, int(own.argmin()), column) for song, own in zip(songs, away, strict=True)]
    return [places[index] for index in np.argsort([own.min() for own in away], kind="stable")]


def _draw(place: _Place, spec: MelSpec, pool: WorkerPool) -> list[Example]:
    from tumbao.components.ingest import mel, records

    try:
        levels = levels_at(place.song, place.index, spec, pool)
    except AudioError:
        return []
    finally:
        progress.advance("draw")
    return [place.example(records.to_png(levels, mel.palette(spec)))]
