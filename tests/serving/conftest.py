"""The paper's network with random weights, saved and converted once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tumbao.schema.genres import GENRES
from tumbao.schema.mel_spec import MelSpec


@pytest.fixture(scope="session")
def fragments(tone: Callable[..., np.ndarray]) -> np.ndarray:
    """Noise, a low sine, a high one that swells, silence: float32 [4, fragment_samples]."""
    spec = MelSpec()
    noise = np.random.default_rng(3).uniform(-0.5, 0.5, spec.fragment_samples).astype(np.float32)
    swell = tone(30, hz=3_000) * np.linspace(0, 1, spec.fragment_samples, dtype=np.float32)
    return np.stack([noise, tone(30, hz=220), swell, np.zeros_like(noise)])


@pytest.fixture(scope="session")
def images(fragments: np.ndarray) -> np.ndarray:
    """Mel images of the fragments: uint8 [4, 300, 300, 3]."""
    from tumbao.components.ingest.mel import mel_image

    return mel_image(fragments, MelSpec()).numpy()


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save the network; its last layer is scaled so that the probabilities are neither 0 nor 1."""
    from tumbao.serving.signatures import save
    from tumbao.trainer.model import dense_head, joined
    from tumbao.trainer.training import Training
    from tumbao.trainer.vgg16 import vgg16_backbone

    classifier = dense_head((9, 9, 512), len(GENRES), Training())
    kernel, bias = classifier.layers[-1].get_weights()
    classifier.layers[-1].set_weights([0.01 * kernel, bias])
    folder = tmp_path_factory.mktemp("saved") / "model"
    save(joined(vgg16_backbone(None), classifier), str(folder), GENRES, MelSpec())
    return folder


@pytest.fixture(scope="session")
def edge_files(saved_model: Path, images: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tumbao.serving.tflite import convert

    folder = tmp_path_factory.mktemp("edge")
    convert(str(saved_model), folder, images, MelSpec())
    return folder


@pytest.fixture(scope="session")
def small_edge_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Convert the small network as `edge_files`, with `EDGE_SPEC`."""
    from tests.serving.small_network import EDGE_SPEC, NAMES, network
    from tumbao.serving.signatures import save
    from tumbao.serving.tflite import convert

    saved, folder = tmp_path_factory.mktemp("saved"), tmp_path_factory.mktemp("edge")
    save(network(1), str(saved), NAMES, EDGE_SPEC)
    images = np.random.default_rng(4).integers(0, 256, (4, *EDGE_SPEC.image_shape), np.uint8)
    convert(str(saved), folder, images, EDGE_SPEC)
    return folder
