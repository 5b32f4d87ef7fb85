"""Decode an audio file to mono float32 samples.

`downmix` mixes the channels and soxr resamples, block by block: a ten-hour file takes no more memory than a short one.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from tumbao.components.ingest.audio_error import AudioError, Reason
from tumbao.components.ingest.audio_file import Block, DecoderError, Probe, open_audio
from tumbao.components.ingest.downmix import downmix

_LEAD_SECONDS = 1.0  # decoded before a part, since mp3 frames and resampled samples depend on earlier ones


class _NotFiniteError(DecoderError):
    """The input decodes to NaN or infinity."""


class AudioStream:
    """A part of a file as mono samples, decoded while its blocks are iterated over, once.

    The samples are exactly those of decoding the whole file: a decoder that can seek starts at least `_LEAD_SECONDS`
    before the part, on a whole second of the file; any other decodes the file from its beginning.

    `header` is available after the first block. `samples` is the number of samples that were yielded so far,
    `decoded_seconds` the position in the file at which decoding ended, `failure` why it stopped before the end of the
    file, if it did. `truncated` is valid after the last block.
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
        """Decode the part in blocks, float32 [n]; blocks may be empty while audio before the part is decoded."""
        left = math.inf
        if self._end_seconds is not None:
            left = round(self._end_seconds * self._rate) - self._start
        with self._open() as file:
            self.header = file.header
            rate = file.header.sample_rate_hz
            lead = max(0.0, self._start / self._rate - _LEAD_SECONDS)
            first = int(lead) * rate  # a whole second of the file, as `downmix` expects
            skip = self._start - first * self._rate // rate
            for block in self._resampled(file.blocks(first)):
                part = block[skip:]
                skip -= len(block) - len(part)
                part = part[: int(min(left, len(part)))]
                left -= len(part)
                self.samples += len(part)
                yield part
                if left <= 0:
                    return
            self.truncated = file.truncated or self.failure is not None
            self.decoded_seconds = file.decoded_seconds

    def _open(self) -> contextlib.AbstractContextManager[Any]:
        return open_audio(self._path)

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
        """Raise an AudioError with the cause if no sample was decoded."""
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


class SampleStream(AudioStream):
    """Samples in memory, float [channels, n] at `rate_hz`, as mono samples at `sample_rate_hz`."""

    truncated = False

    def __init__(self, samples: np.ndarray, rate_hz: int, sample_rate_hz: int) -> None:
        super().__init__("samples", sample_rate_hz)
        self._samples = samples
        self.header = Probe(samples.shape[1] / rate_hz, rate_hz, len(samples), "samples")

    def blocks(self, first: int) -> Iterator[Block]:
        """Yield the samples from `first` on, a second a block, as `AudioFile.blocks` does."""
        rate, length = self.header.sample_rate_hz, self._samples.shape[1]
        for start in range(first, length, rate):
            yield Block(self._samples[:, start : start + rate].astype(np.float32), rate)
        self.decoded_seconds = length / rate

    def _open(self) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext(self)
