"""Attribution report of a song: evidence from every fragment, and an analysis of the decisive fragment."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterable

import keras
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
    measure,
    most,
    occlusion,
    random_maps,
)
from tumbao.serving.explain.inversion import mel_image_levels, reconstruct_audio
from tumbao.serving.explain.network import Network, NoGradientError, log_odds, run_on_levels
from tumbao.serving.out_of_distribution import is_in_distribution
from tumbao.serving.song import SongAnswer, combine
from tumbao.serving.style import hz_at

MAX_SHARE = 0.2
"""Largest share of the image in a region or mask."""

_ORDER = 8
"""Order of the Butterworth filter, which runs forwards and backwards: 96 dB per octave and no delay."""

_FADE_SECONDS = 0.01


@dataclasses.dataclass(frozen=True)
class Region:
    """A rectangle of the image; seconds are from the start of the fragment."""

    start_seconds: float
    end_seconds: float
    low_hz: float
    high_hz: float


def region(importance: np.ndarray, spec: MelSpec) -> Region:
    """Find the rectangle of cells with the largest sum of the map, of at most `MAX_SHARE` of the image.

    Of equal sums, the smallest rectangle is returned.
    """
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
    """Cut a region out of a fragment, in time and frequency: float32 [n], as long as the region.

    The peak is that of the fragment, so that faint bands are audible. Raises `ValueError` for a region that is empty or
    outside of the fragment.
    """
    rate, length = spec.sample_rate_hz, len(samples) / spec.sample_rate_hz
    if not 0 <= part.start_seconds < part.end_seconds <= length or not 0 <= part.low_hz < part.high_hz <= rate / 2:
        raise ValueError(f"Expected a region within {length:g} s and {rate / 2:g} Hz. Received: {part}")
    sound = _band(samples.astype(np.float64), part, rate)
    sound = sound[round(part.start_seconds * rate) : round(part.end_seconds * rate)]
    fade = min(round(_FADE_SECONDS * rate), len(sound) // 2)
    ramp = np.linspace(0, 1, fade, endpoint=False)
    sound[:fade] *= ramp
    sound[len(sound) - fade :] *= ramp[::-1]
    peak = np.abs(sound).max()
    return (sound * (np.abs(samples).max() / peak if peak else 1)).astype(np.float32)


def _band(samples: np.ndarray, part: Region, rate: int) -> np.ndarray:
    """Filter; a band that begins at 0 Hz or ends at the Nyquist frequency is open there."""
    bounds = (part.low_hz > 0, "highpass", part.low_hz), (part.high_hz < rate / 2, "lowpass", part.high_hz)
    for bounded, kind, hz in bounds:
        if bounded:
            samples = sosfiltfilt(butter(_ORDER, hz, kind, fs=rate, output="sos"), samples)
    return samples


def masked(levels: np.ndarray, importance: np.ndarray) -> np.ndarray:
    """Silence all but the most important cells (`MAX_SHARE`): uint8 [image_height, image_width]."""
    return np.where(most(importance, MAX_SHARE), levels, 0).astype(np.uint8)


MOST_FRAGMENTS = 12
"""Largest number of fragments with a map; in longer songs, those with the most evidence for the genre."""

RANDOM_MAPS = 8
"""Number of random maps for comparison; each takes twelve images through the network."""

METHODS = OCCLUSION, GRADIENTS, CAM = "Occlusion", "Integrated gradients", "Grad-CAM"
"""Names of the attribution methods; occlusion makes no assumption about the network."""


@dataclasses.dataclass(frozen=True, eq=False)
class FragmentEvidence:
    """A fragment of the song.

    `levels` is its mel image, uint8 [image_height, image_width]. `scores` float32 [genres] are logits, before the
    model's temperature; `evidence` is the log-odds of the song's genre computed from them. `map` is Grad-CAM for the
    song's genre, None if the network does not allow it or the fragment is not among the `MOST_FRAGMENTS`.
    """

    start_seconds: float
    levels: np.ndarray
    scores: np.ndarray
    evidence: float
    map: np.ndarray | None


@dataclasses.dataclass(frozen=True, eq=False)
class Method:
    """An attribution map of the decisive fragment; positive values support the genre."""

    name: str
    map: np.ndarray
    faithfulness: Faithfulness


@dataclasses.dataclass(frozen=True, eq=False)
class AttributionReport:
    """Explanation of a song's genre.

    `fragments` are the fragments in order, without silent ones. `decisive` is the index of the one with the most
    evidence for the genre; all further fields describe this one. `methods` starts with the most faithful map; `loudest`
    and `random` are for comparison: the order from loud to faint, and random orders. `part` is the region where the
    first map is largest. `original` is the audio of the fragment, `region_audio` that of `part`, and `reconstructed` is
    reconstructed from the most important cells of the image alone (float32).
    """

    song: str
    answer: SongAnswer
    fragments: tuple[FragmentEvidence, ...]
    decisive: int
    occlusion: Occlusion
    methods: tuple[Method, ...]
    loudest: Faithfulness
    random: tuple[Faithfulness, ...]
    part: Region
    original: np.ndarray
    region_audio: np.ndarray
    reconstructed: np.ndarray


def attribute_genre(
    network: Network, song: str, items: Iterable[Fragment | SongSummary], seed: int
) -> AttributionReport:
    """Attribute a song's genre to parts of its mel images; the same `seed` (of the random maps) gives the same result.

    `items` is the song as returned by `fragments.read`. Raises AudioError if the items end with one.
    """
    progress.start("attribution", 4)
    spec, model = network.spec, network.logits_model
    answer, fragments, decisive, samples = _analyse_fragments(network, model, items)
    progress.advance("attribution")
    genre, levels = answer.genre, fragments[decisive].levels
    occluded = occlusion(model, levels, genre, spec)
    maps = {OCCLUSION: occluded.map}
    if (cam := fragments[decisive].map) is not None:
        maps[CAM] = cam
    with contextlib.suppress(NoGradientError):
        maps[GRADIENTS] = integrated_gradients(network.genre_gradient, levels, genre)
    progress.advance("attribution")
    references = [levels, *random_maps(levels.shape, RANDOM_MAPS, seed)]
    measured = measure(model, levels, [*maps.values(), *references], genre, spec)
    loudest, *random = measured[len(maps) :]
    progress.advance("attribution")
    methods = [Method(name, one, truth) for (name, one), truth in zip(maps.items(), measured[: len(maps)], strict=True)]
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
    network: Network, model: keras.Model, items: Iterable[Fragment | SongSummary]
) -> tuple[SongAnswer, tuple[FragmentEvidence, ...], int, np.ndarray]:
    """Classify the song; return the answer, the fragments, the index of the decisive one and its samples."""
    spec, colours, calibration = network.spec, palette(network.spec), network.info.calibration
    ranges, in_distribution = network.info.familiarity, []
    starts: list[float] = []
    pictures: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    best: dict[int, tuple[float, int, np.ndarray]] = {}  # by genre: a song's samples may be too many to keep
    for fragment in Fragments(items):
        if fragment.silent:
            continue
        picture = mel_image_levels(fragment.samples, spec)
        score = run_on_levels(model, picture[np.newaxis], spec)
        for genre in range(score.shape[1]):
            evidence = float(log_odds(score, genre)[0])
            if genre not in best or evidence > best[genre][0]:
                best[genre] = evidence, len(pictures), fragment.samples
        in_distribution.append(ranges is None or ranges.contains(colours[picture], fragment.padded))
        starts.append(fragment.index * spec.fragment_seconds)
        pictures.append(picture)
        scores.append(score[0])
    probabilities = tf.nn.softmax(np.stack(scores)).numpy()
    if calibration:
        probabilities = temper(probabilities, calibration.temperature)
    answer = combine(probabilities, calibration.threshold if calibration else 0.0)
    answer = dataclasses.replace(answer, confident=answer.confident and is_in_distribution(in_distribution))
    evidence = log_odds(np.stack(scores), answer.genre).numpy()
    _, decisive, samples = best[answer.genre]
    chosen = np.sort(np.argsort(-evidence, kind="stable")[:MOST_FRAGMENTS]) if last_map(model) else ()
    shown = np.stack([pictures[index] for index in chosen]) if len(chosen) else None
    maps = {} if shown is None else dict(zip(chosen, grad_cam(model, shown, answer.genre, spec), strict=True))
    fragments = tuple(
        FragmentEvidence(start, picture, score, float(weight), maps.get(index))
        for index, (start, picture, score, weight) in enumerate(zip(starts, pictures, scores, evidence, strict=True))
    )
    return answer, fragments, decisive, samples
