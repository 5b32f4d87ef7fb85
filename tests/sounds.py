"""Write and decode whole audio files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import av
import numpy as np

from tumbao.components.ingest.waveform import AudioStream

RATE = 22_050


@dataclasses.dataclass(frozen=True, eq=False)
class Waveform:
    samples: np.ndarray
    duration_seconds: float
    declared_seconds: float | None
    truncated: bool


def decode(path: Path, rate: int = RATE) -> Waveform:
    stream = AudioStream(path, rate)
    samples = np.concatenate([np.empty(0, np.float32), *stream])
    stream.refuse_if_empty()
    return Waveform(samples, len(samples) / rate, stream.header.declared_seconds, stream.truncated)


def strongest_hz(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(spectrum.argmax() * RATE / len(samples))


def write_libav(
    path: Path,
    samples: np.ndarray,
    rate: int,
    codec: str,
    sample_format: str = "",
    layout: str = "stereo",
    **options: str,
) -> Path:
    """Write float32 [n] to all channels with PyAV."""
    channels = len(av.AudioLayout(layout).channels)
    to_format = av.AudioResampler(format=sample_format or "fltp", layout=layout, rate=rate)
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout, stream.bit_rate = layout, 64_000 * channels
        if sample_format:
            stream.format = sample_format
        for start in range(0, len(samples), 1024):
            block = np.stack([samples[start : start + 1024]] * channels)
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = rate, start
            for converted in to_format.resample(frame):
                container.mux(stream.encode(converted))
        container.mux(stream.encode(None))
    return path
