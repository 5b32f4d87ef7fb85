"""What a genre sounds like to a network: a picture is changed step by step until it is the genre, and then played.

Gradient ascent on the levels of the mel image, after Erhan, Bengio, Courville & Vincent (2009), for the log-odds of the
genre. Left alone it finds pictures that nothing sounds like. So each step (1) shows the network the picture shifted in
time and a little in pitch, (2) loses total variation, and (3) damps what changes fast. Damped most is what changes in
time and in frequency at once: sounds are mostly beats, which are upright, or tones, which lie flat.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf
from scipy.ndimage import gaussian_filter

from tumbao.components.ingest import progress
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.explain.attribution import ask
from tumbao.serving.explain.input_gradient import InputGradient
from tumbao.serving.explain.inversion import apart_db, drawn, sound
from tumbao.serving.explain.network import Network

NOISE_STEPS, FRAGMENT_STEPS = 14, 6
"""How often noise is changed, and how often a fragment, of which something shall stay."""

_NOISE_STRIDE, _FRAGMENT_STRIDE = 8.0, 4.0
"""Mean change in one step, of 255 levels."""

_ANY, _BOTH = 20.0, 4e5
"""How strongly a gradient is damped that changes fast at all, and fast in both directions."""

_DECAY = 0.003
"""How strongly the picture itself is damped in each step."""

_VARIATION = 0.02
"""Weight of the total variation beside the gradient."""

_SHIFT_BANDS = 2
"""By how many rows the picture is shifted at most."""


@dataclasses.dataclass(frozen=True, eq=False)
class Dream:
    """A picture that is a genre to the network, and its sound.

    Parameters
    ----------
    genre : str
        The genre.
    origin : str
        What it began as: empty for noise, else the fragment's name.
    levels : np.ndarray [shape=(image_height, image_width), dtype=uint8]
        The picture, in the palette's steps.
    samples : np.ndarray [shape=(fragment_samples,), dtype=float32]
        Its sound.
    before : float
        Probability of the genre at the beginning.
    seen : float
        Probability of the genre for the picture.
    heard : float
        Probability of the genre for the sound, which is drawn again as any recording is.
    distance_db : float
        Mean difference between the picture and that of its sound, in dB.
    """

    genre: str
    origin: str
    levels: np.ndarray
    samples: np.ndarray
    before: float
    seen: float
    heard: float
    distance_db: float


class Dreamer:
    """A network that dreams.

    Parameters
    ----------
    network : Network
        The network.

    Raises
    ------
    NoGradientError
        If no gradient is found towards the picture.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._scores = network.opened.scores
        self._slope = network.uphill

    def from_noise(self, genre: int, seed: int) -> Dream:
        """Dream of a genre, beginning with noise that grows fainter towards high frequencies.

        Parameters
        ----------
        genre : int
            Index of the genre.
        seed : int
            Of the noise and the shifts; the same seed gives the same dream.

        Returns
        -------
        dream : Dream
            The dream.
        """
        rng = np.random.default_rng((seed, genre, 0))
        return self._dream(genre, _noise(self._network.spec, rng), "", rng, NOISE_STEPS, _NOISE_STRIDE)

    def from_fragment(self, genre: int, levels: np.ndarray, name: str, seed: int) -> Dream:
        """Dream of a genre, beginning with a recording.

        Parameters
        ----------
        genre : int
            Index of the genre.
        levels : np.ndarray [shape=(image_height, image_width)]
            The recording's mel image, in the palette's steps.
        name : str
            What it is called.
        seed : int
            Of the shifts.

        Returns
        -------
        dream : Dream
            The dream.
        """
        rng = np.random.default_rng((seed, genre, 1))
        return self._dream(genre, levels.astype(np.float32), name, rng, FRAGMENT_STEPS, _FRAGMENT_STRIDE)

    def _dream(
        self, genre: int, start: np.ndarray, origin: str, rng: np.random.Generator, steps: int, stride: float
    ) -> Dream:
        spec, levels = self._network.spec, start
        for _ in range(steps):
            levels = ascend(self._slope, levels, genre, stride, rng)
            progress.advance("dream")
        picture = levels.round().astype(np.uint8)
        samples = sound(picture, spec)
        again = drawn(samples, spec)
        pictures = np.stack([start.round().astype(np.uint8), picture, again])
        before, seen, heard = tf.nn.softmax(ask(self._scores, pictures, spec)).numpy()[:, genre].tolist()
        name = self._network.genres[genre]
        return Dream(name, origin, picture, samples, before, seen, heard, apart_db(again, picture, spec))


def ascend(
    uphill: InputGradient,
    levels: np.ndarray,
    index: int,
    stride: float,
    rng: np.random.Generator,
    bands: int = _SHIFT_BANDS,
) -> np.ndarray:
    """Take one step uphill.

    Parameters
    ----------
    uphill : callable
        Of `slope.slope`.
    levels : np.ndarray [shape=(height, width), dtype=float32]
        A picture in the palette's steps.
    index : int
        Which output is to grow.
    stride : float
        Mean change, of 255 levels.
    rng : np.random.Generator
        Draws the shift.
    bands : int
        By how many rows the picture is shifted at most.

    Returns
    -------
    levels : np.ndarray [shape=(height, width), dtype=float32]
        The next picture, within 0 and 255.
    """
    shift = int(rng.integers(-bands, bands + 1)), int(rng.integers(levels.shape[1]))
    gradient, _ = uphill(np.roll(levels, shift, (0, 1)), index)
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
    """Damp what changes fast: `anything` by its frequency, `both` by the product of its two frequencies."""
    upright, flat = np.fft.fftfreq(picture.shape[0])[:, np.newaxis], np.fft.rfftfreq(picture.shape[1])
    weights = 1 + anything * (upright**2 + flat**2) + both * (upright * flat) ** 2
    return np.fft.irfft2(np.fft.rfft2(picture) / weights, s=picture.shape)


def _variation(levels: np.ndarray) -> np.ndarray:
    """Gradient of the total variation, smooth where neighbours are nearly equal."""
    result = np.zeros_like(levels)
    for axis in (0, 1):
        step = np.tanh(np.diff(levels, axis=axis) / 4)
        ends = [(0, 0), (0, 0)]
        ends[axis] = (1, 1)
        result -= np.diff(np.pad(step, ends), axis=axis)
    return result
