"""Activation maximization: change an image step by step until the network assigns it to a genre, and make it audible.

Gradient ascent on the levels of the mel image (Erhan, Bengio, Courville & Vincent 2009) for the log-odds of the genre.
Without regularization the result is an image that corresponds to no sound. Each step therefore (1) shifts the image in
time and slightly in pitch before the network sees it, (2) reduces total variation, and (3) damps high spatial
frequencies, most strongly those that are high in time and in frequency at once: sounds are mostly beats (vertical
lines) or tones (horizontal lines).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf
from scipy.ndimage import gaussian_filter

from tumbao.components.ingest import progress
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.explain.attribution import run_on_levels
from tumbao.serving.explain.inversion import difference_db, mel_image_levels, reconstruct_audio
from tumbao.serving.explain.network import InputGradient, Network

NOISE_STEPS, FRAGMENT_STEPS = 14, 6
"""Number of steps from noise, and from a fragment, which should be preserved in part."""

_NOISE_STRIDE, _FRAGMENT_STRIDE = 8.0, 4.0
"""Change per step (root mean square, before regularization), of 255 levels."""

_ANY, _BOTH = 20.0, 4e5
"""Damping of the gradient's spatial frequencies: those high in any direction, and those high in both."""

_DECAY = 0.003
"""Damping of the image's own spatial frequencies in each step."""

_VARIATION = 0.02
"""Weight of the total variation relative to the gradient."""

_SHIFT_BANDS = 2
"""Largest shift in pitch, in rows of the image."""


@dataclasses.dataclass(frozen=True, eq=False)
class MaximizedImage:
    """An image that maximizes a genre's probability, and its sound.

    `origin` is the name of the fragment it started from, empty for noise. `levels` is uint8 [image_height, image_width]
    in palette steps, `samples` float32 [fragment_samples]. The three probabilities of the
    genre are for the start image, for `levels`, and for the mel image of `samples`. `distance_db` is the mean
    difference between the last two images, in dB.
    """

    genre: str
    origin: str
    levels: np.ndarray
    samples: np.ndarray
    start_probability: float
    image_probability: float
    audio_probability: float
    distance_db: float


class ActivationMaximizer:
    """Activation maximization for one network.

    Raises `NoGradientError` if the network has no gradient with respect to its input image.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._scores = network.opened.scores
        self._gradient_fn = network.genre_gradient

    def from_noise(self, genre: int, seed: int) -> MaximizedImage:
        """Start from noise that is fainter at high frequencies; the same seed gives the same result."""
        rng = np.random.default_rng((seed, genre, 0))
        return self._maximize(genre, _noise(self._network.spec, rng), "", rng, NOISE_STEPS, _NOISE_STRIDE)

    def from_fragment(self, genre: int, levels: np.ndarray, name: str, seed: int) -> MaximizedImage:
        """Start from the mel image of a recording, in palette steps; `seed` determines the shifts."""
        rng = np.random.default_rng((seed, genre, 1))
        return self._maximize(genre, levels.astype(np.float32), name, rng, FRAGMENT_STEPS, _FRAGMENT_STRIDE)

    def _maximize(
        self, genre: int, begin: np.ndarray, origin: str, rng: np.random.Generator, steps: int, stride: float
    ) -> MaximizedImage:
        spec, levels = self._network.spec, begin
        for _ in range(steps):
            levels = ascend(self._gradient_fn, levels, genre, stride, rng)
            progress.advance("activation maximization")
        picture = levels.round().astype(np.uint8)
        samples = reconstruct_audio(picture, spec)
        reconstructed = mel_image_levels(samples, spec)
        pictures = np.stack([begin.round().astype(np.uint8), picture, reconstructed])
        start, image, audio = tf.nn.softmax(run_on_levels(self._scores, pictures, spec)).numpy()[:, genre].tolist()
        name = self._network.genres[genre]
        distance_db = difference_db(reconstructed, picture, spec)
        return MaximizedImage(name, origin, picture, samples, start, image, audio, distance_db)


def ascend(
    gradient_fn: InputGradient,
    levels: np.ndarray,
    index: int,
    stride: float,
    rng: np.random.Generator,
    bands: int = _SHIFT_BANDS,
) -> np.ndarray:
    """Take one step of gradient ascent: levels float32 [height, width] → levels, within 0 and 255.

    `index` is the output to maximize, `stride` the change (root mean square, of 255 levels), `bands` the largest shift
    in rows.
    """
    shift = int(rng.integers(-bands, bands + 1)), int(rng.integers(levels.shape[1]))
    gradient, _ = gradient_fn(np.roll(levels, shift, (0, 1)), index)
    gradient = _damped(np.roll(gradient, (-shift[0], -shift[1]), (0, 1)), _ANY, _BOTH)
    size = np.sqrt(np.square(gradient).mean())
    gradient = gradient / size if size else gradient
    moved = levels + stride * (gradient - _VARIATION * _variation(levels))
    return np.clip(_damped(moved, _DECAY, 0.0), 0, 255).astype(np.float32)


def _noise(spec: MelSpec, rng: np.random.Generator) -> np.ndarray:
    fainter = np.linspace(40, 150, spec.image_height)[:, np.newaxis]
    grain = 50 * gaussian_filter(rng.standard_normal(spec.image_shape[:2]), 1.0)
    return np.clip(fainter + grain, 0, 255).astype(np.float32)


def _damped(picture: np.ndarray, anything: float, both: float) -> np.ndarray:
    """Damp high frequencies: `anything` weights the sum of both squared frequencies, `both` their squared product."""
    upright, flat = np.fft.fftfreq(picture.shape[0])[:, np.newaxis], np.fft.rfftfreq(picture.shape[1])
    weights = 1 + anything * (upright**2 + flat**2) + both * (upright * flat) ** 2
    return np.fft.irfft2(np.fft.rfft2(picture) / weights, s=picture.shape)


def _variation(levels: np.ndarray) -> np.ndarray:
    """Compute the gradient of the total variation, smoothed where neighbouring pixels are nearly equal."""
    result = np.zeros_like(levels)
    for axis in (0, 1):
        step = np.tanh(np.diff(levels, axis=axis) / 4)
        ends = [(0, 0), (0, 0)]
        ends[axis] = (1, 1)
        result -= np.diff(np.pad(step, ends), axis=axis)
    return result
