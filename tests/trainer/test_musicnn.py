"""The backbone equals the same network in NumPy and in TFLite, and its input librosa's mel spectrogram."""

from __future__ import annotations

from typing import Any

import keras
import librosa
import numpy as np
import pytest
import tensorflow as tf

from tumbao.components.ingest.mel import mel_image, mel_levels, palette
from tumbao.schema.mel_spec import FINE
from tumbao.trainer import musicnn as musicnn_module
from tumbao.trainer.colormap_inverse import levels
from tumbao.trainer.musicnn import (
    FEATURES,
    FRONT,
    MID,
    REFERENCE_POWER,
    SHAPES,
    WINDOWS,
    Tensors,
    ensure_musicnn,
    log_mel,
    musicnn,
    random_tensors,
    read_tensors,
)
from tumbao.trainer.weights import WeightsError, tensors_digest


@pytest.fixture(scope="module")
def uneven() -> Tensors:
    """Return random weights whose normalisations change values, some of them with a negative scale."""
    rng = np.random.default_rng(8)
    tensors = random_tensors(seed=8)
    for name, shape in SHAPES.items():
        if not name.endswith("/kernel"):
            low = 0.2 if name.endswith("variance") else -0.5
            tensors[name] = rng.uniform(low, 1.5, shape).astype(np.float32)
    return tensors


@pytest.fixture(scope="module")
def backbone(uneven: Tensors, tmp_path_factory: pytest.TempPathFactory) -> keras.Model:
    path = tmp_path_factory.mktemp("weights") / "uneven.npz"
    np.savez(path, **dict[str, Any](uneven))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(musicnn_module, "DIGEST", tensors_digest([uneven[name] for name in SHAPES]))
        return musicnn(path)


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    """One fragment: a melody of falling tones with noise that beats, peak below 1."""
    rng = np.random.default_rng(9)
    time = np.arange(FINE.fragment_samples) / FINE.sample_rate_hz
    hertz = 880 / (1 + np.floor(time * 2) % 5)
    beats = rng.standard_normal(time.size) * np.exp(-(time * 4 % 1) * 20)
    return (0.3 * np.sin(2 * np.pi * np.cumsum(hertz) / FINE.sample_rate_hz) + 0.1 * beats).astype(np.float32)


@pytest.fixture(scope="module")
def images(sound: np.ndarray) -> np.ndarray:
    return mel_image(tf.constant(np.stack([sound, sound[::-1]])), FINE).numpy()


def recomputed(frames: np.ndarray, tensors: Tensors) -> np.ndarray:
    """Compute the features of windows [n, 187, 96] in float64, each convolution as a sum over its filter's places."""

    def norm(values: np.ndarray, layer: str) -> np.ndarray:
        gamma, beta, mean, variance = (
            tensors[f"{layer}_norm/{name}"].astype(np.float64)
            for name in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return gamma * (values - mean) / np.sqrt(variance + 1e-3) + beta

    def convolve(values: np.ndarray, layer: str) -> np.ndarray:
        """Values [n, time, bands, channels], filters as long as the time is padded, within the bands."""
        kernel = tensors[f"{layer}/kernel"].astype(np.float64)
        length, height = kernel.shape[:2]
        values = np.pad(values, [(0, 0), ((length - 1) // 2, length // 2), (0, 0), (0, 0)])
        windows: Any = np.lib.stride_tricks.sliding_window_view  # NumPy 1's types lack `axis`
        views = windows(values, (length, height), axis=(1, 2))
        outputs = np.einsum("ntbclh,lhcf->ntbf", views, kernel, optimize=True)
        return norm(np.maximum(outputs + tensors[f"{layer}/bias"], 0), layer)

    spectrum = norm(frames[..., np.newaxis].astype(np.float64), "input")
    found = [np.concatenate([convolve(spectrum, layer).max(axis=2) for layer in FRONT], axis=-1)]
    for layer in MID:
        kernel = tensors[f"{layer}/kernel"].astype(np.float64)
        padded = np.pad(found[-1], [(0, 0), (3, 3), (0, 0)])
        outputs = sum(padded[:, step : step + 187] @ kernel[step] for step in range(7)) + tensors[f"{layer}/bias"]
        outputs = norm(np.maximum(outputs, 0), layer)
        found.append(outputs if layer == "mid_1" else outputs + found[-1])
    channels = np.concatenate(found, axis=-1)
    return np.concatenate([channels.mean(axis=1), channels.max(axis=1)], axis=-1)


def input_windows(images: np.ndarray, windows: slice) -> np.ndarray:
    frames = log_mel(levels(FINE)(images)).numpy()[:, :1870]
    return frames.reshape(-1, 187, 96)[windows]


def test_features_equal_those_computed_in_numpy(backbone: keras.Model, uneven: Tensors, images: np.ndarray) -> None:
    features = backbone(images).numpy()
    assert features.shape == (2, WINDOWS, FEATURES) == (2, 10, 512)
    assert features.dtype == np.float32
    windows = input_windows(images, slice(9, 11))  # the last of one fragment, the first of the next
    expected = recomputed(windows, uneven)
    np.testing.assert_allclose(np.stack([features[0, 9], features[1, 0]]), expected, rtol=1e-3, atol=1e-3)


def test_features_of_musicnns_own_weights_fit_float16(images: np.ndarray) -> None:
    try:
        path = ensure_musicnn().path
    except WeightsError as error:
        if "Could not get" not in str(error):
            raise
        pytest.skip(f"musicnn's own weights are not tested: {error}")
    assert path is not None
    backbone = musicnn(path)
    features = backbone(images[:1]).numpy()
    expected = recomputed(input_windows(images, slice(4, 5)), read_tensors(path))
    np.testing.assert_allclose(features[0, 4:5], expected, rtol=1e-3, atol=2e-3)
    assert np.abs(features.astype(np.float16) - features).max() < 0.1
    assert ((features.max(axis=1) - features.min(axis=1)) > 1e-3).mean() > 0.5


def test_the_input_is_musicnns_log_mel_at_the_reference_level(sound: np.ndarray) -> None:
    mel = librosa.feature.melspectrogram(y=sound, sr=16_000, n_fft=512, hop_length=256, n_mels=96).T
    expected = np.log10(1 + 10_000 * mel * REFERENCE_POWER / mel.max())
    image = palette(FINE)[mel_levels(sound[np.newaxis], FINE).numpy()]
    difference = np.abs(log_mel(levels(FINE)(image)).numpy()[0] - expected)
    assert expected.max() > 5.9
    assert difference.max() < 0.016 + 1e-3  # half a step of 80 dB / 255 is 0.0157 of a decade
    assert difference.mean() < 0.009
