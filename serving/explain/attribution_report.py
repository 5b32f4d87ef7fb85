"""Attribution report of a song: evidence from every fragment, and an analysis of the decisive fragment."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterable

import numpy as np
import tensorflow as tf
from scipy.signal import butter, sosfiltfilt

from tumbao.components.ingest import progress
from tumbao.components.ingest.fragments import Fragment, Fragments, SongSummary
from tumbao.components.ingest.mel import palette
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.calibration import temper
from tumbao.serving.explain.attribution import (
    CELLS,
    Faithfulness,
    Occlusion,
    by_cell,
    edges,
    grad_cam,
    integrated_gradients,
    last_map,
    limit_of_chance,
    measure,
    most,
    occlusion,
    random_maps,
)
from tumbao.serving.explain.inversion import mel_image_levels, reconstruct_audio
from tumbao.serving.explain.network import Network, NoGradientError, log_odds, run_on_levels
from tumbao.serving.page import hz_at
from tumbao.serving.predict import song_answer
from tumbao.serving.song import SongAnswer

MAX_SHARE = 0.2  # largest share of the image in a region or mask
_ORDER = 8  # order of the Butterworth filter, which runs forwards and backwards: 96 dB per octave and no delay

_FADE_SECONDS = 0.01


@dataclasses.dataclass(frozen=True)
class Region:
    """A rectangle of the image; seconds are from the start of the fragment."""

    start_seconds: float
    end_seconds: float
    low_hz: float
    high_hz: float


def region(importance: np.ndarray, spec: MelSpec) -> Region:
    """Find the rectangle of cells with the largest sum of the map, of at most `MAX_SHARE` of the image."""
    sums = np.zeros((CELLS + 1, CELLS + 1))
    sums[1:, 1:] = by_cell(importance).cumsum(0).cumsum(1)
    sides = list(itertools.combinations(range(CELLS + 1), 2))
    best, found = (-np.inf, 0), (0, 1, 0, 1)
    for (top, bottom), (left, right) in itertools.product(sides, sides):
        area = (bottom - top) * (right - left)
        if area <= MAX_SHARE * CELLS**2:
            total = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
            best, found = max((best, found), ((round(total, 9), -area), (top, bottom, left, right)))
    top, bottom, left, right = found
    seconds, hz = spec.fragment_seconds * edges(spec.image_width, CELLS) / spec.image_width, band_edges(spec, CELLS)
    return Region(float(seconds[left]), float(seconds[right]), hz[bottom], hz[top])


def band_edges(spec: MelSpec, parts: int) -> list[float]:
    """Divide the image into bands as equal in height as possible: parts + 1 edges in Hz, from high to low."""
    inner = [hz_at(1 - row / spec.image_height, spec) for row in edges(spec.image_height, parts)[1:-1]]
    return [spec.mel_max_hz, *inner, spec.mel_min_hz]


def cut(samples: np.ndarray, part: Region, spec: MelSpec) -> np.ndarray:
    """Cut a region out of a fragment, in time and frequency, at the fragment's peak: float32 [n].

    A band that begins at 0 Hz or ends at the Nyquist frequency is open there.
    """
    rate, sound = spec.sample_rate_hz, samples.astype(np.float64)
    if part.low_hz > 0:
        sound = sosfiltfilt(butter(_ORDER, part.low_hz, "highpass", fs=rate, output="sos"), sound)
    if part.high_hz < rate / 2:
        sound = sosfiltfilt(butter(_ORDER, part.high_hz, "lowpass", fs=rate, output="sos"), sound)
    sound = sound[round(part.start_seconds * rate) : round(part.end_seconds * rate)]
    fade = min(round(_FADE_SECONDS * rate), len(sound) // 2)
    ramp = np.linspace(0, 1, fade, endpoint=False)
    sound[:fade] *= ramp
    sound[len(sound) - fade :] *= ramp[::-1]
    peak = np.abs(sound).max()
    return (sound * (np.abs(samples).max() / peak if peak else 1)).astype(np.float32)


def masked(levels: np.ndarray, importance: np.ndarray) -> np.ndarray:
    """Silence all but the most important cells (`MAX_SHARE`): uint8 [image_height, image_width]."""
    return np.where(most(importance, MAX_SHARE), levels, 0).astype(np.uint8)


MOST_FRAGMENTS = 12
"""Largest number of fragments with a map; in longer songs, those with the most evidence for the genre."""

RANDOM_MAPS = 8  # number of random maps for comparison; each takes twelve images through the network

METHODS = OCCLUSION, GRADIENTS, CAM = "Occlusion", "Integrated gradients", "Grad-CAM"
"""Names of the attribution methods; occlusion makes no assumption about the network."""


@dataclasses.dataclass(frozen=True, eq=False)
class FragmentEvidence:
    """A fragment of the song."""

    start_seconds: float
    levels: np.ndarray  # its mel image, uint8 [image_height, image_width]
    scores: np.ndarray  # logits float32 [genres], before the model's temperature
    evidence: float  # log-odds of the song's genre
    map: np.ndarray | None  # Grad-CAM for the song's genre, if the network allows it and it is one of `MOST_FRAGMENTS`


@dataclasses.dataclass(frozen=True, eq=False)
class Method:
    """An attribution map of the decisive fragment; positive values support the genre."""

    name: str
    map: np.ndarray
    faithfulness: Faithfulness


@dataclasses.dataclass(frozen=True, eq=False)
class AttributionReport:
    """Explanation of a song's genre."""

    song: str
    answer: SongAnswer
    fragments: tuple[FragmentEvidence, ...]  # in order, without silent ones
    decisive: int  # index of the one with the most evidence for the genre, which all further fields describe
    occlusion: Occlusion
    methods: tuple[Method, ...]  # the most faithful map first
    loudest: Faithfulness  # of the order from loud to faint
    random: tuple[Faithfulness, ...]  # of random orders
    part: Region  # where the first map is largest
    original: np.ndarray  # audio of the fragment
    region_audio: np.ndarray  # audio of `part`
    reconstructed: np.ndarray  # audio of the most important cells of the image alone

    @property
    def limit(self) -> float:
        """Gain above which a map is better than chance."""
        return limit_of_chance([one.gain for one in self.random], len(self.methods))


def attribute_genre(
    network: Network, song: str, items: Iterable[Fragment | SongSummary], seed: int
) -> AttributionReport:
    """Attribute the genre of a song, as `fragments.read` returns it, to parts of its mel images."""
    progress.start("attribution", 4)
    spec, model = network.spec, network.logits_model
    answer, fragments, decisive, samples = _analyse_fragments(network, items)
    progress.advance("attribution")
    genre, levels = answer.genre, fragments[decisive].levels
    occluded = occlusion(model, levels, genre, spec)
    maps = {OCCLUSION: occluded.map}
    if (cam := fragments[decisive].map) is not None:
        maps[CAM] = cam
    with contextlib.suppress(NoGradientError):
        maps[GRADIENTS] = integrated_gradients(network.genre_gradient, levels, genre)
    progress.advance("attribution")
    maps_and_references = [*maps.values(), levels, *random_maps(levels.shape, RANDOM_MAPS, seed)]
    measured = measure(model, levels, maps_and_references, genre, spec)
    loudest, *random = measured[len(maps) :]
    progress.advance("attribution")
    methods = [Method(*one, truth) for one, truth in zip(maps.items(), measured, strict=False)]
    methods.sort(key=lambda method: -method.faithfulness.gain)
    part = region(methods[0].map, spec)
    reconstructed = reconstruct_audio(masked(levels, methods[0].map), spec)
    progress.advance("attribution")
    return AttributionReport(
        song=song,
        answer=answer,
        fragments=fragments,
        decisive=decisive,
        occlusion=occluded,
        methods=tuple(methods),
        loudest=loudest,
        random=tuple(random),
        part=part,
        original=samples,
        region_audio=cut(samples, part, spec),
        reconstructed=reconstructed,
    )


def _analyse_fragments(
    network: Network, items: Iterable[Fragment | SongSummary]
) -> tuple[SongAnswer, tuple[FragmentEvidence, ...], int, np.ndarray]:
    """Classify the song; return the answer, the fragments, the index of the decisive one and its samples."""
    spec, model, info = network.spec, network.logits_model, network.info
    colours = palette(spec)
    starts: list[float] = []
    images: list[np.ndarray] = []
    logits: list[np.ndarray] = []
    distances: list[float] = []
    best: dict[int, tuple[float, int, np.ndarray]] = {}  # by genre: a song's samples may be too many to keep
    for fragment in Fragments(items):
        if fragment.silent:
            continue
        levels = mel_image_levels(fragment.samples, spec)
        scores = run_on_levels(model, levels[np.newaxis], spec)
        for genre in range(scores.shape[1]):
            weight = float(log_odds(scores, genre)[0])
            if genre not in best or weight > best[genre][0]:
                best[genre] = weight, len(images), fragment.samples
        if info.out_of_distribution:
            distances.append(network.distance(colours[levels]))
        starts.append(fragment.index * spec.fragment_seconds)
        images.append(levels)
        logits.append(scores[0])
    probabilities = tf.nn.softmax(np.stack(logits)).numpy()
    if info.calibration:  # the model without the outputs that are served has no temperature
        probabilities = temper(probabilities, info.calibration.temperature)
    answer = song_answer(info, probabilities, distances)
    evidence = log_odds(np.stack(logits), answer.genre).numpy()
    _, decisive, samples = best[answer.genre]
    maps: dict[int, np.ndarray] = {}
    if layer := last_map(model):
        chosen = np.argsort(-evidence, kind="stable")[:MOST_FRAGMENTS].tolist()
        found = grad_cam(model, layer, np.stack([images[index] for index in chosen]), answer.genre, spec)
        maps = dict(zip(chosen, found, strict=True))
    fragments = tuple(
        FragmentEvidence(start, levels, scores, float(weight), maps.get(index))
        for index, (start, levels, scores, weight) in enumerate(zip(starts, images, logits, evidence, strict=True))
    )
    return answer, fragments, decisive, samples
