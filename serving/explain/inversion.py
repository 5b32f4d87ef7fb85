"""Inversion of the front-end: mel image → sound.

Information that the image does not contain is estimated or missing: phases, everything between two columns, the
frequencies within a mel band, the overall loudness, and everything below the floor.
"""

from __future__ import annotations

import functools

import numpy as np

from tumbao.components.ingest.mel import mel_filterbank, mel_levels, resize_matrices
from tumbao.schema.mel_spec import MelSpec

PEAK = 0.9  # peak of the reconstructed samples; the image does not contain the loudness
_SPREADINGS = 60  # iterations that distribute the power of each band over its frequencies
_ITERATIONS = 16  # iterations of the Griffin-Lim algorithm


def decibels(levels: np.ndarray, spec: MelSpec) -> np.ndarray:
    """Undo the resize: levels [image_height, image_width] → mel spectrogram in dB, float64 [mel_bands, frames].

    Of all spectrograms that result in this image, it is the one with the smallest sum of squares. Low bands come first.
    """
    under_maximum = np.asarray(levels, float) * (spec.dynamic_range_db / 255) - spec.dynamic_range_db
    rows, columns = _inverses(spec)
    under_maximum = under_maximum[::-1] if rows is None else rows @ under_maximum
    under_maximum = under_maximum if columns is None else under_maximum @ columns
    return np.clip(under_maximum, -spec.dynamic_range_db, 0)


def difference_db(levels: np.ndarray, others: np.ndarray, spec: MelSpec) -> float:
    """Compute the mean absolute difference between two images in palette steps, in dB."""
    return float(np.abs(np.asarray(levels, float) - others).mean() * spec.dynamic_range_db / 255)


def reconstruct_audio(levels: np.ndarray, spec: MelSpec) -> np.ndarray:
    """Reconstruct a sound from its mel image: levels [image_height, image_width] → mono float32 [fragment_samples]."""
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


def mel_image_levels(samples: np.ndarray, spec: MelSpec) -> np.ndarray:
    """Compute the mel image of mono samples in [-1, 1]: uint8 [image_height, image_width], in palette steps."""
    return mel_levels(samples[np.newaxis], spec).numpy()[0].astype(np.uint8)


@functools.lru_cache(maxsize=4)
def _inverses(spec: MelSpec) -> tuple[np.ndarray | None, np.ndarray | None]:
    rows, columns = resize_matrices(spec)
    return None if rows is None else np.linalg.pinv(rows), None if columns is None else np.linalg.pinv(columns)


def _spectrum(mel: np.ndarray, spec: MelSpec) -> np.ndarray:
    """Find a non-negative power spectrum with this mel spectrogram, by Lee & Seung's multiplicative updates."""
    from scipy.sparse import csr_matrix

    power = np.power(10, (mel + spec.dynamic_range_db) / 10).astype(np.float32)  # 1 is the floor
    spread = csr_matrix(mel_filterbank(spec))
    gather = spread.T.tocsr()
    wanted = spread @ power
    spectrum = wanted.copy()
    for _ in range(_SPREADINGS):
        spectrum *= wanted / np.maximum(spread @ (gather @ spectrum), np.finfo(np.float32).tiny)
    return spectrum
