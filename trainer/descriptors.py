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
- rhythm is added, since tropical genres differ by it: tempo, and the autocorrelation of the onsets of bass, voices and
  percussion at parts and multiples of a beat, which does not depend on the tempo.

Definitions are librosa's wherever it has one, with mel bands in place of the bins of a spectrum. Units keep every
column below 1000 in magnitude, so that float16, which rounds by 0.05 %, can hold it: dB, kHz, octaves and correlations.
There are no weights.
"""

from __future__ import annotations

import fractions
import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tumbao.schema.mel_spec import MelSpec
from tumbao.trainer.colormap_inverse import levels

if TYPE_CHECKING:
    import keras

SEGMENTS = 8
"""Segments in a fragment: 3.74 s each of 30 s. The last few frames, which do not fill one, serve the rhythm only."""

_MFCC = 20
_DELTA_REACH = 4  # frames on both sides, librosa's width of 9
_ROLLOFF_SHARE = 0.85
_LOWEST_OCTAVE_HZ = 200.0
_ONSETS = ("all", "bass", "voices", "percussion")
_SPLIT_HZ = (200.0, 1_600.0)  # between bass, voices and percussion

_STEPS_PER_OCTAVE = 48  # of the lags: 3/2 of a lag is 28.08 steps away
_SHORTEST_LAG_SECONDS = 1 / 16
_LAG_OCTAVES = 6
_LEAST_REACH_FRAMES, _REACH = 2, 0.02  # width around a lag: minimum in frames, share of the lag
_POOLED_STEPS = 8
_FASTEST_BPM, _TEMPO_OCTAVES, _USUAL_BPM = 240.0, 2, 120.0  # the usual tempo is librosa's prior
_BEATS = ("1/4", "1/3", "1/2", "2/3", "3/4", "1", "3/2", "2", "3", "4")

_NEPERS_PER_DB = math.log(10) / 20

Tensor = Any
"""Keras' symbolic tensors have no type of their own."""


def descriptors(spec: MelSpec) -> keras.Model:
    """Build the model, which has no weights.

    Images [n, height, width, 3], RGB, uint8 or float in 0..255 → features float32 [n, d], finite, in the order of
    `descriptor_names`; d is 167 for `FINE`. The images must not be resized: one row a mel band and one column a frame,
    as with `FINE`; other specs raise ValueError.
    """
    import keras
    from keras import ops
    from scipy.fft import dct

    if (spec.image_height, spec.image_width) != (spec.mel_bands, spec.frames):
        raise ValueError(
            "Descriptors need an image with one row a mel band and one column a frame, such as that of FINE: "
            f"expected {spec.mel_bands}×{spec.frames}. Received: {spec.image_height}×{spec.image_width}"
        )
    mel = levels(spec)
    decibels = spec.dynamic_range_db * (mel.output - 1.0)
    cosines = dct(np.eye(spec.mel_bands, dtype=np.float32), norm="ortho")[:, :_MFCC]
    cepstrum = ops.matmul(decibels, cosines)
    onsets = _onsets(decibels, spec)
    frames = ops.concatenate([cepstrum, *_spectral_shape(decibels, spec), onsets], axis=-1)
    segments, deltas = _segments(frames), _deltas(_segments(cepstrum))
    aggregates = [ops.mean(segments, axis=2), ops.std(segments, axis=2), ops.std(deltas, axis=2)]
    means = [ops.mean(aggregate, axis=1) for aggregate in aggregates]
    outputs = ops.concatenate([*means, *_rhythm(onsets, spec)], axis=-1)
    return keras.Model(mel.input, outputs, name="descriptors")


def descriptor_names(spec: MelSpec) -> tuple[str, ...]:
    """Return the names of the d columns, such as "centroid_khz_mean" or "bass_again_after_1/2_beat"."""
    cepstrum = [f"mfcc_{index}_db" for index in range(_MFCC)]
    shape = ["centroid_khz", "bandwidth_khz", "rolloff_khz", "flatness_db"]
    contrasts = [f"contrast_from_{start:.0f}_hz_db" for start in (0.0, *_octaves_hz(spec))]
    onsets = [f"{name}_onset_db" for name in _ONSETS]
    frames = [*cepstrum, *shape, *contrasts, *onsets]
    pooled = _lags_seconds()[:-1].reshape(-1, _POOLED_STEPS)[:, _POOLED_STEPS // 2]
    return (
        *(f"{name}_mean" for name in frames),
        *(f"{name}_deviation" for name in frames),
        *(f"{name}_delta_deviation" for name in cepstrum),
        "tempo_octaves_over_60_bpm",
        *(f"{name}_again_after_{beats}_beat" for beats in _BEATS for name in _ONSETS),
        *(f"all_again_after_{1_000 * seconds:.0f}_ms" for seconds in pooled),
    )


def _centres_khz(spec: MelSpec) -> np.ndarray:
    """Centre frequency of each mel band, [bands]."""
    import librosa

    edges = librosa.mel_frequencies(spec.mel_bands + 2, fmin=spec.mel_min_hz, fmax=spec.mel_max_hz)
    return (edges[1:-1] / 1_000).astype(np.float32)


def _octaves_hz(spec: MelSpec) -> np.ndarray:
    """Lower edges of the octaves, without the part below the first one."""
    edges = _LOWEST_OCTAVE_HZ * 2.0 ** np.arange(16)
    return edges[edges < spec.mel_max_hz]


def _spectral_shape(decibels: Tensor, spec: MelSpec) -> list[Tensor]:
    """Compute centroid, bandwidth, rolloff, flatness and a contrast for each octave, each [n, frames, columns]."""
    from keras import ops

    centres = _centres_khz(spec)
    magnitudes = ops.exp(decibels * _NEPERS_PER_DB)
    shares = magnitudes / ops.sum(magnitudes, axis=-1, keepdims=True)
    centroid = ops.matmul(shares, centres[:, np.newaxis])
    bandwidth = ops.sqrt(ops.sum(shares * ops.square(centroid - centres), axis=-1, keepdims=True))
    below = ops.matmul(shares, np.triu(np.ones((spec.mel_bands, spec.mel_bands), np.float32)))[..., :-1]
    passed = ops.cast(below < _ROLLOFF_SHARE, "float32")
    rolloff = float(centres[0]) + ops.matmul(passed, np.diff(centres)[:, np.newaxis])
    power = ops.mean(ops.square(magnitudes), axis=-1, keepdims=True)
    flatness = ops.mean(decibels, axis=-1, keepdims=True) - ops.log(power) / (2 * _NEPERS_PER_DB)
    # as in librosa, an octave includes the band below it, and its last band belongs to the next octave
    edges = [0, *(np.searchsorted(centres, _octaves_hz(spec) / 1e3) - 1), spec.mel_bands]
    octaves = [decibels[..., start:end] for start, end in itertools.pairwise(edges)]
    contrasts = [ops.max(octave, -1, keepdims=True) - ops.min(octave, -1, keepdims=True) for octave in octaves]
    return [centroid, bandwidth, rolloff, flatness, *contrasts]


def _onsets(decibels: Tensor, spec: MelSpec) -> Tensor:
    """Compute the mean rise from the previous frame, [n, frames, onsets], 0 in the first frame."""
    from keras import ops

    rises = ops.relu(decibels[:, 1:] - decibels[:, :-1])
    first, second = np.searchsorted(_centres_khz(spec), np.array(_SPLIT_HZ) / 1e3)
    means = np.zeros((spec.mel_bands, len(_ONSETS)), np.float32)
    for column, part in enumerate((slice(None), slice(first), slice(first, second), slice(second, None))):
        means[part, column] = 1 / len(means[part])
    return ops.pad(ops.matmul(rises, means), [[0, 0], [1, 0], [0, 0]])


def _segments(frames: Tensor) -> Tensor:
    """Reshape [n, frames, columns] to [n, SEGMENTS, frames, columns]."""
    from keras import ops

    length = frames.shape[1] // SEGMENTS
    return ops.reshape(frames[:, : SEGMENTS * length], (-1, SEGMENTS, length, frames.shape[2]))


def _deltas(segments: Tensor) -> Tensor:
    """Slope per frame of the line fitted through each frame and its neighbours, for frames that have all of them."""
    length = segments.shape[2] - 2 * _DELTA_REACH
    neighbours = [segments[:, :, start : start + length] for start in range(2 * _DELTA_REACH + 1)]
    steps = range(-_DELTA_REACH, _DELTA_REACH + 1)
    norm = sum(step**2 for step in steps)
    return sum(step / norm * neighbour for step, neighbour in zip(steps, neighbours, strict=True) if step)


def _lags_seconds() -> np.ndarray:
    return _SHORTEST_LAG_SECONDS * 2.0 ** (np.arange(_LAG_OCTAVES * _STEPS_PER_OCTAVE + 1) / _STEPS_PER_OCTAVE)


def _correlation_matrix(lags: np.ndarray, size: int) -> np.ndarray:
    """Matrix from a power spectrum to the autocorrelation at lags in frames: a partial inverse Fourier transform.

    Each lag is a weighted mean of those around it, with weights that decrease with the distance: musicians are not
    exact, and no lag between two points of the grid is missed.
    """
    reach = np.maximum(_LEAST_REACH_FRAMES, _REACH * lags)
    whole = np.arange(math.ceil(lags[-1] + reach[-1]))
    near = np.maximum(0, 1 - np.abs(whole[:, np.newaxis] - lags) / reach)
    bins = np.arange(size // 2 + 1)
    weights = np.where(bins % (size // 2), 2, 1) / size  # a real signal's negative frequencies mirror the positive ones
    cosines = np.cos(2 * np.pi / size * np.outer(bins, whole))
    return (weights[:, np.newaxis] * cosines @ (near / near.sum(axis=0))).astype(np.float32)


def _rhythm(onsets: Tensor, spec: MelSpec) -> list[Tensor]:
    """Compute tempo, autocorrelation at parts of a beat, and that of all onsets by lag, each [n, columns]."""
    import keras
    from keras import ops

    lags = _lags_seconds()
    in_frames = lags * spec.sample_rate_hz / spec.hop_samples
    size = 2 ** math.ceil(math.log2(spec.frames + 2 * in_frames[-1]))
    centred = ops.transpose(onsets - ops.mean(onsets, axis=1, keepdims=True), (0, 2, 1))
    real, imaginary = ops.rfft(centred, fft_length=size)
    energy = ops.sum(ops.square(centred), axis=-1, keepdims=True)
    correlation = ops.matmul(ops.square(real) + ops.square(imaginary), _correlation_matrix(in_frames, size))
    correlation = correlation / ops.maximum(energy, keras.config.epsilon())  # [n, onsets, lags]

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
