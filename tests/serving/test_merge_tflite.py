"""Two files in one answer as the pair does, to the last bit, and keep what is in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from tumbao.serving.model_info import AUDIO_FILE, CLASSIFIER_FILES, FRONTEND_FILE
from tumbao.serving.tflite_file import join, pack, unpack, with_named_tensors

INTERPRETERS = [Interpreter, tf.lite.Interpreter]


@pytest.fixture(scope="module")
def double(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    """Convert x → 2 x: double(shape) -> .tflite."""

    def make(*shape: int) -> bytes:
        module, folder = tf.Module(), str(tmp_path_factory.mktemp("double"))
        module.function = tf.function(
            lambda x: {"y": 2 * x}, input_signature=[tf.TensorSpec(shape, tf.float32, name="x")]
        )
        tf.saved_model.save(module, folder, signatures={"twice": module.function})
        return tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["twice"]).convert()

    return make


@pytest.mark.parametrize("interpreter", INTERPRETERS, ids=["LiteRT", "TensorFlow"])
def test_one_file_answers_as_the_pair(interpreter: type[Interpreter], edge_files: Path, fragments: np.ndarray) -> None:
    def runner(name: str, signature: str) -> Callable[..., dict[str, np.ndarray]]:
        return interpreter(str(edge_files / name), num_threads=2).get_signature_runner(signature)

    audio = runner(AUDIO_FILE, "waveform")
    frontend, classifier = runner(FRONTEND_FILE, "waveform"), runner(CLASSIFIER_FILES["int8"], "image")
    for fragment in fragments[:2]:
        image = frontend(waveform=fragment[np.newaxis])["image"]
        expected = classifier(image=image)["probabilities"]
        np.testing.assert_array_equal(audio(waveform=fragment[np.newaxis])["probabilities"], expected)


def test_a_chain_of_three(double: Callable[..., bytes]) -> None:
    eightfold = join(join(double(2, 3), double(2, 3)), double(2, 3))
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(Interpreter(model_content=eightfold).get_signature_runner("twice")(x=x)["y"], 8 * x)


def test_the_doors_tensors_bear_the_signatures_names(edge_files: Path) -> None:
    for name, taken, given in [
        (AUDIO_FILE, "waveform", "probabilities"),
        (FRONTEND_FILE, "waveform", "image"),
        *((file, "image", "probabilities") for file in CLASSIFIER_FILES.values()),
    ]:
        interpreter = Interpreter(str(edge_files / name))
        assert interpreter.get_signature_list() == {taken: {"inputs": [taken], "outputs": [given]}}
        assert [one["name"] for one in interpreter.get_input_details()] == [taken]
        assert [one["name"] for one in interpreter.get_output_details()] == [given]


def test_only_built_in_operations_and_no_quantized_front_end(edge_files: Path) -> None:
    model = unpack((edge_files / AUDIO_FILE).read_bytes())
    assert {code.customCode for code in model.operatorCodes} == {None}
    frontend = unpack((edge_files / FRONTEND_FILE).read_bytes()).subgraphs[0]
    head = model.subgraphs[0].operators[: len(frontend.operators)]
    assert [(list(one.inputs), list(one.outputs)) for one in head] == [
        (list(one.inputs), list(one.outputs)) for one in frontend.operators
    ]
    tensors = model.subgraphs[0].tensors[: len(frontend.tensors)]
    assert [(one.type, list(one.shape)) for one in tensors] == [(one.type, list(one.shape)) for one in frontend.tensors]


def test_weights_are_those_of_the_pair_and_aligned(edge_files: Path) -> None:
    content = (edge_files / AUDIO_FILE).read_bytes()
    start = np.frombuffer(content, np.uint8).__array_interface__["data"][0]
    buffers = [one.data for one in unpack(content).buffers if one.data is not None]
    assert {(one.__array_interface__["data"][0] - start) % 16 for one in buffers} == {0}
    pair = [unpack((edge_files / name).read_bytes()) for name in (FRONTEND_FILE, CLASSIFIER_FILES["int8"])]
    weights = [one.data.tobytes() for model in pair for one in model.buffers if one.data is not None]
    assert [one.tobytes() for one in buffers[: len(weights)]] == weights


def test_packing_again_changes_nothing(double: Callable[..., bytes]) -> None:
    once = with_named_tensors(double(3))
    assert pack(unpack(once)) == with_named_tensors(once) == once


def test_data_behind_the_flatbuffer_are_brought_in(double: Callable[..., bytes]) -> None:
    once = with_named_tensors(double(3))
    model = unpack(once)
    (two,) = (one for one in model.buffers if one.data is not None and one.data.tobytes() == np.float32(2).tobytes())
    two.data, two.offset, two.size = None, 1_000_000, 4  # to be known before the length is: a place far enough behind
    outside = pack(model).ljust(1_000_000, b"\0") + np.float32(2).tobytes()
    x = np.ones(3, np.float32)
    for content in (outside, with_named_tensors(outside)):
        np.testing.assert_array_equal(Interpreter(model_content=content).get_signature_runner()(x=x)["y"], 2 * x)
    assert len(with_named_tensors(outside)) <= len(once) + 16


def test_what_does_not_fit_is_refused(double: Callable[..., bytes]) -> None:
    with pytest.raises(ValueError, match=r"Received \(shape, type\): \[\(\[3\], 0\)\] and \[\(\[4\], 0\)\]"):
        join(double(3), double(4))


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected a TFLite model\. Received: 12 bytes that begin with b'no model'"):
        unpack(b"no model at ")
