"""From a map to something to listen to: where it is largest, in seconds and Hz, and the sound there."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
from scipy.signal import butter, sosfiltfilt

from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.explain.attribution import edges
from tumbao.serving.explain.faithfulness import CELLS, by_cell, most
from tumbao.serving.mel_axis import height_of

LARGEST_SHARE = 0.2
"""How much of the picture is listened to."""

_ORDER = 8
"""Of the Butterworth filter, which is run forwards and backwards: 96 dB an octave and no delay."""

_FADE_SECONDS = 0.01

_STEPS = 2_000
"""Frequencies between which `hz_at` interpolates: some 5 Hz apart."""


@dataclasses.dataclass(frozen=True)
class Region:
    """A rectangle of the picture.

    Parameters
    ----------
    start_seconds, end_seconds : float
        In the fragment.
    low_hz, high_hz : float
        Its band.
    """

    start_seconds: float
    end_seconds: float
    low_hz: float
    high_hz: float


def region(importance: np.ndarray, spec: MelSpec) -> Region:
    """Find the rectangle that speaks most for the genre.

    Parameters
    ----------
    importance : np.ndarray [shape=(image_height, image_width)]
        A map.
    spec : MelSpec
        What its rows and columns are.

    Returns
    -------
    region : Region
        Of all rectangles of cells of at most `LARGEST_SHARE` of the picture, the one with the largest sum of the map;
        the smallest of several.
    """
    sums = np.zeros((CELLS + 1, CELLS + 1))
    sums[1:, 1:] = by_cell(importance).cumsum(0).cumsum(1)
    sides = list(itertools.combinations(range(CELLS + 1), 2))
    best, found = (-np.inf, 0), (0, 1, 0, 1)
    for (top, bottom), (left, right) in itertools.product(sides, sides):
        area = (bottom - top) * (right - left)
        if area <= LARGEST_SHARE * CELLS**2:
            total = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
            best, found = max((best, found), ((round(total, 9), -area), (top, bottom, left, right)))
    top, bottom, left, right = found
    seconds, hz = spec.fragment_seconds * edges(spec.image_width, CELLS) / spec.image_width, band_edges(spec, CELLS)
    return Region(float(seconds[left]), float(seconds[right]), hz[bottom], hz[top])


def band_edges(spec: MelSpec, parts: int) -> list[float]:
    """Divide the mel image into bands as equally high as can be.

    Parameters
    ----------
    spec : MelSpec
        What its rows are.
    parts : int
        How many bands.

    Returns
    -------
    edges : list of float [length parts + 1]
        In Hz, from `spec.mel_max_hz` down to `spec.mel_min_hz`.
    """
    inner = [hz_at(1 - row / spec.image_height, spec) for row in edges(spec.image_height, parts)[1:-1]]
    return [spec.mel_max_hz, *inner, spec.mel_min_hz]


def hz_at(height: float, spec: MelSpec) -> float:
    """Find the frequency at a height of the mel image.

    Parameters
    ----------
    height : float
        0 at the lower edge of the image, 1 at the upper.
    spec : MelSpec
        Parameters of the image.

    Returns
    -------
    float
        In Hz, within `spec.mel_min_hz` and `spec.mel_max_hz`; the inverse of `mel_figure.height_of`.
    """
    frequencies = np.linspace(spec.mel_min_hz, spec.mel_max_hz, _STEPS)
    return float(np.interp(height, [height_of(hz, spec) for hz in frequencies], frequencies))


def cut(samples: np.ndarray, part: Region, spec: MelSpec) -> np.ndarray:
    """Cut a region out of a sound: its time alone, and its band alone.

    Parameters
    ----------
    samples : np.ndarray [shape=(spec.fragment_samples,), dtype=float32]
        The fragment.
    part : Region
        What is left.
    spec : MelSpec
        Gives the rate.

    Returns
    -------
    sound : np.ndarray [shape=(n,), dtype=float32]
        As long as the region, with its loudest sample as loud as the fragment's, so that a faint band is heard too.

    Raises
    ------
    ValueError
        If the region is empty or lies outside of the fragment.
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
    """Filter; a band that begins at 0 Hz or ends at the highest frequency is open there."""
    bounds = (part.low_hz > 0, "highpass", part.low_hz), (part.high_hz < rate / 2, "lowpass", part.high_hz)
    for bounded, kind, hz in bounds:
        if bounded:
            samples = sosfiltfilt(butter(_ORDER, hz, kind, fs=rate, output="sos"), samples)
    return samples


def masked(levels: np.ndarray, importance: np.ndarray) -> np.ndarray:
    """Silence all of a fragment but the most important cells.

    Parameters
    ----------
    levels : np.ndarray [shape=(image_height, image_width), dtype=uint8]
        The fragment.
    importance : np.ndarray [shape=(image_height, image_width)]
        A map.

    Returns
    -------
    levels : np.ndarray [shape=(image_height, image_width), dtype=uint8]
        The floor but in `LARGEST_SHARE` of the cells.
    """
    return np.where(most(importance, LARGEST_SHARE), levels, 0).astype(np.uint8)
