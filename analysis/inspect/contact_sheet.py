"""Mel images of some songs of each genre."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tumbao.analysis.inspect.measure import Measured, middle_fragment
from tumbao.components.ingest import progress
from tumbao.components.ingest.audio_error import AudioError
from tumbao.components.ingest.worker_pool import WorkerPool
from tumbao.schema.mel_spec import MelSpec

PICTURES_PER_GENRE = 6


@dataclasses.dataclass(frozen=True)
class Frame:
    """A song and the mel image of its middle fragment, a PNG as in a record."""

    song: Measured
    png: bytes


def choose(songs: Sequence[Measured]) -> list[Measured]:
    """Choose at most `PICTURES_PER_GENRE` songs that are evenly spread over a list, in the same order."""
    count = min(PICTURES_PER_GENRE, len(songs))
    return [songs[index * len(songs) // count] for index in range(count)]


def contact_sheet(songs: Sequence[Measured], spec: MelSpec) -> list[Frame]:
    """Render songs; one that has become unusable since it was measured is left out."""
    from tumbao.components.ingest import mel, records  # imports TensorFlow: slow, not for an empty library

    progress.start("draw", len(songs))
    frames = []
    with WorkerPool() as pool:
        for song in songs:
            try:
                fragment = middle_fragment(song, spec, pool)
            except AudioError:
                continue
            finally:
                progress.advance("draw")
            frames.append(Frame(song, records.to_png(mel.traced_levels(spec)(fragment), mel.palette(spec))))
    return frames
