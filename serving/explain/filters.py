"""What single filters of VGG-16 look for: in each block the one that tells a genre best, drawn and played."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import keras
import numpy as np

from tumbao.components.ingest import progress
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.explain.activation_maximization import ascend
from tumbao.serving.explain.attribution import ask
from tumbao.serving.explain.input_gradient import input_gradient
from tumbao.serving.explain.inversion import sound
from tumbao.serving.explain.network import Network

STEPS = 12
"""How often a picture is changed."""

DEALS = 200
"""How often the genres are dealt out anew among the pictures, to learn what chance reaches."""

LUCK = 0.05
"""How many of these deals may go beyond what is called chance."""

_SHARE = 0.3
"""Of a fragment's time: filters look at less than a fragment."""

_STRIDE = 10.0
_LAYER = re.compile(r"block(\d+)_conv(\d+)")


@dataclasses.dataclass(frozen=True, eq=False)
class Filter:
    """One filter.

    Parameters
    ----------
    layer : str
        Where it is, such as block3_conv3.
    channel : int
        Which of the layer's.
    genre : str
        Whose it is.
    lead : float
        By how many standard deviations it answers more strongly to the genre than to the others.
    chance : float
        The lead that the best filter of its layer has by chance, see `chances`.
    levels : np.ndarray [shape=(height, width), dtype=uint8]
        The picture that it answers to most, in the palette's steps; it can be put side by side with itself.
    samples : np.ndarray [shape=(n,), dtype=float32]
        The picture's sound, with the picture repeated over all bands.
    seconds : float
        Length of the sound.
    """

    layer: str
    channel: int
    genre: str
    lead: float
    chance: float
    levels: np.ndarray
    samples: np.ndarray
    seconds: float


def blocks(model: keras.Model) -> list[str]:
    """Name the last convolution of each block.

    Parameters
    ----------
    model : keras.Model
        Any.

    Returns
    -------
    layers : list of str
        From the first block to the last; empty where the model is not built as VGG-16 is.
    """
    last = {found[1]: layer.name for layer in model.layers if (found := _LAYER.fullmatch(layer.name))}
    return list(last.values())


def leads(answers: np.ndarray, genres: np.ndarray) -> np.ndarray:
    """Measure how well each filter tells each genre.

    Parameters
    ----------
    answers : np.ndarray [shape=(n, channels), dtype=float32]
        Mean answer of each filter to each picture.
    genres : np.ndarray [shape=(n,), dtype=int64]
        The pictures' genres, two or more.

    Returns
    -------
    leads : np.ndarray [shape=(g, channels), dtype=float32]
        For each genre that there is, in ascending order: mean answer to it less the mean answer to all others, in
        standard deviations over all pictures; 0 for filters that never change.
    """
    spread, kinds = answers.std(axis=0), np.unique(genres)
    own = np.stack([answers[genres == genre].mean(axis=0) for genre in kinds])
    others = np.stack([answers[genres != genre].mean(axis=0) for genre in kinds])
    return np.divide(own - others, spread, out=np.zeros_like(own), where=spread > 0)


def chances(answers: np.ndarray, genres: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Measure what the best of many filters tells by chance: the genres are dealt out anew among the pictures.

    Parameters
    ----------
    answers : np.ndarray [shape=(n, channels), dtype=float32]
        As of `leads`.
    genres : np.ndarray [shape=(n,), dtype=int64]
        As of `leads`.
    rng : np.random.Generator
        Deals.

    Returns
    -------
    chances : np.ndarray [shape=(g,), dtype=float32]
        For each genre that there is, in ascending order: the largest lead, exceeded in `LUCK` of the deals.
    """
    best = [leads(answers, rng.permutation(genres)).max(axis=1) for _ in range(DEALS)]
    return np.quantile(best, 1 - LUCK, axis=0)


def telling(network: Network, pictures: np.ndarray, genres: Sequence[int], seed: int) -> list[Filter]:
    """Find the filters that tell the genres best, and draw what they look for.

    Parameters
    ----------
    network : Network
        The network.
    pictures : np.ndarray [shape=(n, image_height, image_width), dtype=uint8]
        Fragments, or what stands for them.
    genres : sequence of int
        Their genres, two or more: those that filters are looked for of.
    seed : int
        Of the noise that the drawings begin with; the same seed gives the same filters.

    Returns
    -------
    filters : list of Filter
        One of each block for each genre: block by block, in the order of the genres.

    Raises
    ------
    ValueError
        If there are not two genres to tell apart.
    """
    of, kinds = np.asarray(genres), sorted(set(genres))
    if len(kinds) < 2:
        raise ValueError(f"Expected pictures of two genres or more to tell apart. Received: genres {kinds}")
    layers = blocks(network.model)
    progress.start("filters", len(layers) * len(kinds))
    if not layers:
        return []
    pooled = [keras.ops.mean(network.model.get_layer(layer).output, axis=(1, 2)) for layer in layers]
    joint = keras.Model(network.model.input, keras.ops.concatenate(pooled, axis=1))
    answers = ask(joint, pictures, network.spec)
    ends = np.cumsum([one.shape[1] for one in pooled])
    spec, found = _short(network.spec), []
    for layer, part in zip(layers, np.split(answers, ends[:-1], axis=1), strict=True):
        lead, chance = leads(part, of), chances(part, of, np.random.default_rng(seed))
        uphill = input_gradient(
            _linear(network.model, layer), network.spec, lambda maps, index: keras.ops.mean(maps[..., index])
        )
        for genre, own, limit in zip(kinds, lead, chance, strict=True):
            channel = int(own.argmax())
            rng = np.random.default_rng((seed, genre, channel))
            levels = rng.uniform(80, 140, (spec.image_width, spec.image_width)).astype(np.float32)
            for _ in range(STEPS):
                levels = ascend(uphill, levels, channel, _STRIDE, rng, bands=spec.image_width)
            picture = levels.round().astype(np.uint8)
            repeated = np.resize(picture, (spec.image_height, spec.image_width))  # row after row, then anew
            name, samples, lasting = network.genres[genre], sound(repeated, spec), spec.fragment_seconds
            found.append(Filter(layer, channel, name, float(own[channel]), float(limit), picture, samples, lasting))
            progress.advance("filters")
    return found


def _short(spec: MelSpec) -> MelSpec:
    """Give a front-end for whole seconds, about `_SHARE` of a fragment, with columns as long as those of the other."""
    seconds = max(1, round(_SHARE * spec.fragment_seconds))
    width = round(spec.image_width * seconds / spec.fragment_seconds)
    return dataclasses.replace(spec, fragment_seconds=float(seconds), image_width=width)


def _linear(model: keras.Model, layer: str) -> keras.Model:
    """Give a convolution for pictures of any size, before its activation, which has no slope where it is 0."""
    own = model.get_layer(layer)
    linear = type(own).from_config({**own.get_config(), "activation": "linear", "name": "linear"})
    cut = keras.Model(model.input, linear(own.input))
    linear.set_weights(own.get_weights())
    free = keras.models.clone_model(cut, input_tensors=keras.Input((None, None, 3), dtype="float32"))
    free.set_weights(cut.get_weights())
    return free
