"""The frequency axis of a mel image."""

from __future__ import annotations

import math

from tumbao.schema.mel_spec import MelSpec

_TICKS_HZ = (500, 1_000, 2_000, 4_000, 8_000, 16_000)


def frequencies(spec: MelSpec) -> list[tuple[str, float]]:
    """Return the tick labels in kHz and their heights in the image, 0 to 1."""
    heights = ((hz, height_of(hz, spec)) for hz in _TICKS_HZ)
    return [(f"{hz / 1_000:g}", height) for hz, height in heights if 0.04 <= height <= 1]


def height_of(hz: float, spec: MelSpec) -> float:
    """Return the height of a frequency in the mel image: 0 at the lower edge, 1 at the upper; it may lie outside."""
    low, high = _mel(spec.mel_min_hz), _mel(spec.mel_max_hz)
    band = (_mel(hz) - low) / (high - low) * (spec.mel_bands + 1) - 1
    return (band + 0.5) / spec.mel_bands


def _mel(hz: float) -> float:
    """Slaney's scale: linear up to 1 kHz, logarithmic above."""
    return 3 * hz / 200 if hz < 1_000 else 15 + 27 * math.log(hz / 1_000) / math.log(6.4)
