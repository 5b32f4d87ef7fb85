"""What one song's sound is like; the first look that decodes it."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import soundfile

from tumbao.components.ingest.catalog import Song
from tumbao.components.ingest.fragments import cut
from tumbao.components.ingest.waveform import decode, probe
from tumbao.fetch.content import HEAD_BYTES, audio_ending
from tumbao.schema.mel_spec import MelSpec

FAINTEST_DBFS = -100.0
"""What is fainter, silence too, is given as this."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """One usable song, or part of a song.

    Parameters
    ----------
    song : Song
        As the catalog lists it.
    audio_format : str
        Container and, where libsndfile knows it, coding: by the content, else by the name.
    sample_rate_hz : int
        Sampling rate of the file, in Hz.
    channels : int
        Channels of the file.
    seconds : float
        Length as decoded, in seconds.
    rms_dbfs, peak_dbfs : float
        Of the fragment in its middle, all channels averaged; in dB, 0 for a constant at full scale, at least
        `FAINTEST_DBFS`.
    middle_seconds : float
        Where that fragment begins in the file, in seconds.
    truncated : bool
        The file breaks off: used as far as it decodes.
    padded : bool
        Shorter than a fragment: silence is added.
    """

    song: Song
    audio_format: str
    sample_rate_hz: int
    channels: int
    seconds: float
    rms_dbfs: float
    peak_dbfs: float
    middle_seconds: float
    truncated: bool
    padded: bool


def measure(song: Song, spec: MelSpec) -> Measured:
    """Decode a song and measure it.

    Parameters
    ----------
    song : Song
        As the catalog lists it.
    spec : MelSpec
        Says how long a fragment is, and at which rate to listen.

    Returns
    -------
    measured : Measured
        What it is like.

    Raises
    ------
    AudioError
        If its sound cannot be used, which its header did not tell.
    """
    header = probe(song.path)
    waveform = decode(song.path, spec.sample_rate_hz)
    part = _part(waveform.samples, song, spec)
    _, padded = cut(part, spec, song.path)
    offset, fragment = _middle(part, spec)
    return Measured(
        song=song,
        audio_format=_audio_format(Path(song.path)),
        sample_rate_hz=header.sample_rate_hz,
        channels=header.channels,
        seconds=len(part) / spec.sample_rate_hz,
        rms_dbfs=_dbfs(float(np.sqrt(np.mean(np.square(fragment, dtype=np.float64))))),
        peak_dbfs=_dbfs(float(np.abs(fragment).max())),
        middle_seconds=song.start_seconds + offset / spec.sample_rate_hz,
        truncated=waveform.truncated,
        padded=padded,
    )


def middle_fragment(song: Song, spec: MelSpec) -> np.ndarray:
    """Take the fragment in the middle of a song.

    Parameters
    ----------
    song : Song
        A song that `measure` took.
    spec : MelSpec
        Says how long a fragment is.

    Returns
    -------
    fragment : np.ndarray [shape=(spec.fragment_samples,), dtype=float32]
        Mono samples in [-1, 1]; a shorter song ends in silence.

    Raises
    ------
    AudioError
        If the file has become unusable since.
    """
    _, fragment = _middle(_part(decode(song.path, spec.sample_rate_hz).samples, song, spec), spec)
    return np.pad(fragment, (0, spec.fragment_samples - len(fragment)))


def _part(samples: np.ndarray, song: Song, spec: MelSpec) -> np.ndarray:
    end = None if song.end_seconds is None else round(song.end_seconds * spec.sample_rate_hz)
    return samples[round(song.start_seconds * spec.sample_rate_hz) : end]


def _middle(part: np.ndarray, spec: MelSpec) -> tuple[int, np.ndarray]:
    offset = max(0, len(part) - spec.fragment_samples) // 2
    return offset, part[offset : offset + spec.fragment_samples]


def _dbfs(amplitude: float) -> float:
    return max(FAINTEST_DBFS, 20 * math.log10(amplitude)) if amplitude else FAINTEST_DBFS


def _audio_format(path: Path) -> str:
    try:
        with soundfile.SoundFile(path) as sound:
            return f"{sound.format}, {sound.subtype_info}"
    except soundfile.LibsndfileError:
        with path.open("rb") as file:
            given = path.suffix.removeprefix(".")
            return (audio_ending(file.read(HEAD_BYTES), given) or given).upper()
