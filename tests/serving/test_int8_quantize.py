from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from tumbao.serving.tflite import finish, int8_quantize
from tumbao.serving.tflite_file import unpack

pytestmark = pytest.mark.filterwarnings("ignore:.*experimental_preserve_all_tensors")  # the quantizer does

RNG = np.random.default_rng(5)
IMAGES = (RNG.uniform(0, 1, (12, 1, 1, 3)) * RNG.integers(0, 256, (12, 16, 16, 3))).astype(np.uint8)
KERNEL = RNG.normal(0, 0.004, (3, 3, 3, 8)).astype(np.float32)
HEAD = RNG.normal(0, 0.4, (512, 5)).astype(np.float32)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolution, pooling and a dense layer: uint8 [1, 16, 16, 3] → probabilities [1, 5]."""

    def image(image: tf.Tensor) -> dict[str, tf.Tensor]:
        maps = tf.nn.relu(tf.nn.conv2d(tf.cast(image, tf.float32), KERNEL, 1, "SAME"))
        pooled = tf.reshape(tf.nn.max_pool2d(maps, 2, 2, "SAME"), [1, 512])
        return {"probabilities": tf.nn.softmax(tf.matmul(pooled, HEAD))}

    function = tf.function(image).get_concrete_function(tf.TensorSpec([1, 16, 16, 3], tf.uint8, name="image"))
    folder = tmp_path_factory.mktemp("small")
    tf.saved_model.save(tf.Module(), str(folder), signatures={"image": function})
    return folder


@pytest.fixture(scope="module")
def floats(small: Path) -> bytes:
    return tf.lite.TFLiteConverter.from_saved_model(str(small), signature_keys=["image"]).convert()


def integers(floats: bytes, images: np.ndarray) -> bytes:
    ticks: list[None] = []
    content = int8_quantize(floats, images, lambda: ticks.append(None))
    assert len(ticks) == len(images)
    return finish(content, HEAD.size)


def answers(content: bytes, images: np.ndarray) -> np.ndarray:
    runner = Interpreter(model_content=content).get_signature_runner("image")
    return np.concatenate([runner(image=image[np.newaxis])["probabilities"] for image in images])


def test_small_probabilities_are_not_rounded_to_zero(floats: bytes) -> None:
    expected, found = (answers(content, IMAGES) for content in (floats, integers(floats, IMAGES)))
    assert (expected.min(), np.median(expected.min(axis=1))) < (1e-4, 1e-3)
    np.testing.assert_allclose(np.log(found), np.log(expected), atol=1)


def test_convolutions_are_int8_and_inputs_and_outputs_are_unchanged(floats: bytes) -> None:
    graph = unpack(content := integers(floats, IMAGES)).subgraphs[0]
    types = {
        type(one.builtinOptions): [graph.tensors[i].type for i in (*one.inputs[:2], *one.outputs)]
        for one in graph.operators
    }
    kind = schema.TensorType
    assert types[schema.Conv2DOptionsT] == [kind.INT8] * 3
    assert types[schema.FullyConnectedOptionsT] == [kind.FLOAT32, kind.INT8, kind.FLOAT32]
    runner = Interpreter(model_content=content).get_signature_runner("image")
    assert runner.get_input_details()["image"]["dtype"] == np.uint8
    assert runner.get_output_details()["probabilities"]["dtype"] == np.float32


def test_operators_are_also_named_in_the_deprecated_field(floats: bytes) -> None:
    codes = unpack(integers(floats, IMAGES)).operatorCodes
    assert schema.BuiltinOperator.DEQUANTIZE in {code.builtinCode for code in codes}
    assert [code.deprecatedBuiltinCode for code in codes] == [code.builtinCode for code in codes]


@pytest.mark.parametrize("mean", [0.0, 0.75], ids=["small", "large"])
def test_a_dense_layer_is_right_in_both_interpreters_however_large_the_sum_of_its_weights(mean: float) -> None:
    weights = np.random.default_rng(3).uniform(mean - 0.25, mean + 0.25, (4_096, 16)).astype(np.float32)
    function = tf.function(lambda values: tf.matmul(values, weights))
    spec = tf.TensorSpec([1, 4_096], tf.float32)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function(spec)], tf.Module())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    content = finish(converter.convert(), 4_096 * 16)
    (layer,) = (one.builtinOptions for one in unpack(content).subgraphs[0].operators)
    assert layer.asymmetricQuantizeInputs == (mean == 0.0)
    values = np.random.default_rng(4).uniform(0, 1, (1, 4_096)).astype(np.float32)
    for interpreter in (Interpreter, tf.lite.Interpreter):
        runner = interpreter(model_content=content)
        runner.allocate_tensors()
        runner.set_tensor(runner.get_input_details()[0]["index"], values)
        runner.invoke()
        found = runner.get_tensor(runner.get_output_details()[0]["index"])
        np.testing.assert_allclose(found, values @ weights, atol=0.01 * np.abs(values @ weights).max() + 0.1)
