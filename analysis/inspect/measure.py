"""Measurements of one song's audio; the first step of an inspection that decodes it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from tumbao.components.ingest.decoders import AudioSegment, read_song
from tumbao.components.ingest.fingerprint import fingerprint
from tumbao.components.ingest.fragments import Fragments
from tumbao.components.ingest.library import Song
from tumbao.components.ingest.worker_pool import WorkerPool
from tumbao.schema.mel_spec import MelSpec

FAINTEST_DBFS = -100.0
"""Lowest level; fainter sounds and silence have this level, too."""


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
    """Measurements of a usable song, or of a part of a song.

    `audio_format` is container and codec. `sample_rate_hz`, `channels` and `audio_tracks` are those of the file; one
    track is decoded, the one that players choose. `seconds` is the decoded length. `rms_dbfs` and `peak_dbfs` are of
    the mono fragments, in dB: 0 for a square wave at full scale, at least `FAINTEST_DBFS`. `middle_seconds` is the
    start of the middle fragment in the file. `truncated` says that the file breaks off and is used as far as it
    decodes, `padded` that the song is shorter than a fragment and silence is added. `fingerprint`, uint16 [n], see
    `fingerprint.fingerprint`.
    """

    song: Song
    audio_format: str
    sample_rate_hz: int
    channels: int
    audio_tracks: int
    seconds: float
    rms_dbfs: float
    peak_dbfs: float
    middle_seconds: float
    truncated: bool
    padded: bool
    fingerprint: np.ndarray = dataclasses.field(repr=False)


def measure(song: Song, spec: MelSpec, pool: WorkerPool, levels: Callable[[np.ndarray], np.ndarray]) -> Measured:
    """Decode a song and measure it.

    `levels` is the front-end, see `mel.mel_levels`. Raises AudioError if the decoded audio is unusable.
    """
    squares, peak, padded, words = 0.0, 0.0, False, []
    items = Fragments(read_song(pool, song.part, spec, song.sha256))
    for item in items:
        squares += float(np.square(item.samples, dtype=np.float64).sum())
        peak = max(peak, float(np.abs(item.samples).max()))
        padded = item.padded
        words.append(fingerprint(levels(item.samples), spec))
    ending = items.ending
    samples = min(ending.seconds * spec.sample_rate_hz, len(words) * spec.fragment_samples)
    return Measured(
        song=song,
        audio_format=ending.header.audio_format,
        sample_rate_hz=ending.header.sample_rate_hz,
        channels=ending.header.channels,
        audio_tracks=ending.header.audio_tracks,
        seconds=ending.seconds,
        rms_dbfs=_dbfs(math.sqrt(squares / samples)),
        peak_dbfs=_dbfs(peak),
        middle_seconds=song.start_seconds + max(0.0, ending.seconds - spec.fragment_seconds) / 2,
        truncated=ending.truncated,
        padded=padded,
        fingerprint=np.concatenate(words),
    )


def middle_fragment(song: Measured, spec: MelSpec, pool: WorkerPool) -> np.ndarray:
    """Return the fragment in the middle of a song: mono samples in [-1, 1], float32 [fragment_samples].

    A shorter song ends in silence. Raises AudioError if the file has become unusable since it was measured, or is
    silent there.
    """
    end = song.middle_seconds + spec.fragment_seconds
    if song.song.end_seconds is not None:
        end = min(end, song.song.end_seconds)
    part = AudioSegment(song.song.path, song.middle_seconds, end)
    fragment, *_ = Fragments(read_song(pool, part, spec, song.song.sha256))
    return fragment.samples


def _dbfs(amplitude: float) -> float:
    return max(FAINTEST_DBFS, 20 * math.log10(amplitude)) if amplitude else FAINTEST_DBFS
