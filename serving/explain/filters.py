"""Feature visualization of VGG-16: in each block, the filter that separates a genre best, as image and sound."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import keras
import numpy as np

from tumbao.components.ingest import progress
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.explain.activation_maximization import ascend
from tumbao.serving.explain.attribution import run_on_levels
from tumbao.serving.explain.faithfulness import SIGNIFICANCE_LEVEL
from tumbao.serving.explain.inversion import reconstruct_audio
from tumbao.serving.explain.network import Network, input_gradient

STEPS = 12
"""Optimization steps per image."""

N_PERMUTATIONS = 200
"""Number of random permutations of the genre labels that estimate what chance reaches."""

_SHARE = 0.3
"""Length of the images as a share of a fragment; filters cover less than a fragment."""

_STRIDE = 10.0
_LAYER = re.compile(r"block(\d+)_conv(\d+)")


@dataclasses.dataclass(frozen=True, eq=False)
class Filter:
    """A filter, the image that maximizes its activation, and the sound of this image.

    `effect_size` is the difference between its mean activation for the genre and for the others, in standard
    deviations; `null_quantile` is what the best filter of its layer reaches by chance, see `null_quantiles`. `levels`
    uint8 [height, width], in palette steps, can be tiled. `samples` is the sound of the image repeated over all bands,
    `seconds` its length.
    """

    layer: str
    channel: int
    genre: str
    effect_size: float
    null_quantile: float
    levels: np.ndarray
    samples: np.ndarray
    seconds: float


def blocks(model: keras.Model) -> list[str]:
    """List the last convolution of each block, first block first; empty if the model is not built like VGG-16."""
    last = {found[1]: layer.name for layer in model.layers if (found := _LAYER.fullmatch(layer.name))}
    return list(last.values())


def effect_sizes(answers: np.ndarray, genres: np.ndarray) -> np.ndarray:
    """Compute how well each filter separates each genre: activations float32 [n, channels] → float32 [g, channels].

    `answers` are means over the image, and `genres` int64 [n] contains g different genres, at least two. Per genre, in
    ascending order: mean activation for it less the mean activation for all others, in standard deviations over all
    images; 0 for constant filters.
    """
    spread, kinds = answers.std(axis=0), np.unique(genres)
    own = np.stack([answers[genres == genre].mean(axis=0) for genre in kinds])
    others = np.stack([answers[genres != genre].mean(axis=0) for genre in kinds])
    return np.divide(own - others, spread, out=np.zeros_like(own), where=spread > 0)


def null_quantiles(answers: np.ndarray, genres: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Estimate the effect size that the best filter reaches by chance, by permuting the genres: one value per genre.

    The largest effect size exceeds it in `SIGNIFICANCE_LEVEL` of the permutations. Arguments and order of the genres
    are those of `effect_sizes`.
    """
    best = [effect_sizes(answers, rng.permutation(genres)).max(axis=1) for _ in range(N_PERMUTATIONS)]
    return np.quantile(best, 1 - SIGNIFICANCE_LEVEL, axis=0)


def discriminative_filters(network: Network, pictures: np.ndarray, genres: Sequence[int], seed: int) -> list[Filter]:
    """Find and visualize the filters that separate the genres best: one per block and genre, block by block.

    `pictures` is uint8 [n, image_height, image_width], with one genre each. The same `seed` gives the same filters.
    Raises ValueError if there are fewer than two genres.
    """
    of, kinds = np.asarray(genres), sorted(set(genres))
    if len(kinds) < 2:
        raise ValueError(f"Expected images of at least two genres. Received: genres {kinds}")
    layers = blocks(network.model)
    progress.start("filters", len(layers) * len(kinds))
    if not layers:
        return []
    pooled = [keras.ops.mean(network.model.get_layer(layer).output, axis=(1, 2)) for layer in layers]
    joint = keras.Model(network.model.input, keras.ops.concatenate(pooled, axis=1))
    answers = run_on_levels(joint, pictures, network.spec)
    ends = np.cumsum([one.shape[1] for one in pooled])
    spec, found = _short(network.spec), []
    for layer, part in zip(layers, np.split(answers, ends[:-1], axis=1), strict=True):
        sizes, limits = effect_sizes(part, of), null_quantiles(part, of, np.random.default_rng(seed))
        gradient_fn = input_gradient(
            _linear(network.model, layer), network.spec, lambda maps, index: keras.ops.mean(maps[..., index])
        )
        for genre, own, limit in zip(kinds, sizes, limits, strict=True):
            channel = int(own.argmax())
            rng = np.random.default_rng((seed, genre, channel))
            levels = rng.uniform(80, 140, (spec.image_width, spec.image_width)).astype(np.float32)
            for _ in range(STEPS):
                levels = ascend(gradient_fn, levels, channel, _STRIDE, rng, bands=spec.image_width)
            picture = levels.round().astype(np.uint8)
            repeated = np.resize(picture, (spec.image_height, spec.image_width))  # repeats the rows
            name, samples, lasting = network.genres[genre], reconstruct_audio(repeated, spec), spec.fragment_seconds
            found.append(Filter(layer, channel, name, float(own[channel]), float(limit), picture, samples, lasting))
            progress.advance("filters")
    return found


def _short(spec: MelSpec) -> MelSpec:
    """Shorten the spec to whole seconds, about `_SHARE` of a fragment, with columns of the same duration."""
    seconds = max(1, round(_SHARE * spec.fragment_seconds))
    width = round(spec.image_width * seconds / spec.fragment_seconds)
    return dataclasses.replace(spec, fragment_seconds=float(seconds), image_width=width)


def _linear(model: keras.Model, layer: str) -> keras.Model:
    """Build a model up to a convolution for images of any size, without its activation (no gradient where it is 0)."""
    own = model.get_layer(layer)
    linear = type(own).from_config({**own.get_config(), "activation": "linear", "name": "linear"})
    cut = keras.Model(model.input, linear(own.input))
    linear.set_weights(own.get_weights())
    free = keras.models.clone_model(cut, input_tensors=keras.Input((None, None, 3), dtype="float32"))
    free.set_weights(cut.get_weights())
    return free
