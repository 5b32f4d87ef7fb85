"""The small network, saved and converted once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.serving.small_network import EDGE_SPEC, NAMES, network


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """Random mel images of `EDGE_SPEC`: uint8 [4, 32, 40, 3]."""
    return np.random.default_rng(4).integers(0, 256, (4, *EDGE_SPEC.image_shape), np.uint8)


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tumbao.serving.signatures import save

    folder = tmp_path_factory.mktemp("saved") / "model"
    save(network(1), str(folder), NAMES, EDGE_SPEC)
    return folder


@pytest.fixture(scope="session")
def edge_files(saved_model: Path, images: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tumbao.serving.tflite import convert

    folder = tmp_path_factory.mktemp("edge")
    convert(str(saved_model), folder, images, EDGE_SPEC)
    return folder
