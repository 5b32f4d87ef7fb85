"""From a song to its 30-second fragments.

Fragments are consecutive and do not overlap. The tail that does not fill a fragment is left out, in training and in
prediction alike. A song shorter than one fragment is padded with silence at its end and flagged; one shorter than
`MIN_SONG_SECONDS` is refused. A fragment in which nothing is heard is flagged: it says nothing about a genre.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

import numpy as np

from tumbao.components.ingest.audio_error import AudioError, Reason
from tumbao.components.ingest.audio_file import Probe
from tumbao.components.ingest.waveform import SILENCE_PEAK, AudioStream, silence, within_full_scale
from tumbao.schema.mel_spec import MelSpec

MIN_SONG_SECONDS = 3.0
"""A song shorter than this says too little about its genre and is refused, in seconds."""


@dataclasses.dataclass(frozen=True, eq=False)
class Fragment:
    """A piece of a song, as long as the model wants it.

    Parameters
    ----------
    index : int
        Its number in the song or in the part that was asked for, from 0.
    samples : np.ndarray [shape=(spec.fragment_samples,), dtype=float32]
        Mono samples in [-1, 1] at `spec.sample_rate_hz`.
    padded : bool
        The song was shorter and silence was added at its end.
    silent : bool
        No sample is louder than `waveform.SILENCE_PEAK`.
    """

    index: int
    samples: np.ndarray
    padded: bool
    silent: bool


@dataclasses.dataclass(frozen=True)
class SongSummary:
    """What is known of a song after its last fragment.

    Parameters
    ----------
    seconds : float
        How much could be decoded, the tail included.
    header : Probe
        What the file declares.
    truncated : bool
        The file breaks off, see `waveform.AudioStream.truncated`.
    """

    seconds: float
    header: Probe
    truncated: bool


class Fragments:
    """Goes over the fragments of a song, once.

    Parameters
    ----------
    items : iterable of Fragment and SongSummary
        From `read`.

    Attributes
    ----------
    ending : SongSummary
        There after the last fragment.
    """

    ending: SongSummary

    def __init__(self, items: Iterable[Fragment | SongSummary]) -> None:
        self._items = items

    def __iter__(self) -> Iterator[Fragment]:
        """Go over them.

        Yields
        ------
        fragment : Fragment
            The next.
        """
        for item in self._items:
            if isinstance(item, SongSummary):
                self.ending = item
            else:
                yield item


def read(
    path: str | Path, spec: MelSpec, start_seconds: float = 0.0, end_seconds: float | None = None
) -> Generator[Fragment | SongSummary, None, None]:
    """Read a song fragment by fragment; memory is bounded however long it is.

    A fragment that goes beyond full scale is scaled down, not clipped.

    Parameters
    ----------
    path : str or Path
        The file.
    spec : MelSpec
        Gives the rate and the fragments' length.
    start_seconds : float >= 0
        Where the song begins in the file.
    end_seconds : float or None
        Where it ends; None means at the file's end.

    Yields
    ------
    item : Fragment or SongSummary
        At least one fragment that is not silent; the ending is the last item.

    Raises
    ------
    AudioError
        If the file cannot be decoded, is silent or too short: then what was given before is void.
    """
    for item in read_with_signs(path, spec, start_seconds, end_seconds):
        if item is not None:
            yield item


def read_with_signs(
    path: str | Path, spec: MelSpec, start_seconds: float = 0.0, end_seconds: float | None = None
) -> Generator[Fragment | SongSummary | None, None, None]:
    """Read a song as `read` does; None is a sign of life while what lies before the song is decoded.

    Parameters
    ----------
    path : str or Path
        The file.
    spec : MelSpec
        Gives the rate and the fragments' length.
    start_seconds : float >= 0
        Where the song begins in the file.
    end_seconds : float or None
        Where it ends; None means at the file's end.

    Yields
    ------
    item : Fragment or SongSummary or None
        As of `read`.

    Raises
    ------
    AudioError
        As `read` does.
    """
    sound = AudioStream(path, spec.sample_rate_hz, start_seconds, end_seconds)
    samples, filled, index, loudest = np.empty(spec.fragment_samples, np.float32), 0, 0, 0.0
    for block in sound:
        if not len(block):
            yield None
        while len(block):
            taken = block[: spec.fragment_samples - filled]
            samples[filled : filled + len(taken)] = taken
            filled, block = filled + len(taken), block[len(taken) :]
            if filled == spec.fragment_samples:
                peak = within_full_scale(samples)
                loudest = max(loudest, peak)
                yield Fragment(index, samples, False, peak < SILENCE_PEAK)
                samples, filled, index = np.empty(spec.fragment_samples, np.float32), 0, index + 1
    if not index:
        require_length(sound, spec, path)
        samples[filled:] = 0
        loudest = within_full_scale(samples)
        yield Fragment(0, samples, True, loudest < SILENCE_PEAK)
    if loudest < SILENCE_PEAK:
        raise AudioError(path, Reason.SILENT, silence(loudest))
    yield SongSummary(sound.samples / spec.sample_rate_hz, sound.header, sound.truncated)


def require_length(sound: AudioStream, spec: MelSpec, path: str | Path) -> None:
    """Refuse a song that is shorter than `MIN_SONG_SECONDS`.

    Parameters
    ----------
    sound : AudioStream
        Decoded to its end.
    spec : MelSpec
        Gives the rate.
    path : str or Path
        The file, for the error.

    Raises
    ------
    AudioError
        If it is too short, or breaks off too early.
    """
    sound.refuse_if_empty()
    seconds = sound.samples / spec.sample_rate_hz
    if sound.samples >= MIN_SONG_SECONDS * spec.sample_rate_hz:
        return
    least = f"expected at least {MIN_SONG_SECONDS:.0f} s"
    if sound.truncated:
        declared = sound.header.declared_seconds
        whole = f" of {declared:.1f}" if declared is not None and declared > seconds else ""
        raise AudioError(path, Reason.TRUNCATED, f"breaks off: decoded {seconds:.1f}{whole} s, {least}")
    raise AudioError(path, Reason.TOO_SHORT, f"lasts {seconds:.1f} s, {least}")


def fragment_count(seconds: float, spec: MelSpec) -> int:
    """Count the fragments that `read` makes of a song.

    Parameters
    ----------
    seconds : float >= 0
        Length of the song, in seconds.
    spec : MelSpec
        Says how long a fragment is.

    Returns
    -------
    int
        Number of fragments; 0 where `read` refuses the song.

    Examples
    --------
    >>> [fragment_count(seconds, MelSpec()) for seconds in (2.9, 3.0, 59.9, 60.0)]
    [0, 1, 1, 2]
    """
    samples = round(seconds * spec.sample_rate_hz)
    if samples < MIN_SONG_SECONDS * spec.sample_rate_hz:
        return 0
    return max(1, samples // spec.fragment_samples)
