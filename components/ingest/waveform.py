"""Decode an audio file to mono float32 samples.

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
"""Audio whose largest magnitude is below this (−80 dBFS) is silence."""

_LEAD_SECONDS = 1.0  # decoded before a part, since mp3 frames and resampled samples depend on earlier ones


class _NotFiniteError(DecoderError):
    """The input decodes to NaN or infinity."""


@dataclasses.dataclass(frozen=True, eq=False)
class Waveform:
    """The audio of a file.

    Parameters
    ----------
    samples : np.ndarray [shape=(n,), dtype=float32]
        Mono samples in [-1, 1].
    sample_rate_hz : int
        Sampling rate of the samples, in Hz.
    declared_seconds : float or None
        Length that the file's header declares, in seconds: a hint; None if it declares none.
    truncated : bool
        The file ends early: its last frame, page or chunk is incomplete.
    """

    samples: np.ndarray
    sample_rate_hz: int
    declared_seconds: float | None
    truncated: bool

    @property
    def duration_seconds(self) -> float:
        """Length of the samples, in seconds."""
        return len(self.samples) / self.sample_rate_hz


class AudioStream:
    """A part of a file as mono samples, decoded while its blocks are iterated over, once.

    Memory is bounded however long the file is. The samples are exactly those of decoding the whole file: a decoder that
    can seek starts at least `_LEAD_SECONDS` before the part, on a whole second of the file; any other decodes the file
    from its beginning.

    Parameters
    ----------
    path : str or Path
        The file.
    sample_rate_hz : int
        Sampling rate of the samples, in Hz.
    start_seconds : float >= 0
        Start of the part in the file.
    end_seconds : float or None
        End of the part; None means the end of the file.

    Attributes
    ----------
    header : Probe
        The file's header; available after the first block. Errors of opening are raised with the first block, too.
    samples : int
        Number of samples that were yielded so far.
    failure : Exception or None
        Why decoding stopped before the end of the file, if it did.
    truncated : bool
        Whether the file ends early, known after the last block. This depends on the file's last bytes, not on the
        length that it declares.
    decoded_seconds : float
        Position in the file at which decoding ended.
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
        """Decode the part.

        Yields
        ------
        block : np.ndarray [shape=(n,), dtype=float32]
            The next samples, see `downmix`; n differs from block to block. Blocks may be empty while audio before the
            part is decoded, so that a timeout is not reached.

        Raises
        ------
        AudioError
            If the file does not exist or contains no audio.
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
                if block_rate != rate:  # the file is a concatenation of streams of different rates
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
        """Raise an error with the cause if no sample was decoded.

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
            message = f"is damaged: decoding failed at its start ({self.failure})"
            raise AudioError(self._path, Reason.DAMAGED, message) from self.failure
        where = (
            f" after {self._start / self._rate:.1f} s: it ends at {self.decoded_seconds:.1f} s" if self._start else ""
        )
        raise AudioError(self._path, Reason.NO_AUDIO, f"holds no samples{where}")


def decode(path: str | Path, sample_rate_hz: int) -> Waveform:
    """Decode a whole file to mono at the given rate; `fragments.read` does so with bounded memory.

    Channels are mixed, see `downmix`. A file that exceeds full scale is scaled down, not clipped. A file that can be
    decoded only in part is used as far as possible and flagged, see `AudioStream.truncated`.

    Parameters
    ----------
    path : str or Path
        The file.
    sample_rate_hz : int
        Sampling rate of the result, in Hz.

    Returns
    -------
    Waveform
        Samples in [-1, 1] and their metadata.

    Raises
    ------
    AudioError
        If the file does not exist, contains no audio, or only silence.
    """
    sound = AudioStream(path, sample_rate_hz)
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
    """Scale samples down, in place, if they exceed full scale.

    Parameters
    ----------
    samples : np.ndarray [shape=(n,), dtype=float32]
        Finite samples, n > 0; afterwards in [-1, 1].

    Returns
    -------
    peak : float
        The largest magnitude before scaling.
    """
    peak = float(max(samples.max(), -samples.min()))
    if peak > 1:
        samples /= peak
    return peak


def silence(peak: float) -> str:
    """Describe a silent file in a sentence for `AudioError`.

    Parameters
    ----------
    peak : float
        Its largest magnitude.

    Returns
    -------
    sentence : str
        The description, without the file's name.
    """
    return f"is silent: its peak is {peak:.1e}, expected at least {SILENCE_PEAK:.0e} of full scale"
