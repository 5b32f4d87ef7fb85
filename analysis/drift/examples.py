"""Which fragments show a drift best: new ones that lie farthest from the training data, and usual ones beside them."""

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
"""How many descriptors are shown, and how many fragments of new and of training songs for each."""


@dataclasses.dataclass(frozen=True)
class Example:
    """One fragment, to be looked at.

    Parameters
    ----------
    song : str
        Its song.
    start_seconds : float
        Where it begins in the file, in seconds.
    value : float
        Its descriptor.
    png : bytes
        Its mel image, as a record holds it.
    """

    song: str
    start_seconds: float
    value: float
    png: bytes


@dataclasses.dataclass(frozen=True)
class Examples:
    """What shows the drift of one descriptor.

    Parameters
    ----------
    descriptor : Descriptor
        The descriptor.
    usual : tuple of Example
        Of the training data, near its median.
    farthest : tuple of Example
        New, the farthest from that median first.
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
    """Draw examples of what drifted most.

    Parameters
    ----------
    drifted : sequence of Measure
        What drifted, most first; measures of songs have no examples.
    training : TrainingData
        Where the records are.
    recalled, new : sequence of SongDescriptors
        Training songs and new songs.

    Returns
    -------
    examples : tuple of Examples
        For at most `SHOWN_DESCRIPTORS`; of each song at most one fragment. A new song that has become unusable since
        is left out.
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
    """Take a fragment of each song and order the songs: the nearest first; with sign -1 the farthest."""
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
