"""Mel image → sound: the front-end backwards, as far as that goes.

What the image does not hold is made up or missing: phases, everything between two columns, which of the frequencies
within a mel band sounded, the loudness of the whole, and what lay under the floor.
"""

from __future__ import annotations

import functools

import numpy as np

from tumbao.components.ingest.mel import mel_filterbank, mel_levels, palette, resize_matrices
from tumbao.schema.mel_spec import MelSpec

PEAK = 0.9
"""Of the loudest sample: how loud it was the image does not tell."""

_SPREADINGS = 60
"""Steps in which the power of a band is divided among its frequencies."""

_ITERATIONS = 16
"""Of Griffin and Lim's algorithm; 32 bring the image nearer by a fiftieth of a dB."""


def decibels(levels: np.ndarray, spec: MelSpec) -> np.ndarray:
    """Undo the resize.

    Parameters
    ----------
    levels : np.ndarray [shape=(image_height, image_width)]
        A picture in the palette's steps, 0 (the floor) to 255 (the maximum), low frequencies at the bottom; steps may
        be broken.
    spec : MelSpec
        How it was drawn.

    Returns
    -------
    decibels : np.ndarray [shape=(mel_bands, frames), dtype=float64]
        Low bands first, in [-dynamic_range_db, 0]: of all mel spectrograms that would give this picture, the one with
        the smallest squares, clipped.
    """
    under_maximum = np.asarray(levels, float) * (spec.dynamic_range_db / 255) - spec.dynamic_range_db
    rows, columns = _inverses(spec)
    under_maximum = under_maximum[::-1] if rows is None else rows @ under_maximum
    under_maximum = under_maximum if columns is None else under_maximum @ columns
    return np.clip(under_maximum, -spec.dynamic_range_db, 0)


def apart_db(levels: np.ndarray, others: np.ndarray, spec: MelSpec) -> float:
    """Tell how far two pictures are apart.

    Parameters
    ----------
    levels, others : np.ndarray [shape=(image_height, image_width)]
        In the palette's steps.
    spec : MelSpec
        How they were drawn.

    Returns
    -------
    distance : float
        Mean difference, in dB.
    """
    return float(np.abs(np.asarray(levels, float) - others).mean() * spec.dynamic_range_db / 255)


def sound(levels: np.ndarray, spec: MelSpec) -> np.ndarray:
    """Make a sound whose mel image is a picture.

    Parameters
    ----------
    levels : np.ndarray [shape=(image_height, image_width)]
        A picture in the palette's steps, 0 (the floor) to 255 (the maximum), low frequencies at the bottom; steps may
        be broken.
    spec : MelSpec
        How it was drawn.

    Returns
    -------
    samples : np.ndarray [shape=(fragment_samples,), dtype=float32]
        Mono, its loudest sample at `PEAK`; zeros for an empty picture. The same picture gives the same samples.

    Raises
    ------
    ValueError
        If the picture is of another shape, or its values are not within 0 and 255.
    """
    levels = np.asarray(levels)
    if levels.shape != spec.image_shape[:2] or not (levels >= 0).all() or not (levels <= 255).all():
        raise ValueError(
            f"Expected a picture of {spec.image_height}×{spec.image_width} steps within 0 and 255. "
            f"Received: {levels.shape}, {levels.min()} to {levels.max()}"
        )
    if not levels.any():
        return np.zeros(spec.fragment_samples, np.float32)
    import librosa

    samples = librosa.griffinlim(
        np.sqrt(_spectrum(decibels(levels, spec), spec)),
        n_iter=_ITERATIONS,
        hop_length=spec.hop_samples,
        win_length=spec.window_samples,
        length=spec.fragment_samples,
        momentum=0.99,
        random_state=0,
    )
    return (samples * (PEAK / np.abs(samples).max())).astype(np.float32)


def drawn(samples: np.ndarray, spec: MelSpec) -> np.ndarray:
    """Draw a sound as the model sees it.

    Parameters
    ----------
    samples : np.ndarray [shape=(fragment_samples,), dtype=float32]
        Mono, in [-1, 1].
    spec : MelSpec
        The front-end's parameters.

    Returns
    -------
    levels : np.ndarray [shape=(image_height, image_width), dtype=uint8]
        In the palette's steps.
    """
    return mel_levels(samples[np.newaxis], spec).numpy()[0].astype(np.uint8)


def levels_of(image: np.ndarray, spec: MelSpec) -> np.ndarray:
    """Undo the colour map.

    Parameters
    ----------
    image : np.ndarray [shape=(image_height, image_width, 3)]
        RGB in 0..255.
    spec : MelSpec
        Names the colour map.

    Returns
    -------
    levels : np.ndarray [shape=(image_height, image_width), dtype=uint8]
        The step of the palette whose colour is nearest.
    """
    colours = palette(spec).astype(np.float32)
    pixels = np.asarray(image, np.float32).reshape(-1, 3)
    # |pixel - colour|², without what all colours share
    distances = (colours**2).sum(axis=1) - 2 * pixels @ colours.T
    return distances.argmin(axis=1).astype(np.uint8).reshape(spec.image_shape[:2])


@functools.lru_cache(maxsize=4)
def _inverses(spec: MelSpec) -> tuple[np.ndarray | None, np.ndarray | None]:
    rows, columns = resize_matrices(spec)
    return None if rows is None else np.linalg.pinv(rows), None if columns is None else np.linalg.pinv(columns)


def _spectrum(mel: np.ndarray, spec: MelSpec) -> np.ndarray:
    """Find a power spectrum, 0 or greater, whose mel spectrogram this is; see Lee & Seung's multiplicative updates."""
    from scipy.sparse import csr_matrix

    power = np.power(10, (mel + spec.dynamic_range_db) / 10).astype(np.float32)  # 1 is the floor
    spread = csr_matrix(mel_filterbank(spec))
    gather = spread.T.tocsr()
    wanted = spread @ power
    spectrum = wanted.copy()
    for _ in range(_SPREADINGS):
        spectrum *= wanted / np.maximum(spread @ (gather @ spectrum), np.finfo(np.float32).tiny)
    return spectrum
