"""Why a song gets its genre: every fragment is looked at, and the most decisive one is taken apart."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from tumbao.components.ingest import progress
from tumbao.components.ingest.fragments import Fragment, Fragments, SongSummary
from tumbao.components.ingest.mel import palette
from tumbao.serving.calibration import temper
from tumbao.serving.explain.attribution import (
    Occlusion,
    ask,
    grad_cam,
    integrated_gradients,
    last_map,
    log_odds,
    occlusion,
)
from tumbao.serving.explain.faithfulness import Faithfulness, measure, random_maps
from tumbao.serving.explain.input_gradient import NoGradientError
from tumbao.serving.explain.inversion import drawn, sound
from tumbao.serving.explain.network import Network
from tumbao.serving.explain.salient_audio import Region, cut, masked, region
from tumbao.serving.out_of_distribution import mostly_familiar
from tumbao.serving.song import SongAnswer, combine

MOST_FRAGMENTS = 12
"""Fragments of a song that get a map; of a longer song, those that speak most for its genre."""

RANDOM_MAPS = 8
"""Maps that know nothing, to compare with; each is asked about in twelve pictures."""

WAYS = OCCLUSION, GRADIENTS, CAM = "Occlusion", "Integrated gradients", "Grad-CAM"
"""How a fragment is asked; the first assumes nothing of the network."""


@dataclasses.dataclass(frozen=True, eq=False)
class Piece:
    """A fragment that the network heard.

    Parameters
    ----------
    start_seconds : float
        Where it begins in the song.
    levels : np.ndarray [shape=(image_height, image_width), dtype=uint8]
        Its mel image.
    scores : np.ndarray [shape=(genres,), dtype=float32]
        Of each genre, before the softmax and before the model's temperature.
    evidence : float
        Log-odds of the song's genre, of these scores.
    map : np.ndarray [shape=(image_height, image_width), dtype=float32] or None
        Grad-CAM for the song's genre, where the network allows it and the song is not too long.
    """

    start_seconds: float
    levels: np.ndarray
    scores: np.ndarray
    evidence: float
    map: np.ndarray | None


@dataclasses.dataclass(frozen=True, eq=False)
class Method:
    """A map of the decisive fragment.

    Parameters
    ----------
    name : str
        `OCCLUSION`, `GRADIENTS` or `CAM`.
    map : np.ndarray [shape=(image_height, image_width), dtype=float32]
        What speaks for the genre is positive.
    faithfulness : Faithfulness
        How true it is.
    """

    name: str
    map: np.ndarray
    faithfulness: Faithfulness


@dataclasses.dataclass(frozen=True, eq=False)
class Why:
    """Why a song gets its genre.

    Parameters
    ----------
    song : str
        Its name.
    answer : SongAnswer
        Its genre.
    pieces : tuple of Piece
        Its fragments in their order, without those that are silent.
    decisive : int
        Index of the piece that speaks most for the genre; the rest is about this one.
    occlusion : Occlusion
        What its times and its bands are worth.
    methods : tuple of Method
        Maps of it, the most faithful first.
    loudest : Faithfulness
        Of the order from loud to faint, to compare with.
    random : tuple of Faithfulness
        Of random orders, to compare with.
    part : Region
        Where the first of `methods` is largest.
    original : np.ndarray [shape=(fragment_samples,), dtype=float32]
        The fragment's sound.
    alone : np.ndarray [shape=(n,), dtype=float32]
        The original's sound in `part` alone.
    redrawn : np.ndarray [shape=(m,), dtype=float32]
        The sound of its picture where only the most important cells are left, made from the picture alone.
    """

    song: str
    answer: SongAnswer
    pieces: tuple[Piece, ...]
    decisive: int
    occlusion: Occlusion
    methods: tuple[Method, ...]
    loudest: Faithfulness
    random: tuple[Faithfulness, ...]
    part: Region
    original: np.ndarray
    alone: np.ndarray
    redrawn: np.ndarray


def why(network: Network, song: str, items: Iterable[Fragment | SongSummary], seed: int) -> Why:
    """Find out why a song gets its genre.

    Parameters
    ----------
    network : Network
        The model.
    song : str
        The song's name.
    items : iterable of Fragment and SongSummary
        The song, as `fragments.read` gives it.
    seed : int
        Of the random orders; the same seed gives the same result.

    Returns
    -------
    why : Why
        What was found.

    Raises
    ------
    AudioError
        If the items end with one.
    """
    progress.start("why", 4)
    spec, model = network.spec, network.opened.scores
    answer, pieces, decisive, samples = _heard(network, model, items)
    progress.advance("why")
    genre, levels = answer.genre, pieces[decisive].levels
    occluded = occlusion(model, levels, genre, spec)
    maps = {OCCLUSION: occluded.map}
    if (by_network := pieces[decisive].map) is not None:
        maps[CAM] = by_network
    with contextlib.suppress(NoGradientError):
        maps[GRADIENTS] = integrated_gradients(network.uphill, levels, genre)
    progress.advance("why")
    references = [levels, *random_maps(levels.shape, RANDOM_MAPS, seed)]
    measured = measure(model, levels, [*maps.values(), *references], genre, spec)
    loudest, *random = measured[len(maps) :]
    progress.advance("why")
    methods = [Method(name, one, truth) for (name, one), truth in zip(maps.items(), measured[: len(maps)], strict=True)]
    methods.sort(key=lambda method: -method.faithfulness.gain)
    part = region(methods[0].map, spec)
    redrawn = sound(masked(levels, methods[0].map), spec)
    progress.advance("why")
    return Why(
        song=song,
        answer=answer,
        pieces=pieces,
        decisive=decisive,
        occlusion=occluded,
        methods=tuple(methods),
        loudest=loudest,
        random=tuple(random),
        part=part,
        original=samples,
        alone=cut(samples, part, spec),
        redrawn=redrawn,
    )


def _heard(
    network: Network, model: keras.Model, items: Iterable[Fragment | SongSummary]
) -> tuple[SongAnswer, tuple[Piece, ...], int, np.ndarray]:
    """Answer for the song; give its pieces, which of them is the decisive one, and the sound of that one."""
    spec, colours, calibration = network.spec, palette(network.spec), network.info.calibration
    familiarity, familiar = network.info.familiarity, []
    starts: list[float] = []
    pictures: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    best: dict[int, tuple[float, int, np.ndarray]] = {}  # of each genre: a song's sound may be too long to keep
    for fragment in Fragments(items):
        if fragment.silent:
            continue
        picture = drawn(fragment.samples, spec)
        score = ask(model, picture[np.newaxis], spec)
        for genre in range(score.shape[1]):
            evidence = float(log_odds(score, genre)[0])
            if genre not in best or evidence > best[genre][0]:
                best[genre] = evidence, len(pictures), fragment.samples
        known = familiarity is None or familiarity.covers(colours[picture], fragment.padded)
        familiar.append(known)
        starts.append(fragment.index * spec.fragment_seconds)
        pictures.append(picture)
        scores.append(score[0])
    probabilities = tf.nn.softmax(np.stack(scores)).numpy()
    if calibration:
        probabilities = temper(probabilities, calibration.temperature)
    answer = combine(probabilities, calibration.threshold if calibration else 0.0)
    answer = dataclasses.replace(answer, confident=answer.confident and mostly_familiar(familiar))
    evidence = log_odds(np.stack(scores), answer.genre).numpy()
    _, decisive, samples = best[answer.genre]
    chosen = np.sort(np.argsort(-evidence, kind="stable")[:MOST_FRAGMENTS]) if last_map(model) else ()
    shown = np.stack([pictures[index] for index in chosen]) if len(chosen) else None
    maps = {} if shown is None else dict(zip(chosen, grad_cam(model, shown, answer.genre, spec), strict=True))
    pieces = tuple(
        Piece(start, picture, score, float(weight), maps.get(index))
        for index, (start, picture, score, weight) in enumerate(zip(starts, pictures, scores, evidence, strict=True))
    )
    return answer, pieces, decisive, samples
