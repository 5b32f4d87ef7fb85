"""Pictures of a library: the mel images of some songs of each genre."""

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
    """One picture of the sheet.

    Parameters
    ----------
    song : Measured
        The song.
    png : bytes
        Mel image of the fragment in its middle, as a record holds it.
    """

    song: Measured
    png: bytes


def choose(songs: Sequence[Measured]) -> list[Measured]:
    """Choose songs that lie evenly spread over a list.

    Parameters
    ----------
    songs : sequence of Measured
        The songs of a genre.

    Returns
    -------
    chosen : list of Measured
        At most `PICTURES_PER_GENRE`, in the same order.
    """
    count = min(PICTURES_PER_GENRE, len(songs))
    return [songs[index * len(songs) // count] for index in range(count)]


def contact_sheet(songs: Sequence[Measured], spec: MelSpec) -> list[Frame]:
    """Draw songs.

    Parameters
    ----------
    songs : sequence of Measured
        The songs, see `choose`.
    spec : MelSpec
        The front-end's parameters.

    Returns
    -------
    frames : list of Frame
        A song that has become unusable since it was measured is left out.
    """
    from tumbao.components.ingest import mel, records  # TensorFlow: seconds that an empty library need not spend

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
