from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, SignatureRunner

from tests.serving.small_network import EDGE_SPEC
from tumbao.components.ingest.mel import mel_levels, palette
from tumbao.serving import tflite
from tumbao.serving.model_info import CLASSIFIER_FILES, FRONTEND_FILE
from tumbao.serving.tflite import ConversionError, convert
from tumbao.serving.tflite_file import unpack


def runner(file: Path, signature: str) -> SignatureRunner:
    interpreter = Interpreter(model_path=str(file), num_threads=2)
    assert interpreter.get_signature_list().keys() == {signature}
    return interpreter.get_signature_runner(signature)


def tensors(details: dict[str, Any]) -> dict[str, tuple[type, list[int]]]:
    return {name: (detail["dtype"], detail["shape"].tolist()) for name, detail in details.items()}


@pytest.mark.parametrize(("precision", "tolerance"), [("float16", 1e-2), ("dynamic", 5e-2), ("int8", 3e-2)])
def test_every_precision_is_close_to_the_saved_model(
    edge_files: Path, saved_model: Path, images: np.ndarray, precision: str, tolerance: float
) -> None:
    classifier = runner(edge_files / CLASSIFIER_FILES[precision], "image")
    assert tensors(classifier.get_input_details()) == {"image": (np.uint8, [1, *EDGE_SPEC.image_shape])}
    assert tensors(classifier.get_output_details()) == {"probabilities": (np.float32, [1, 3])}
    expected = tf.saved_model.load(str(saved_model)).signatures["image"](image=images)["probabilities"].numpy()
    answers = np.concatenate([classifier(image=image[np.newaxis])["probabilities"] for image in images])
    np.testing.assert_allclose(answers, expected, atol=tolerance)


@pytest.mark.parametrize("precision", ["dynamic", "int8"])
def test_a_quantized_dense_layer_has_one_scale_for_older_runtimes(edge_files: Path, precision: str) -> None:
    graph = unpack((edge_files / CLASSIFIER_FILES[precision]).read_bytes()).subgraphs[0]
    dense = [one for one in graph.operators if isinstance(one.builtinOptions, schema.FullyConnectedOptionsT)]
    weights = [graph.tensors[one.inputs[1]] for one in dense]
    scales = [len(one.quantization.scale) for one in weights if one.type == schema.TensorType.INT8]
    assert scales
    assert set(scales) == {1}


def test_the_converted_front_end_computes_the_same_pixels(edge_files: Path, rng: np.random.Generator) -> None:
    """Its Fourier transform rounds differently, so a level may differ by one."""
    frontend = runner(edge_files / FRONTEND_FILE, "waveform")
    samples = EDGE_SPEC.fragment_samples
    assert tensors(frontend.get_input_details()) == {"waveform": (np.float32, [1, samples])}
    assert tensors(frontend.get_output_details()) == {"image": (np.uint8, [1, *EDGE_SPEC.image_shape])}
    swell = np.sin(np.arange(samples) / 3) * np.linspace(0, 1, samples)
    fragments = np.stack([rng.uniform(-0.5, 0.5, samples), swell, np.zeros(samples)]).astype(np.float32)
    images = np.concatenate([frontend(waveform=fragment[np.newaxis])["image"] for fragment in fragments])
    colours = {tuple(colour): level for level, colour in enumerate(palette(EDGE_SPEC).tolist())}
    levels = mel_levels(fragments, EDGE_SPEC).numpy()
    found = np.apply_along_axis(lambda colour: colours[tuple(colour)], 3, images)
    assert np.abs(found - levels).max() <= 1
    assert (found != levels).mean() < 1e-3
    assert [np.ptp(image) > 2 for image in levels] == [True, True, False]


def test_a_failed_conversion_has_code_and_output_in_its_message(tmp_path: Path, images: np.ndarray) -> None:
    with pytest.raises(ConversionError) as failure:
        convert(str(tmp_path / "nowhere"), tmp_path, images, EDGE_SPEC)
    assert "Converting to frontend, onnx, int8, dynamic, float16 ended with code 1:" in str(failure.value)
    assert "SavedModel file does not exist" in str(failure.value)
    assert not (tmp_path / CLASSIFIER_FILES["int8"]).exists()


TRACKED = """if True:
    import sys
    import keras
    import tensorflow as tf
    from tumbao.serving.tflite import finish

    module = tf.Module()
    module.model = keras.Sequential([keras.Input((12,)), keras.layers.Dense(3)])
    module.call = tf.function(module.model, input_signature=[tf.TensorSpec([1, 12], name="image")])
    tf.saved_model.save(module, sys.argv[1], signatures={"image": module.call})
    content = tf.lite.TFLiteConverter.from_saved_model(sys.argv[1], signature_keys=["image"]).convert()
    finish(content, 12 * 3 + 3)
"""


def test_a_file_of_a_model_that_keras_tracks_is_rejected(tmp_path: Path) -> None:
    """TensorFlow 2.16 aborts; 2.21 writes a file without weights."""
    done = subprocess.run([sys.executable, "-c", TRACKED, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGABRT or "lacks weights" in done.stderr


@pytest.mark.parametrize(
    ("weight", "parameters", "message"),
    [(1.0, 24, ""), (1.0, 49, "stores 24 numbers for 49 weights"), (np.nan, 24, "probabilities that are not finite")],
)
def test_a_converted_file_has_its_weights_and_finite_answers(
    weight: float, parameters: int, message: str, tmp_path: Path
) -> None:
    module, weights = tf.Module(), tf.constant(np.full((12, 2), weight, np.float32))

    def image(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": tf.cast(image, tf.float32) @ weights}

    module.image = tf.function(image, input_signature=[tf.TensorSpec([1, 12], tf.uint8, name="image")])
    tf.saved_model.save(module, str(tmp_path), signatures={"image": module.image})
    content = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path), signature_keys=["image"]).convert()
    with pytest.raises(ValueError, match=message) if message else contextlib.nullcontext():
        tflite.finish(content, parameters)


def convert_by(program: str, monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[str]]:
    """Let child processes run another program; return the list to which they are added."""

    def start(command: list[str], **options: Any) -> subprocess.Popen[str]:
        children.append(popen([sys.executable, "-c", program], **options))
        return children[-1]

    children: list[subprocess.Popen[str]] = []
    popen = subprocess.Popen
    monkeypatch.setattr(tflite.subprocess, "Popen", start)
    return children


def test_a_converter_that_aborts_raises_an_error(
    tmp_path: Path, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = "import os, sys; sys.stderr.write('LLVM ERROR: out of luck'); sys.stderr.flush(); os.abort()"
    convert_by(program, monkeypatch)
    with pytest.raises(ConversionError, match=r"Converting to .* ended with code -6:\nLLVM ERROR: out of luck"):
        convert("model", tmp_path, images, EDGE_SPEC)


def test_an_interrupted_conversion_kills_its_child(
    tmp_path: Path, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    children = convert_by("print('calibrated', flush=True); import time; time.sleep(600)", monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        convert("model", tmp_path, images, EDGE_SPEC, interrupt)
    assert [child.wait() for child in children] == [-signal.SIGKILL]
