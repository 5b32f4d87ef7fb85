"""The front-end: one fragment of a waveform becomes one mel image.

This is its only implementation: ingest runs it, the waveform signature traces it and the TFLite front-end contains it.
All operations are TensorFlow operations that are built into TFLite. An image depends only on its own fragment: the
reference level is the fragment's own maximum.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import matplotlib
import numpy as np
import tensorflow as tf

from tumbao.schema.mel_spec import MelSpec

_POWER_FLOOR = 1e-10


@functools.lru_cache(maxsize=4)
def palette(spec: MelSpec) -> np.ndarray:
    """Return the colours of the mel image, from the floor to the fragment's maximum.

    Parameters
    ----------
    spec : MelSpec
        Names the colour map.

    Returns
    -------
    colours : np.ndarray [shape=(256, 3), dtype=uint8]
        RGB of each of the 256 levels.
    """
    return (matplotlib.colormaps[spec.colormap](np.arange(256))[:, :3] * 255).round().astype(np.uint8)


@functools.lru_cache(maxsize=4)
def _constants(spec: MelSpec) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Return window, filterbank and the matrices of the resize, float32; None where nothing is resized."""
    phase = 2 * np.pi * np.arange(spec.window_samples) / spec.window_samples
    window = (0.5 - 0.5 * np.cos(phase)).astype(np.float32)  # periodic Hann
    return window, mel_filterbank(spec), *resize_matrices(spec)


def resize_matrices(spec: MelSpec) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return the matrices that resize a mel spectrogram to an image: rows @ decibels @ columns.

    Parameters
    ----------
    spec : MelSpec
        The front-end's parameters.

    Returns
    -------
    rows : np.ndarray [shape=(image_height, mel_bands), dtype=float32] or None
        Also flips the bands: low bands come first in the spectrogram and last in the image. None if the image has one
        row per band; the bands are then only flipped.
    columns : np.ndarray [shape=(frames, image_width), dtype=float32] or None
        None if the image has one column per frame.
    """
    # An antialiased linear resize is linear in each direction: resizing the identity returns its matrix.
    # TFLite cannot convert tf.image.resize itself, which becomes ScaleAndTranslate, but it converts two products.
    rows = _resize_matrix(spec.mel_bands, spec.image_height)
    columns = _resize_matrix(spec.frames, spec.image_width)
    upright = None if rows is None else np.ascontiguousarray(rows[::-1])  # low frequencies at the bottom
    return upright, None if columns is None else np.ascontiguousarray(columns.T)


def mel_filterbank(spec: MelSpec) -> np.ndarray:
    """Build the triangular filters of Slaney's mel scale, each of unit area.

    Below 1 kHz the scale is linear, 15 mel per kHz; above, 27 mel are a factor of 6.4 (M. Slaney, Auditory Toolbox,
    1998).

    Parameters
    ----------
    spec : MelSpec
        The front-end's parameters.

    Returns
    -------
    filterbank : np.ndarray [shape=(window_samples // 2 + 1, mel_bands), dtype=float32]
        Weight of each frequency of the spectrum in each band. Equal to ``librosa.filters.mel(...).T``; librosa would
        add a compiler and 60 MB to every worker.
    """
    edges_mel = np.linspace(_to_mel(spec.mel_min_hz), _to_mel(spec.mel_max_hz), spec.mel_bands + 2)
    linear, steps = edges_mel / 15 * 1_000, np.maximum(edges_mel - 15, 0)
    edges_hz = np.where(edges_mel < 15, linear, 1_000 * 6.4 ** (steps / 27))
    low, peak, high = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    hz = np.linspace(0, spec.sample_rate_hz / 2, spec.window_samples // 2 + 1)[:, np.newaxis]
    triangles = np.maximum(0, np.minimum((hz - low) / (peak - low), (high - hz) / (high - peak)))
    return (triangles * 2 / (high - low)).astype(np.float32)


def _to_mel(hz: float) -> float:
    return 15 * hz / 1_000 if hz < 1_000 else 15 + 27 * float(np.log(hz / 1_000) / np.log(6.4))


def _resize_matrix(size_in: int, size_out: int) -> np.ndarray | None:
    if size_in == size_out:
        return None
    with tf.init_scope():
        identity = tf.eye(size_in)[:, :, tf.newaxis]
        resized = tf.image.resize(identity, (size_out, size_in), antialias=True)
        return resized[:, :, 0].numpy()


def mel_decibels(fragments: tf.Tensor, spec: MelSpec) -> tf.Tensor:
    """Compute the mel spectrogram in dB relative to each fragment's own maximum.

    Parameters
    ----------
    fragments : tf.Tensor [shape=(n, fragment_samples), dtype=float32]
        Mono waveforms in [-1, 1] at `spec.sample_rate_hz`.
    spec : MelSpec
        The front-end's parameters.

    Returns
    -------
    decibels : tf.Tensor [shape=(n, frames, mel_bands), dtype=float32]
        Values in [-dynamic_range_db, 0]. A silent fragment is at the floor everywhere.

    Notes
    -----
    Agrees with ``librosa.power_to_db(librosa.feature.melspectrogram(...), ref=np.max, top_db=80)``, except for silence,
    for which librosa returns 0 dB.
    """
    window, filterbank, _, _ = _constants(spec)
    half = spec.window_samples // 2
    padded = tf.pad(fragments, [[0, 0], [half, half]])
    frames = tf.signal.frame(padded, spec.window_samples, spec.hop_samples)
    spectrum = tf.signal.rfft(frames * window)
    power = tf.square(tf.math.real(spectrum)) + tf.square(tf.math.imag(spectrum))
    mel = tf.tensordot(power, filterbank, 1)
    peak = tf.reduce_max(mel, axis=[1, 2], keepdims=True)
    ratio = tf.maximum(mel, _POWER_FLOOR) / tf.maximum(peak, _POWER_FLOOR)
    decibels = tf.maximum(10.0 / np.log(10.0) * tf.math.log(ratio), -spec.dynamic_range_db)
    audible = tf.cast(peak > _POWER_FLOOR, tf.float32)
    return decibels * audible - spec.dynamic_range_db * (1.0 - audible)


def mel_levels(fragments: tf.Tensor, spec: MelSpec) -> tf.Tensor:
    """Compute the mel images of fragments as indexes into the palette.

    Parameters
    ----------
    fragments : tf.Tensor [shape=(n, fragment_samples), dtype=float32]
        Mono waveforms in [-1, 1] at `spec.sample_rate_hz`.
    spec : MelSpec
        The front-end's parameters.

    Returns
    -------
    levels : tf.Tensor [shape=(n, image_height, image_width), dtype=int32]
        0 (the floor) to 255 (the fragment's maximum); low frequencies at the bottom, time from left to right.
    """
    _, _, rows, columns = _constants(spec)
    image = tf.transpose(mel_decibels(fragments, spec), [0, 2, 1])
    # tensordot keeps the constant on one side of a plain product: [n, bands, frames] -> [n, bands, width]
    image = image if columns is None else tf.tensordot(image, columns, 1)
    # low frequencies at the bottom; the matrix flips the bands, too
    image = image[:, ::-1] if rows is None else tf.transpose(tf.tensordot(image, rows.T, [[1], [0]]), [0, 2, 1])
    levels = tf.round((image + spec.dynamic_range_db) * (255.0 / spec.dynamic_range_db))
    return tf.cast(tf.clip_by_value(levels, 0.0, 255.0), tf.int32)


@functools.lru_cache(maxsize=2)
def traced_levels(spec: MelSpec) -> Callable[[np.ndarray], np.ndarray]:
    """Trace the front-end for single fragments.

    Parameters
    ----------
    spec : MelSpec
        The front-end's parameters.

    Returns
    -------
    levels : callable
        Samples of one fragment [fragment_samples] → its levels, see `mel_levels`.
    """
    signature = [tf.TensorSpec([1, spec.fragment_samples], tf.float32)]
    traced = tf.function(lambda fragments: mel_levels(fragments, spec), input_signature=signature)
    return lambda samples: traced(samples[np.newaxis])[0].numpy()


def mel_image(fragments: tf.Tensor, spec: MelSpec) -> tf.Tensor:
    """Compute the mel images of fragments in colour, the input of the model.

    Parameters
    ----------
    fragments : tf.Tensor [shape=(n, fragment_samples), dtype=float32]
        Mono waveforms in [-1, 1] at `spec.sample_rate_hz`.
    spec : MelSpec
        The front-end's parameters.

    Returns
    -------
    images : tf.Tensor [shape=(n, image_height, image_width, 3), dtype=uint8]
        RGB in 0..255.
    """
    return tf.gather(tf.constant(palette(spec)), mel_levels(fragments, spec))
