"""Decode a file to mono float32 samples.

`downmix` mixes the channels and soxr resamples, block by block: a ten-hour file takes no more memory than a short one.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soxr

from tumbao.components.ingest.audio_error import AudioError, Reason
from tumbao.components.ingest.audio_file import Block, DecoderError, Probe, open_audio
from tumbao.components.ingest.downmix import downmix

SILENCE_PEAK = 1e-4
"""Sound whose loudest sample is fainter than this (−80 dBFS) is silence."""

_LEAD_SECONDS = 1.0  # decoded before a part: mp3 frames and resampled samples depend on those before them


class _NotFiniteError(DecoderError):
    """The input decodes to NaN or infinity."""


@dataclasses.dataclass(frozen=True, eq=False)
class Waveform:
    """The sound of a file.

    Parameters
    ----------
    samples : np.ndarray [shape=(n,), dtype=float32]
        Mono samples in [-1, 1].
    sample_rate_hz : int
        Sampling rate of the samples, in Hz.
    declared_seconds : float or None
        Length that the file's header declares, in seconds: a hint; None where it does not tell.
    truncated : bool
        The file breaks off: its last frame, page or chunk is not whole.
    """

    samples: np.ndarray
    sample_rate_hz: int
    declared_seconds: float | None
    truncated: bool

    @property
    def duration_seconds(self) -> float:
        """Length of the samples, in seconds."""
        return len(self.samples) / self.sample_rate_hz


class Sound:
    """A part of a file as mono samples, decoded while one goes over its blocks, once.

    Memory is bounded however long the file is. The samples are those of the whole file's decoding, to the last one:
    where a decoder can jump to the part it begins at least `_LEAD_SECONDS` before it, on a whole second of the file,
    and where it cannot it decodes what lies before.

    Parameters
    ----------
    path : str or Path
        The file.
    sample_rate_hz : int
        Sampling rate of the samples, in Hz.
    start_seconds : float >= 0
        Where the part begins in the file.
    end_seconds : float or None
        Where it ends; None means at the file's end.

    Attributes
    ----------
    header : Probe
        What the file declares; known once the first block is there, as are the errors of opening.
    samples : int
        How many samples were given so far.
    failure : Exception or None
        Why decoding stopped before the end of the file, if it did.
    truncated : bool
        Whether the file breaks off, known after the last block. It is judged from the file's last bytes, never from
        the length that it declares.
    decoded_seconds : float
        Where in the file decoding ended.
    """

    header: Probe

    def __init__(
        self, path: str | Path, sample_rate_hz: int, start_seconds: float = 0.0, end_seconds: float | None = None
    ) -> None:
        self._path = Path(path)
        self._rate = sample_rate_hz
        self._start = round(start_seconds * sample_rate_hz)
        self._end_seconds = end_seconds
        self.samples = 0
        self.failure: Exception | None = None
        self.truncated = False
        self.decoded_seconds = 0.0

    def __iter__(self) -> Iterator[np.ndarray]:
        """Decode.

        Yields
        ------
        block : np.ndarray [shape=(n,), dtype=float32]
            The next samples, see `downmix`; n differs from block to block. It is 0 now and then while what lies
            before the part is decoded, as a sign of life.

        Raises
        ------
        AudioError
            If there is no file, or no audio in it.
        """
        left = math.inf
        if self._end_seconds is not None:
            left = round(self._end_seconds * self._rate) - self._start
        with open_audio(self._path) as file:
            self.header = file.header
            rate = file.header.sample_rate_hz
            lead = max(0.0, self._start / self._rate - _LEAD_SECONDS)
            first = int(lead) * rate  # a whole second of the file, as `downmix` expects
            skip = self._start - first * self._rate // rate
            for block in self._resampled(file.blocks(first)):
                kept = block[skip:]
                skip -= len(block) - len(kept)
                kept = kept[: int(min(left, len(kept)))]
                left -= len(kept)
                self.samples += len(kept)
                yield kept
                if left <= 0:
                    return
            self.truncated = file.truncated or self.failure is not None
            self.decoded_seconds = file.decoded_seconds

    def _resampled(self, blocks: Iterator[Block]) -> Iterator[np.ndarray]:
        rate, nothing = self.header.sample_rate_hz, np.empty(0, np.float32)
        stream = soxr.ResampleStream(rate, self._rate, num_channels=1, quality="HQ")
        try:
            for mono, block_rate in downmix(blocks):
                if block_rate != rate:  # files of several rates were written one after the other
                    yield stream.resample_chunk(nothing, last=True)
                    rate = block_rate
                    stream = soxr.ResampleStream(rate, self._rate, num_channels=1, quality="HQ")
                if not np.isfinite(mono).all():
                    raise _NotFiniteError("samples that are not finite numbers")
                yield stream.resample_chunk(mono)
        except DecoderError as error:
            self.failure = error
        yield stream.resample_chunk(nothing, last=True)

    def refuse_if_empty(self) -> None:
        """Refuse a file of which nothing was decoded, with what is wrong with it.

        Raises
        ------
        AudioError
            If there was no sample.
        """
        if self.samples:
            return
        if isinstance(self.failure, _NotFiniteError):
            raise AudioError(self._path, Reason.NOT_FINITE, "holds samples that are not finite numbers")
        if self.failure:
            sentence = f"is damaged: decoding failed at its start ({self.failure})"
            raise AudioError(self._path, Reason.DAMAGED, sentence) from self.failure
        where = (
            f" after {self._start / self._rate:.1f} s: it ends at {self.decoded_seconds:.1f} s" if self._start else ""
        )
        raise AudioError(self._path, Reason.NO_AUDIO, f"holds no samples{where}")


def decode(path: str | Path, sample_rate_hz: int) -> Waveform:
    """Decode a whole file to mono at the given rate; `fragments.read` does it with bounded memory.

    Channels are mixed, see `downmix`. A file that goes beyond full scale is scaled down, not clipped. A file that can
    be read only in part is used as far as it goes and flagged, see `Sound.truncated`.

    Parameters
    ----------
    path : str or Path
        The file.
    sample_rate_hz : int
        Sampling rate of the result, in Hz.

    Returns
    -------
    Waveform
        Samples in [-1, 1] and what is known about them.

    Raises
    ------
    AudioError
        If there is no file, no audio in it, or nothing but silence.
    """
    sound = Sound(path, sample_rate_hz)
    buffer = bytearray()  # grows in place: the song is held once
    for block in sound:
        buffer += block.data
    sound.refuse_if_empty()
    samples = np.frombuffer(buffer, np.float32)
    peak = within_full_scale(samples)
    if peak < SILENCE_PEAK:
        raise AudioError(path, Reason.SILENT, silence(peak))
    return Waveform(
        samples=samples,
        sample_rate_hz=sample_rate_hz,
        declared_seconds=sound.header.declared_seconds,
        truncated=sound.truncated,
    )


def within_full_scale(samples: np.ndarray) -> float:
    """Scale samples down, in place, where they go beyond full scale.

    Parameters
    ----------
    samples : np.ndarray [shape=(n,), dtype=float32]
        Finite samples, n > 0; afterwards in [-1, 1].

    Returns
    -------
    peak : float
        The largest magnitude before.
    """
    peak = float(max(samples.max(), -samples.min()))
    if peak > 1:
        samples /= peak
    return peak


def silence(peak: float) -> str:
    """Say that a file is silent.

    Parameters
    ----------
    peak : float
        Its largest magnitude.

    Returns
    -------
    sentence : str
        For `AudioError`.
    """
    return f"is silent: its peak is {peak:.1e}, expected at least {SILENCE_PEAK:.0e} of full scale"
