"""Fragments prepared for manual review: small mel images and compressed audio."""

from __future__ import annotations

import collections
import dataclasses
import io
from collections.abc import Iterable, Sequence

import numpy as np
import soundfile
from PIL import Image

from tumbao.components.ingest import progress, song_cache
from tumbao.components.ingest.audio_error import AudioError
from tumbao.components.ingest.decoders import read_song
from tumbao.components.ingest.fragments import Fragment
from tumbao.components.ingest.library import Song
from tumbao.components.ingest.rendered_library import RenderedLibrary
from tumbao.components.ingest.worker_pool import WorkerPool
from tumbao.schema.mel_spec import MelSpec

PICTURE_SIZE = (300, 150)  # width and height of a mel image, in pixels
SMALL = 0.9  # compression to 24 kbit/s at 22,050 Hz: 90 kB for 30 s, nothing above 6 kHz
_BLOCK_FRAMES = 8_192  # frames written to libsndfile at a time; a single long write can crash the process


@dataclasses.dataclass(frozen=True)
class Excerpt:
    """A fragment to look at and listen to."""

    start_seconds: float
    jpeg: bytes  # mel image of `PICTURE_SIZE`
    mp3: bytes  # mono audio, empty if the file can no longer be read
    error: str = ""  # why it cannot be read


def excerpts(library: RenderedLibrary, songs: Sequence[Song], rows: Iterable[int], spec: MelSpec) -> dict[int, Excerpt]:
    """Return an excerpt for each of the library rows (fragments), which were rendered from `songs` with `spec`."""
    by_archive: dict[str, list[int]] = collections.defaultdict(list)
    for row in sorted(set(rows)):
        by_archive[library.archives[row]].append(row)
    found: dict[int, Excerpt] = {}
    progress.start("excerpts", sum(map(len, by_archive.values())))
    with WorkerPool() as pool:
        for archive, members in by_archive.items():
            images = dict(song_cache.images(archive))
            first = members[0]
            begin = library.starts[first] - library.members[first] * spec.fragment_seconds
            parts = [one for one in songs if (one.song, one.path) == (library.songs[first], library.files[first])]
            part = min(parts, key=lambda one: abs(one.start_seconds - begin))
            sounds, error = _sounds(pool, part, {library.members[row] for row in members}, spec)
            for row in members:
                member = library.members[row]
                picture, sound = _jpeg(images[member]), sounds.get(member, b"")
                found[row] = Excerpt(float(library.starts[row]), picture, sound, error)
                progress.advance("excerpts")
    return found


def _sounds(pool: WorkerPool, song: Song, wanted: set[int], spec: MelSpec) -> tuple[dict[int, bytes], str]:
    """Return fragments of a part of a song as MP3 by index, or an error message."""
    try:
        fragments = (item for item in read_song(pool, song.part, spec, song.sha256) if isinstance(item, Fragment))
        return {one.index: mp3(one.samples, spec.sample_rate_hz) for one in fragments if one.index in wanted}, ""
    except AudioError as error:
        return {}, error.message


def mp3(samples: np.ndarray, sample_rate_hz: int, compression: float = SMALL) -> bytes:
    """Encode mono samples in [-1, 1] as an MP3 file."""
    buffer = io.BytesIO()
    settings = {"format": "MP3", "bitrate_mode": "CONSTANT", "compression_level": compression}
    with soundfile.SoundFile(buffer, "w", sample_rate_hz, 1, **settings) as file:
        for begin in range(0, len(samples), _BLOCK_FRAMES):
            file.write(samples[begin : begin + _BLOCK_FRAMES])
    return buffer.getvalue()


def _jpeg(png: bytes) -> bytes:
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        image.convert("RGB").resize(PICTURE_SIZE, Image.Resampling.BOX).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
