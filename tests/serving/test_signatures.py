from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.serving.small_network import NAMES, SPEC, network
from tumbao.components.ingest.mel import mel_image, mel_levels, palette
from tumbao.components.ingest.records import to_example, to_png
from tumbao.serving.signatures import EXAMPLES, IMAGE, WAVEFORM, save


@pytest.fixture(scope="module")
def fragments() -> np.ndarray:
    noise = np.random.default_rng(3).uniform(-0.5, 0.5, (3, SPEC.fragment_samples))
    return (noise * np.linspace(0, 1, SPEC.fragment_samples) ** [[0], [1], [9]]).astype(np.float32)


@pytest.fixture(scope="module")
def images(fragments: np.ndarray) -> np.ndarray:
    return mel_image(fragments, SPEC).numpy()


@pytest.fixture(scope="module")
def signatures(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = str(tmp_path_factory.mktemp("model"))
    save(network(1), folder, NAMES, SPEC)
    loaded = tf.saved_model.load(folder)
    yield loaded.signatures
    del loaded


@pytest.fixture(scope="module")
def records(fragments: np.ndarray) -> list[bytes]:
    levels = mel_levels(fragments, SPEC).numpy()
    about: dict[str, Any] = {
        "label": 0,
        "genre": "salsa",
        "song": "s",
        "fragment": 0,
        "start_seconds": 0.0,
        "padded": False,
    }
    return [to_example(to_png(level, palette(SPEC)), **about).SerializeToString() for level in levels]


def test_every_signature_returns_the_same_probabilities_and_the_genres_in_their_order(
    signatures: Any, images: np.ndarray, records: list[bytes], fragments: np.ndarray
) -> None:
    answers = [
        signatures[IMAGE](image=images),
        signatures[EXAMPLES](examples=tf.constant(records)),
        signatures[WAVEFORM](waveform=fragments),
    ]
    expected = network(1)(images.astype(np.float32)).numpy()
    assert np.ptp(expected, axis=0).max() > 0.01
    for outputs in answers:
        assert set(outputs) == {"probabilities", "genres"}
        np.testing.assert_allclose(outputs["probabilities"], expected, rtol=1e-5)
        assert outputs["genres"].numpy().astype(str).tolist() == [list(NAMES)] * 3


def test_inputs_have_names_and_any_batch_size(signatures: Any) -> None:
    inputs = {name: signature.structured_input_signature[1] for name, signature in signatures.items()}
    assert inputs == {
        EXAMPLES: {"examples": tf.TensorSpec([None], tf.string, "examples")},
        IMAGE: {"image": tf.TensorSpec([None, *SPEC.image_shape], tf.uint8, "image")},
        WAVEFORM: {"waveform": tf.TensorSpec([None, SPEC.fragment_samples], tf.float32, "waveform")},
    }
