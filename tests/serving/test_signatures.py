"""Three signatures, one model: records, images and sound give the same answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tumbao.components.ingest.mel import mel_levels, palette
from tumbao.components.ingest.records import to_example, to_png
from tumbao.schema.genres import GENRES
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.signatures import EXAMPLES, IMAGE, WAVEFORM

SPEC = MelSpec()


@pytest.fixture(scope="module")
def signatures(saved_model: Path) -> Any:
    loaded = tf.saved_model.load(str(saved_model))
    yield loaded.signatures
    del loaded


@pytest.fixture(scope="module")
def answers(signatures: Any, images: np.ndarray) -> np.ndarray:
    return signatures[IMAGE](image=images)["probabilities"].numpy()


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


def test_the_answers_are_probabilities_that_depend_on_the_fragment(answers: np.ndarray) -> None:
    assert (answers.dtype, answers.shape) == (np.float32, (4, len(GENRES)))
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-6)
    assert answers.min() > 0.01
    assert np.ptp(answers, axis=0).max() > 0.01


def test_every_door_gives_the_same_answer(
    signatures: Any, answers: np.ndarray, records: list[bytes], fragments: np.ndarray
) -> None:
    from_records = signatures[EXAMPLES](examples=tf.constant(records))["probabilities"]
    from_sound = signatures[WAVEFORM](waveform=fragments)["probabilities"]
    np.testing.assert_array_equal(from_records, answers)
    np.testing.assert_array_equal(from_sound, answers)


def test_every_door_names_the_genres_in_the_order_of_the_probabilities(
    signatures: Any, records: list[bytes], images: np.ndarray, fragments: np.ndarray
) -> None:
    for outputs in (
        signatures[EXAMPLES](examples=tf.constant(records)),
        signatures[IMAGE](image=images),
        signatures[WAVEFORM](waveform=fragments),
    ):
        assert set(outputs) == {"probabilities", "genres"}
        assert outputs["genres"].numpy().astype(str).tolist() == [list(GENRES)] * 4


def test_the_inputs_are_named_after_what_they_take_and_leave_the_batch_free(signatures: Any) -> None:
    inputs = {name: signature.structured_input_signature[1] for name, signature in signatures.items()}
    assert inputs == {
        EXAMPLES: {"examples": tf.TensorSpec([None], tf.string, "examples")},
        IMAGE: {"image": tf.TensorSpec([None, 300, 300, 3], tf.uint8, "image")},
        WAVEFORM: {"waveform": tf.TensorSpec([None, 661_500], tf.float32, "waveform")},
    }


def test_a_fragment_is_answered_the_same_alone_and_among_others(
    signatures: Any, answers: np.ndarray, images: np.ndarray
) -> None:
    alone = [signatures[IMAGE](image=image[np.newaxis])["probabilities"].numpy()[0] for image in images]
    np.testing.assert_allclose(alone, answers, atol=1e-5)


def test_the_saved_model_is_at_most_150_mb(saved_model: Path) -> None:
    assert sum(file.stat().st_size for file in saved_model.rglob("*") if file.is_file()) <= 150_000_000
