"""Mel image → rhythm of a fragment, in named columns that do not depend on timbre and hardly on the tempo.

There are two groups of columns:

- Beat columns: the tempo, the autocorrelation of the onsets of bass, voices and percussion at parts and multiples of a
  beat, and the autocorrelation of all onsets by lag.
- Patterns: for each of seven bands, the magnitude of the scale transform of the onsets' autocorrelation, after
  Holzapfel & Stylianou, "Scale transform in rhythmic similarity of music" (IEEE TASLP 19, 2011). The autocorrelation is
  sampled at lags with logarithmic steps, so another tempo shifts it, and the magnitude of its Fourier transform hardly
  changes. The onsets are whitened first: a running mean is subtracted and the result divided by a running deviation, so
  that equalisation, compression and loudness matter little. Each band has unit norm: patterns are compared by shape.

Definitions are librosa's wherever it has one. Every column is below 1000 in magnitude, so that float16 can hold it.
There are no weights.
"""

from __future__ import annotations

import fractions
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tumbao.schema.mel_spec import FINE
from tumbao.trainer.colormap_inverse import levels
from tumbao.trainer.lazy import keras, ops

PARTS = ("all", "bass", "voices", "percussion")
"""Parts of the spectrum whose onsets have beat columns."""

_PARTS_HZ = ((0.0, math.inf), (0.0, 200.0), (200.0, 1_600.0), (1_600.0, math.inf))

_STEPS_PER_OCTAVE = 48  # of the lags: 3/2 of a lag is 28.08 steps away
_SHORTEST_LAG_SECONDS = 1 / 16
_LAG_OCTAVES = 6
_LEAST_REACH_FRAMES, _REACH = 2, 0.02  # width around a lag: minimum in frames, share of the lag
_POOLED_STEPS = 8
_FASTEST_BPM, _TEMPO_OCTAVES, _USUAL_BPM = 240.0, 2, 120.0  # the usual tempo is librosa's prior
_BEATS = ("1/4", "1/3", "1/2", "2/3", "3/4", "1", "3/2", "2", "3", "4")

_BANDS_HZ = (0.0, 120.0, 250.0, 500.0, 1_000.0, 2_000.0, 4_000.0, 8_000.0)
_MEAN_SECONDS, _DEVIATION_SECONDS = 1.0, 4.0  # of the whitening
_PATTERN_STEPS_PER_OCTAVE = 24
_SCALES = 39

Tensor = Any
"""Keras' symbolic tensors have no type of their own."""


def rhythm() -> keras.Model:
    """Build the model, which has no weights.

    Images of `FINE` [n, height, width, 3], RGB, uint8 or float in 0..255 → features float32 [n, 350], finite, in the
    order of `rhythm_names`.
    """
    image, decibels = decibel_frames()
    columns = [*beat_columns(part_onsets(decibels)), _patterns(decibels)]
    return keras.Model(image, ops.concatenate(columns, axis=-1), name="rhythm")


def rhythm_names() -> tuple[str, ...]:
    """Return the names of the columns, such as "bass_again_after_1/2_beat" or "120_to_250_hz_scale_7"."""
    bands = [f"{low:.0f}_to_{high:.0f}_hz" for low, high in itertools.pairwise(_BANDS_HZ)]
    return (*beat_names(), *(f"{band}_scale_{scale}" for band in bands for scale in range(1, _SCALES + 1)))


def beat_names() -> tuple[str, ...]:
    """Return the names of the beat columns."""
    pooled = _lags_seconds(_STEPS_PER_OCTAVE)[:-1].reshape(-1, _POOLED_STEPS)[:, _POOLED_STEPS // 2]
    return (
        "tempo_octaves_over_60_bpm",
        *(f"{name}_again_after_{beats}_beat" for beats in _BEATS for name in PARTS),
        *(f"all_again_after_{1_000 * seconds:.0f}_ms" for seconds in pooled),
    )


def decibel_frames() -> tuple[Tensor, Tensor]:
    """Return a symbolic image and its mel frames in dB below the fragment's maximum, [n, frames, bands]."""
    mel = levels(FINE)
    return mel.input, FINE.dynamic_range_db * (mel.output - 1.0)


def centres_khz() -> np.ndarray:
    """Centre frequency of each mel band, [bands]."""
    import librosa

    edges = librosa.mel_frequencies(FINE.mel_bands + 2, fmin=FINE.mel_min_hz, fmax=FINE.mel_max_hz)
    return (edges[1:-1] / 1_000).astype(np.float32)


def part_onsets(decibels: Tensor) -> Tensor:
    """Compute the onset strength of each of `PARTS`, [n, frames, parts]."""
    return _onsets(decibels, _PARTS_HZ)


def _onsets(decibels: Tensor, bands_hz: Sequence[tuple[float, float]]) -> Tensor:
    """Compute the mean rise from the previous frame in each band, [n, frames, bands], 0 in the first frame."""
    rises = ops.relu(decibels[:, 1:] - decibels[:, :-1])
    edges = np.searchsorted(centres_khz(), np.array(bands_hz) / 1e3)
    rows = np.arange(FINE.mel_bands)[:, np.newaxis]
    inside = ((rows >= edges[:, 0]) & (rows < edges[:, 1])).astype(np.float32)
    return ops.pad(ops.matmul(rises, inside / inside.sum(axis=0)), [[0, 0], [1, 0], [0, 0]])


def _lags_seconds(steps_per_octave: int) -> np.ndarray:
    return _SHORTEST_LAG_SECONDS * 2.0 ** (np.arange(_LAG_OCTAVES * steps_per_octave + 1) / steps_per_octave)


def _near(lags: np.ndarray) -> np.ndarray:
    """Weights of whole lags for each of `lags`, in frames: [whole lags, lags], with columns that sum to 1.

    Each lag is a weighted mean of those around it, with weights that decrease with the distance: musicians are not
    exact, and no lag between two points of the grid is missed.
    """
    reach = np.maximum(_LEAST_REACH_FRAMES, _REACH * lags)
    whole = np.arange(math.ceil(lags[-1] + reach[-1]))
    near = np.maximum(0, 1 - np.abs(whole[:, np.newaxis] - lags) / reach)
    return (near / near.sum(axis=0)).astype(np.float32)


def _autocorrelation(onsets: Tensor, steps_per_octave: int) -> Tensor:
    """Autocorrelation of onsets [n, frames, bands] at lags with logarithmic steps, [n, bands, lags]; 1 at lag 0."""
    near = _near(_lags_seconds(steps_per_octave) * FINE.sample_rate_hz / FINE.hop_samples)
    size = 2 ** math.ceil(math.log2(FINE.frames + len(near)))
    centred = ops.transpose(onsets - ops.mean(onsets, axis=1, keepdims=True), (0, 2, 1))
    real, imaginary = ops.rfft(centred, fft_length=size)
    power = ops.square(real) + ops.square(imaginary)
    # TFLite has no inverse transform; that of a power spectrum, which is real and symmetric, is the transform itself
    correlation, _ = ops.rfft(ops.concatenate([power, ops.flip(power[..., 1:-1], axis=-1)], axis=-1), fft_length=size)
    energy = ops.maximum(correlation[..., :1], keras.config.epsilon())
    return ops.matmul(correlation[..., : len(near)] / energy, near)


def beat_columns(onsets: Tensor) -> list[Tensor]:
    """Compute the beat columns from the onsets of `PARTS`: tempo, parts of a beat and lags, each [n, columns]."""
    lags = _lags_seconds(_STEPS_PER_OCTAVE)
    correlation = _autocorrelation(onsets, _STEPS_PER_OCTAVE)
    start = round(math.log2(60 / _FASTEST_BPM / _SHORTEST_LAG_SECONDS) * _STEPS_PER_OCTAVE)
    candidates = slice(start, start + _TEMPO_OCTAVES * _STEPS_PER_OCTAVE + 1)
    octaves = np.log2(1 / lags[candidates]).astype(np.float32)
    usual = np.exp(-0.5 * np.square(octaves - math.log2(_USUAL_BPM / 60)))
    likely = correlation[:, 0, candidates] * usual
    # one-hot of the likeliest lag, shared among ties; Keras' argmax needs an operation that is no TFLite built-in
    beat = ops.cast(ops.equal(likely, ops.max(likely, axis=-1, keepdims=True)), "float32")
    beat = beat / ops.sum(beat, axis=-1, keepdims=True)
    tempo = ops.matmul(beat, octaves[:, np.newaxis])
    again = []
    for beats in _BEATS:
        shift = round(math.log2(fractions.Fraction(beats)) * _STEPS_PER_OCTAVE)
        after = correlation[:, :, candidates.start + shift : candidates.stop + shift]
        again.append(ops.sum(after * beat[:, np.newaxis], axis=-1))
    pooled = ops.mean(ops.reshape(correlation[:, 0, :-1], (-1, len(lags) // _POOLED_STEPS, _POOLED_STEPS)), axis=-1)
    return [tempo, *again, pooled]


def _patterns(decibels: Tensor) -> Tensor:
    """Compute the scale transform's magnitude of each band's autocorrelation, [n, bands · scales]."""
    onsets = _whitened(_onsets(decibels, list(itertools.pairwise(_BANDS_HZ))))
    correlation = _autocorrelation(onsets, _PATTERN_STEPS_PER_OCTAVE)[..., :-1]
    steps = correlation.shape[-1]
    angles = 2 * np.pi / steps * np.outer(np.arange(steps), np.arange(1, _SCALES + 1))
    real, imaginary = (ops.matmul(correlation, wave(angles).astype(np.float32)) for wave in (np.cos, np.sin))
    power = ops.square(real) + ops.square(imaginary)
    norm = ops.maximum(ops.sum(power, axis=-1, keepdims=True), 1e-12)
    return ops.reshape(ops.sqrt(power / norm), (-1, (len(_BANDS_HZ) - 1) * _SCALES))


def _whitened(onsets: Tensor) -> Tensor:
    """Subtract a running mean from onsets [n, frames, bands], and divide by a running deviation."""

    def running_mean(values: Tensor, seconds: float) -> Tensor:
        frames = 2 * round(seconds * FINE.sample_rate_hz / FINE.hop_samples / 2) + 1
        return keras.layers.AveragePooling1D(frames, strides=1, padding="same")(values)

    centred = onsets - running_mean(onsets, _MEAN_SECONDS)
    deviation = ops.sqrt(running_mean(ops.square(centred), _DEVIATION_SECONDS))
    return centred / ops.maximum(deviation, 1e-3)
