"""Activation maximization: change an image step by step until the network assigns it to a genre, and make it audible.

The same is done for filters of VGG-16: in each block, the one that separates a genre best.

Gradient ascent on the levels of the mel image (Erhan, Bengio, Courville & Vincent 2009) alone results in an image that
corresponds to no sound. Each step therefore (1) shifts the image in time and slightly in pitch before the network sees
it, (2) reduces total variation, and (3) damps high spatial frequencies, most strongly those that are high in time and
in frequency at once: sounds are mostly beats (vertical lines) or tones (horizontal lines).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from scipy.ndimage import gaussian_filter

from tumbao.components.ingest import progress
from tumbao.serving.explain.attribution import SIGNIFICANCE_LEVEL
from tumbao.serving.explain.inversion import difference_db, mel_image_levels, reconstruct_audio
from tumbao.serving.explain.network import InputGradient, Network, input_gradient, run_on_levels

NOISE_STEPS, FRAGMENT_STEPS = 14, 6
"""Number of steps from noise, and from a fragment, which should be preserved in part."""

_NOISE_STRIDE, _FRAGMENT_STRIDE = 8.0, 4.0  # change per step (root mean square, before regularization), of 255 levels

_ANY, _BOTH = 20.0, 4e5
"""Damping of the gradient's spatial frequencies: those high in any direction, and those high in both."""

_DECAY = 0.003  # damping of the image's own spatial frequencies in each step
_VARIATION = 0.02  # weight of the total variation relative to the gradient
_SHIFT_BANDS = 2  # largest shift in pitch, in rows of the image


@dataclasses.dataclass(frozen=True, eq=False)
class MaximizedImage:
    """An image that maximizes a genre's probability, its sound, and the genre's probability at three stages."""

    genre: str
    origin: str  # name of the fragment it started from, empty for noise
    levels: np.ndarray  # uint8 [image_height, image_width]
    samples: np.ndarray  # float32 [fragment_samples]
    start_probability: float
    image_probability: float
    audio_probability: float  # of the mel image of `samples`
    distance_db: float  # mean difference between `levels` and the mel image of `samples`


def maximize(network: Network, genre: int, seed: int, start: tuple[str, np.ndarray] | None = None) -> MaximizedImage:
    """Maximize a genre from noise, or from the name and the mel image of a fragment (in palette steps).

    Raises `NoGradientError` if the network has no gradient with respect to its input image.
    """
    spec, gradient_fn = network.spec, network.genre_gradient
    if start is None:
        rng, steps, stride = np.random.default_rng((seed, genre, 0)), NOISE_STEPS, _NOISE_STRIDE
        fainter = np.linspace(40, 150, spec.image_height)[:, np.newaxis]  # at high frequencies
        grain = 50 * gaussian_filter(rng.standard_normal(spec.image_shape[:2]), 1.0)
        origin, begin = "", np.clip(fainter + grain, 0, 255).astype(np.float32)
    else:
        rng, steps, stride = np.random.default_rng((seed, genre, 1)), FRAGMENT_STEPS, _FRAGMENT_STRIDE
        origin, begin = start[0], start[1].astype(np.float32)
    levels = begin
    for _ in range(steps):
        levels = ascend(gradient_fn, levels, genre, stride, rng)
        progress.advance("activation maximization")
    image = levels.round().astype(np.uint8)
    samples = reconstruct_audio(image, spec)
    reconstructed = mel_image_levels(samples, spec)
    images = np.stack([begin.round().astype(np.uint8), image, reconstructed])
    at_start, of_image, of_audio = (
        tf.nn.softmax(run_on_levels(network.logits_model, images, spec)).numpy()[:, genre].tolist()
    )
    distance_db = difference_db(reconstructed, image, spec)
    return MaximizedImage(network.genres[genre], origin, image, samples, at_start, of_image, of_audio, distance_db)


def ascend(
    gradient_fn: InputGradient,
    levels: np.ndarray,
    index: int,
    stride: float,
    rng: np.random.Generator,
    bands: int = _SHIFT_BANDS,
) -> np.ndarray:
    """Take one step of gradient ascent: levels float32 [height, width] → levels, within 0 and 255."""
    shift = int(rng.integers(-bands, bands + 1)), int(rng.integers(levels.shape[1]))
    gradient = gradient_fn(np.roll(levels, shift, (0, 1)), index)
    gradient = _damped(np.roll(gradient, (-shift[0], -shift[1]), (0, 1)), _ANY, _BOTH)
    size = np.sqrt(np.square(gradient).mean())
    gradient = gradient / size if size else gradient
    moved = levels + stride * (gradient - _VARIATION * _variation(levels))
    return np.clip(_damped(moved, _DECAY, 0.0), 0, 255).astype(np.float32)


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


FILTER_STEPS = 12  # number of steps per image of a filter
N_PERMUTATIONS = 200  # number of random permutations of the genre labels that estimate what chance reaches
_FILTER_SHARE = 0.3  # length of the images of filters as a share of a fragment; filters cover less than a fragment

_FILTER_STRIDE = 10.0
_LAYER = re.compile(r"block(\d+)_conv(\d+)")


@dataclasses.dataclass(frozen=True, eq=False)
class Filter:
    """A filter, the image that maximizes its activation, and the sound of this image."""

    layer: str
    channel: int
    genre: str
    effect_size: float
    null_quantile: float  # effect size that the best filter of its layer reaches by chance
    levels: np.ndarray  # uint8 [height, width]; can be tiled
    samples: np.ndarray  # sound of the image repeated over all bands
    seconds: float


def blocks(model: keras.Model) -> list[str]:
    """List the last convolution of each block, first block first; empty if the model is not built like VGG-16."""
    last = {found[1]: layer.name for layer in model.layers if (found := _LAYER.fullmatch(layer.name))}
    return list(last.values())


def effect_sizes(answers: np.ndarray, genres: np.ndarray) -> np.ndarray:
    """Compute how well each filter separates each genre: mean activations float32 [n, channels] → [g, channels].

    That is the mean for a genre less the mean for all others, in standard deviations; 0 for constant filters.
    """
    spread, kinds = answers.std(axis=0), np.unique(genres)
    own = np.stack([answers[genres == genre].mean(axis=0) for genre in kinds])
    others = np.stack([answers[genres != genre].mean(axis=0) for genre in kinds])
    return np.divide(own - others, spread, out=np.zeros_like(own), where=spread > 0)


def null_quantiles(answers: np.ndarray, genres: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Estimate the effect size that the best filter reaches by chance, by permuting the genres: one value per genre."""
    best = [effect_sizes(answers, rng.permutation(genres)).max(axis=1) for _ in range(N_PERMUTATIONS)]
    return np.quantile(best, 1 - SIGNIFICANCE_LEVEL, axis=0)


def discriminative_filters(network: Network, pictures: np.ndarray, genres: Sequence[int], seed: int) -> list[Filter]:
    """Find and visualize the filters that separate the genres best: one per block and genre, block by block."""
    of, kinds = np.asarray(genres), sorted(set(genres))
    layers = blocks(network.model)
    progress.start("filters", len(layers) * len(kinds))
    pooled = [keras.ops.mean(network.model.get_layer(layer).output, axis=(1, 2)) for layer in layers]
    joint = keras.Model(network.model.input, keras.ops.concatenate(pooled, axis=1))
    answers = run_on_levels(joint, pictures, network.spec)
    ends = np.cumsum([one.shape[1] for one in pooled])
    seconds = max(1, round(_FILTER_SHARE * network.spec.fragment_seconds))
    width = round(network.spec.image_width * seconds / network.spec.fragment_seconds)  # columns keep their duration
    spec, found = dataclasses.replace(network.spec, fragment_seconds=float(seconds), image_width=width), []
    for layer, part in zip(layers, np.split(answers, ends[:-1], axis=1), strict=True):
        sizes, limits = effect_sizes(part, of), null_quantiles(part, of, np.random.default_rng(seed))
        gradient_fn = input_gradient(
            _linear(network.model, layer), network.spec, lambda maps, index: keras.ops.mean(maps[..., index])
        )
        for genre, own, limit in zip(kinds, sizes, limits, strict=True):
            channel = int(own.argmax())
            rng = np.random.default_rng((seed, genre, channel))
            levels = rng.uniform(80, 140, (spec.image_width, spec.image_width)).astype(np.float32)
            for _ in range(FILTER_STEPS):
                levels = ascend(gradient_fn, levels, channel, _FILTER_STRIDE, rng, bands=spec.image_width)
            picture = levels.round().astype(np.uint8)
            repeated = np.resize(picture, (spec.image_height, spec.image_width))  # repeats the rows
            found.append(
                Filter(
                    layer,
                    channel,
                    genre=network.genres[genre],
                    effect_size=float(own[channel]),
                    null_quantile=float(limit),
                    levels=picture,
                    samples=reconstruct_audio(repeated, spec),
                    seconds=spec.fragment_seconds,
                )
            )
            progress.advance("filters")
    return found


def _linear(model: keras.Model, layer: str) -> keras.Model:
    """Build a model up to a convolution for images of any size, without its activation (no gradient where it is 0)."""
    own = model.get_layer(layer)
    linear = type(own).from_config({**own.get_config(), "activation": "linear", "name": "linear"})
    cut = keras.Model(model.input, linear(own.input))
    linear.set_weights(own.get_weights())
    free = keras.models.clone_model(cut, input_tensors=keras.Input((None, None, 3), dtype="float32"))
    free.set_weights(cut.get_weights())
    return free
