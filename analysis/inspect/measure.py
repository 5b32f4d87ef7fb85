"""What one song's sound is like; the first look that decodes it."""

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
"""What is fainter, silence too, is given as this."""


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
    """One usable song, or part of a song.

    Parameters
    ----------
    song : Song
        As the catalog lists it.
    audio_format : str
        Container and coding.
    sample_rate_hz : int
        Sampling rate of the file, in Hz.
    channels : int
        Channels of the file.
    audio_tracks : int
        Audio tracks of the file; one is decoded, as players choose.
    seconds : float
        Length as decoded, in seconds.
    rms_dbfs, peak_dbfs : float
        Of its fragments, mono; in dB, 0 for a square wave at full scale, at least `FAINTEST_DBFS`.
    middle_seconds : float
        Where the fragment in its middle begins in the file, in seconds.
    truncated : bool
        The file breaks off: used as far as it decodes.
    padded : bool
        Shorter than a fragment: silence is added.
    fingerprint : np.ndarray [shape=(n,), dtype=uint16]
        See `fingerprint.fingerprint`.
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

    Parameters
    ----------
    song : Song
        As the catalog lists it.
    spec : MelSpec
        Says how long a fragment is, and at which rate to listen.
    pool : WorkerPool
        Decodes it.
    levels : callable
        The front-end: samples of a fragment → levels, see `mel.mel_levels`.

    Returns
    -------
    measured : Measured
        What it is like.

    Raises
    ------
    AudioError
        If its sound cannot be used, which its header did not tell.
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
    """Take the fragment in the middle of a song.

    Parameters
    ----------
    song : Measured
        The song.
    spec : MelSpec
        Says how long a fragment is.
    pool : WorkerPool
        Decodes it.

    Returns
    -------
    fragment : np.ndarray [shape=(spec.fragment_samples,), dtype=float32]
        Mono samples in [-1, 1]; a shorter song ends in silence.

    Raises
    ------
    AudioError
        If the file has become unusable since, or is silent there.
    """
    end = song.middle_seconds + spec.fragment_seconds
    if song.song.end_seconds is not None:
        end = min(end, song.song.end_seconds)
    part = AudioSegment(song.song.path, song.middle_seconds, end)
    fragment, *_ = Fragments(read_song(pool, part, spec, song.song.sha256))
    return fragment.samples


def _dbfs(amplitude: float) -> float:
    return max(FAINTEST_DBFS, 20 * math.log10(amplitude)) if amplitude else FAINTEST_DBFS
