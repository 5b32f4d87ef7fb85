"""Salient audio: the region where an attribution map is largest, in seconds and Hz, and its sound."""

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
"""Largest share of the image in a region or mask."""

_ORDER = 8
"""Order of the Butterworth filter, which runs forwards and backwards: 96 dB per octave and no delay."""

_FADE_SECONDS = 0.01

_STEPS = 2_000
"""Number of frequencies between which `hz_at` interpolates, about 5 Hz apart."""


@dataclasses.dataclass(frozen=True)
class Region:
    """A rectangle of the image; seconds are from the start of the fragment."""

    start_seconds: float
    end_seconds: float
    low_hz: float
    high_hz: float


def region(importance: np.ndarray, spec: MelSpec) -> Region:
    """Find the rectangle of cells with the largest sum of the map, of at most `LARGEST_SHARE` of the image.

    Of equal sums, the smallest rectangle is returned.
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
    """Divide the image into bands as equal in height as possible: parts + 1 edges in Hz, from high to low."""
    inner = [hz_at(1 - row / spec.image_height, spec) for row in edges(spec.image_height, parts)[1:-1]]
    return [spec.mel_max_hz, *inner, spec.mel_min_hz]


def hz_at(height: float, spec: MelSpec) -> float:
    """Convert a height in the image (0 lower edge, 1 upper edge) to Hz; the inverse of `mel_axis.height_of`."""
    frequencies = np.linspace(spec.mel_min_hz, spec.mel_max_hz, _STEPS)
    return float(np.interp(height, [height_of(hz, spec) for hz in frequencies], frequencies))


def cut(samples: np.ndarray, part: Region, spec: MelSpec) -> np.ndarray:
    """Cut a region out of a fragment, in time and frequency: float32 [n], as long as the region.

    The peak is that of the fragment, so that faint bands are audible. Raises ValueError if the region is empty or
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
    """Silence all but the most important cells (`LARGEST_SHARE`): uint8 [image_height, image_width]."""
    return np.where(most(importance, LARGEST_SHARE), levels, 0).astype(np.uint8)
