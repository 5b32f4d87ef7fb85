"""Attribution map over its mel image: grey at 0, orange where it supports the genre, blue where it opposes it."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

FOR, AGAINST = (255, 150, 30), (70, 160, 255)
"""RGB; orange and blue can be distinguished with every kind of colour vision."""

_BLUR = 1 / 75
"""Standard deviation of the blur, as a share of the image's sides; single pixels would not be visible."""

_FULL_PERCENTILE = 99
"""Percentile of the map's absolute values that gets full colour."""


def overlay(levels: np.ndarray, importance: np.ndarray, size: tuple[int, int]) -> bytes:
    """Blend a map with its mel image (levels uint8) and encode it as JPEG of `size` (width, height) pixels."""
    blurred = gaussian_filter(importance.astype(np.float64), [side * _BLUR for side in importance.shape])
    full = np.percentile(np.abs(blurred), _FULL_PERCENTILE)
    strength = np.clip(blurred / full, -1, 1)[..., np.newaxis] if full else np.zeros((*levels.shape, 1))
    brightness = levels[..., np.newaxis] / 255
    tint = np.where(strength > 0, FOR, AGAINST) * (0.3 + 0.7 * brightness)
    grey = 170 * brightness * np.ones(3)
    mixed = grey + np.abs(strength) * (tint - grey)
    buffer = io.BytesIO()
    picture = Image.fromarray(mixed.round().astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    picture.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()
