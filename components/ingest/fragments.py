"""Cut songs into consecutive fragments of 30 seconds.

Fragments do not overlap. The tail that does not fill a fragment is left out, in training and in prediction alike. A
song shorter than one fragment is repeated until the fragment is full, and flagged; one shorter than `MIN_SONG_SECONDS`
is rejected. A silent fragment is flagged: it carries no information about the genre.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

import numpy as np

from tumbao.components.ingest.audio_error import AudioError, Reason
from tumbao.components.ingest.audio_file import Probe
from tumbao.components.ingest.waveform import AudioStream, SampleStream
from tumbao.schema.mel_spec import MelSpec

MIN_SONG_SECONDS = 3.0
"""Minimum length of a song, in seconds: a shorter one carries too little information about its genre."""

SILENCE_PEAK = 1e-4
"""Audio whose largest magnitude is below this (−80 dBFS) is silence."""


@dataclasses.dataclass(frozen=True, eq=False)
class Fragment:
    """A piece of a song, of the length of the model's input.

    `index` counts from 0 in the part that is read. `samples`, float32 [spec.fragment_samples], are mono, in [-1, 1].
    `silent`: no sample is louder than `SILENCE_PEAK`. `played`: number of samples of the song; the rest repeats them.
    """

    index: int
    samples: np.ndarray
    silent: bool
    played: int

    @property
    def padded(self) -> bool:
        """Whether the song is shorter than the fragment, and is repeated."""
        return self.played < len(self.samples)


@dataclasses.dataclass(frozen=True)
class SongSummary:
    """The properties of a song that are known after its last fragment; `seconds` includes the tail."""

    seconds: float
    header: Probe
    truncated: bool


class Fragments:
    """An iterable of the fragments of `read`, for a single pass; `ending` is set after the last one."""

    ending: SongSummary

    def __init__(self, items: Iterable[Fragment | SongSummary]) -> None:
        self._items = items

    def __iter__(self) -> Iterator[Fragment]:
        for item in self._items:
            if isinstance(item, SongSummary):
                self.ending = item
            else:
                yield item


def read(
    path: str | Path, spec: MelSpec, start_seconds: float = 0.0, end_seconds: float | None = None
) -> Generator[Fragment | SongSummary, None, None]:
    """Read a song, or a part of a file, fragment by fragment; the summary is the last item.

    A fragment that exceeds full scale is scaled down, not clipped. Yields at least one fragment that is not silent.
    Raises AudioError if the file cannot be decoded, is silent or too short: discard the fragments that were yielded
    before.
    """
    for item in read_with_heartbeat(path, spec, start_seconds, end_seconds):
        if item is not None:
            yield item


def read_with_heartbeat(
    path: str | Path, spec: MelSpec, start_seconds: float = 0.0, end_seconds: float | None = None
) -> Generator[Fragment | SongSummary | None, None, None]:
    """Read a song as `read` does, and yield None at times while the sound before it is decoded, for worker timeouts."""
    return _cut(AudioStream(path, spec.sample_rate_hz, start_seconds, end_seconds), spec, path)


def read_samples(samples: np.ndarray, rate_hz: int, spec: MelSpec) -> Iterator[Fragment | SongSummary]:
    """Read a song in memory, float [channels, n], as `read` does; errors name it `samples`."""
    for item in _cut(SampleStream(samples, rate_hz, spec.sample_rate_hz), spec, "samples"):
        if item is not None:
            yield item


def _cut(sound: AudioStream, spec: MelSpec, path: str | Path) -> Generator[Fragment | SongSummary | None, None, None]:
    samples, filled, index, loudest = np.empty(spec.fragment_samples, np.float32), 0, 0, 0.0
    for block in sound:
        if not len(block):
            yield None
        while len(block):
            taken = block[: spec.fragment_samples - filled]
            samples[filled : filled + len(taken)] = taken
            filled, block = filled + len(taken), block[len(taken) :]
            if filled == spec.fragment_samples:
                peak = _scale_down(samples)
                loudest = max(loudest, peak)
                yield Fragment(index, samples, peak < SILENCE_PEAK, filled)
                samples, filled, index = np.empty(spec.fragment_samples, np.float32), 0, index + 1
    if not index:
        require_length(sound, spec, path)
        samples = np.resize(samples[:filled], spec.fragment_samples)
        loudest = _scale_down(samples)
        yield Fragment(0, samples, loudest < SILENCE_PEAK, filled)
    if loudest < SILENCE_PEAK:
        message = f"is silent: its peak is {loudest:.1e}, expected at least {SILENCE_PEAK:.0e} of full scale"
        raise AudioError(path, Reason.SILENT, message)
    yield SongSummary(sound.samples / spec.sample_rate_hz, sound.header, sound.truncated)


def _scale_down(samples: np.ndarray) -> float:
    """Scale samples down, in place, if they exceed full scale; return their peak before."""
    peak = float(max(samples.max(), -samples.min()))
    if peak > 1:
        samples /= peak
    return peak


def require_length(sound: AudioStream, spec: MelSpec, path: str | Path) -> None:
    """Raise an `AudioError` for a decoded song that is shorter than `MIN_SONG_SECONDS`, or is cut off before that."""
    sound.refuse_if_empty()
    seconds = sound.samples / spec.sample_rate_hz
    if sound.samples >= MIN_SONG_SECONDS * spec.sample_rate_hz:
        return
    least = f"expected at least {MIN_SONG_SECONDS:.0f} s"
    if sound.truncated:
        declared = sound.header.declared_seconds
        raise AudioError(path, Reason.TRUNCATED, f"breaks off: decoded {decoded_part(seconds, declared)}, {least}")
    raise AudioError(path, Reason.TOO_SHORT, f"lasts {seconds:.1f} s, {least}")


def decoded_part(seconds: float, declared: float | None) -> str:
    """Format how much of a truncated song was decoded, and of how much, if that differs by a tenth of a second.

    Examples
    --------
    >>> decoded_part(9.84, 12.5), decoded_part(9.84, 9.81), decoded_part(9.84, None)
    ('9.8 of 12.5 s', '9.8 s', '9.8 s')
    """
    whole = f" of {declared:.1f}" if declared is not None and round(declared, 1) > round(seconds, 1) else ""
    return f"{seconds:.1f}{whole} s"


def fragment_count(seconds: float, spec: MelSpec) -> int:
    """Return the number of fragments that `read` yields for a song; 0 if it is too short.

    Examples
    --------
    >>> [fragment_count(seconds, MelSpec()) for seconds in (2.9, 3.0, 59.9, 60.0)]
    [0, 1, 1, 2]
    """
    samples = round(seconds * spec.sample_rate_hz)
    if samples < MIN_SONG_SECONDS * spec.sample_rate_hz:
        return 0
    return max(1, samples // spec.fragment_samples)
