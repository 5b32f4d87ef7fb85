"""Mel image → aggregate features: timbre, onsets and rhythm of a fragment, in named columns.

After Bergstra, Casagrande, Erhan, Eck & Kégl, "Aggregate features and AdaBoost for music classification" (Machine
Learning 65, 2006). As in the paper, features of single frames are aggregated to their mean and spread over segments of
a few seconds, longer than a frame and shorter than a song. Differences:

- the features come from the mel image, not from the waveform: MFCC, centroid, spread and rolloff have a counterpart
  there; Fourier, cepstral and linear prediction coefficients and the rate of zero crossings have none and are left out;
  flatness, contrast by octave, deltas of the MFCC and onset strength are added;
- the spread is the standard deviation, not the variance;
- the paper classifies each segment and lets a song's segments vote; here segments are averaged first, since there is
  one prediction for a fragment, and a song's fragments vote;
- the beat columns of `trainer.rhythm` are added, since tropical genres differ by rhythm.

Definitions are librosa's wherever it has one, with mel bands in place of the bins of a spectrum. Units keep every
column below 1000 in magnitude, so that float16, which rounds by 0.05 %, can hold it: dB, kHz, octaves and correlations.
There are no weights.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from tumbao.schema.mel_spec import FINE
from tumbao.trainer.lazy import keras, ops
from tumbao.trainer.rhythm import PARTS, beat_columns, beat_names, centres_khz, decibel_frames, part_onsets

SEGMENTS = 8
"""Segments in a fragment: 3.74 s each of 30 s. The last few frames, which do not fill one, serve the rhythm only."""

_MFCC = 20
_DELTA_REACH = 4  # frames on both sides, librosa's width of 9
_ROLLOFF_SHARE = 0.85
_LOWEST_OCTAVE_HZ = 200.0

_NEPERS_PER_DB = math.log(10) / 20

Tensor = Any
"""Keras' symbolic tensors have no type of their own."""


def descriptors() -> keras.Model:
    """Build the model, which has no weights.

    Images of `FINE` [n, height, width, 3], RGB, uint8 or float in 0..255 → features float32 [n, 167], finite, in the
    order of `descriptor_names`.
    """
    from scipy.fft import dct

    image, decibels = decibel_frames()
    cosines = dct(np.eye(FINE.mel_bands, dtype=np.float32), norm="ortho")[:, :_MFCC]
    cepstrum = ops.matmul(decibels, cosines)
    onsets = part_onsets(decibels)
    frames = ops.concatenate([cepstrum, *_spectral_shape(decibels), onsets], axis=-1)
    segments, deltas = _segments(frames), _deltas(_segments(cepstrum))
    aggregates = [ops.mean(segments, axis=2), ops.std(segments, axis=2), ops.std(deltas, axis=2)]
    means = [ops.mean(aggregate, axis=1) for aggregate in aggregates]
    outputs = ops.concatenate([*means, *beat_columns(onsets)], axis=-1)
    return keras.Model(image, outputs, name="descriptors")


def descriptor_names() -> tuple[str, ...]:
    """Return the names of the d columns, such as "centroid_khz_mean" or "bass_again_after_1/2_beat"."""
    cepstrum = [f"mfcc_{index}_db" for index in range(_MFCC)]
    shape = ["centroid_khz", "bandwidth_khz", "rolloff_khz", "flatness_db"]
    contrasts = [f"contrast_from_{start:.0f}_hz_db" for start in (0.0, *_octaves_hz())]
    onsets = [f"{name}_onset_db" for name in PARTS]
    frames = [*cepstrum, *shape, *contrasts, *onsets]
    return (
        *(f"{name}_mean" for name in frames),
        *(f"{name}_deviation" for name in frames),
        *(f"{name}_delta_deviation" for name in cepstrum),
        *beat_names(),
    )


def _octaves_hz() -> np.ndarray:
    """Lower edges of the octaves, without the part below the first one."""
    edges = _LOWEST_OCTAVE_HZ * 2.0 ** np.arange(16)
    return edges[edges < FINE.mel_max_hz]


def _spectral_shape(decibels: Tensor) -> list[Tensor]:
    """Compute centroid, bandwidth, rolloff, flatness and a contrast for each octave, each [n, frames, columns]."""
    centres = centres_khz()
    magnitudes = ops.exp(decibels * _NEPERS_PER_DB)
    shares = magnitudes / ops.sum(magnitudes, axis=-1, keepdims=True)
    centroid = ops.matmul(shares, centres[:, np.newaxis])
    bandwidth = ops.sqrt(ops.sum(shares * ops.square(centroid - centres), axis=-1, keepdims=True))
    below = ops.matmul(shares, np.triu(np.ones((FINE.mel_bands, FINE.mel_bands), np.float32)))[..., :-1]
    passed = ops.cast(below < _ROLLOFF_SHARE, "float32")
    rolloff = float(centres[0]) + ops.matmul(passed, np.diff(centres)[:, np.newaxis])
    power = ops.mean(ops.square(magnitudes), axis=-1, keepdims=True)
    flatness = ops.mean(decibels, axis=-1, keepdims=True) - ops.log(power) / (2 * _NEPERS_PER_DB)
    # as in librosa, an octave includes the band below it, and its last band belongs to the next octave
    edges = [0, *(np.searchsorted(centres, _octaves_hz() / 1e3) - 1), FINE.mel_bands]
    octaves = [decibels[..., start:end] for start, end in itertools.pairwise(edges)]
    contrasts = [ops.max(octave, -1, keepdims=True) - ops.min(octave, -1, keepdims=True) for octave in octaves]
    return [centroid, bandwidth, rolloff, flatness, *contrasts]


def _segments(frames: Tensor) -> Tensor:
    """Reshape [n, frames, columns] to [n, SEGMENTS, frames, columns]."""
    length = frames.shape[1] // SEGMENTS
    return ops.reshape(frames[:, : SEGMENTS * length], (-1, SEGMENTS, length, frames.shape[2]))


def _deltas(segments: Tensor) -> Tensor:
    """Slope per frame of the line fitted through each frame and its neighbours, for frames that have all of them."""
    length = segments.shape[2] - 2 * _DELTA_REACH
    neighbours = [segments[:, :, start : start + length] for start in range(2 * _DELTA_REACH + 1)]
    steps = range(-_DELTA_REACH, _DELTA_REACH + 1)
    norm = sum(step**2 for step in steps)
    return sum(step / norm * neighbour for step, neighbour in zip(steps, neighbours, strict=True) if step)
