"""Check whether TensorFlow Serving can serve a model, and write its warm-up requests."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog, PredictLog

from tumbao.schema.mel_spec import MelSpec

WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
"""Path of the warm-up requests in a SavedModel, as TensorFlow Serving expects it."""

MODEL_NAME = "tumbao"  # name of the model in deploy/tensorflow-serving
TOLERANCE = 0.01  # largest accepted difference of a probability from the expected one


class ServingError(RuntimeError):
    """TensorFlow Serving could not load the model; the message contains the end of the output."""


def predict(model: Any, request: PredictRequest) -> dict[str, tf.Tensor]:
    """Run the requested signature of a loaded SavedModel, `serving_default` by default."""
    name = request.model_spec.signature_name or tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
    if name not in model.signatures:
        raise ValueError(f"Expected one of the signatures {', '.join(model.signatures)}. Received: {name!r}")
    inputs = {alias: tf.constant(tf.make_ndarray(tensor)) for alias, tensor in request.inputs.items()}
    outputs: dict[str, tf.Tensor] = model.signatures[name](**inputs)
    return outputs


def replay(saved_model: str) -> dict[str, list[str]]:
    """Load a SavedModel in a child process and replay its warm-up requests."""
    command = [sys.executable, "-m", "tumbao.serving.model_server", saved_model]
    child = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if child.returncode:
        end = "\n".join(child.stderr.splitlines()[-15:])
        raise ServingError(f"Loading {saved_model} ended with code {child.returncode}:\n{end}")
    failures: dict[str, list[str]] = json.loads(child.stdout.splitlines()[-1])
    return failures


def _failures(saved_model: str) -> dict[str, list[str]]:
    """Replay in this process; `replay` runs this."""
    model = tf.saved_model.load(saved_model)
    failures: dict[str, list[str]] = {}
    file = f"{saved_model}/{WARMUP_FILE}"
    for record in tf.data.TFRecordDataset(file).as_numpy_iterator() if tf.io.gfile.exists(file) else ():
        log = PredictionLog.FromString(record).predict_log
        name = log.request.model_spec.signature_name
        try:
            failures.setdefault(name, []).extend(_differences(log.response, predict(model, log.request)))
        except (ValueError, TypeError, tf.errors.OpError) as error:
            reason = str(error).partition("\n\t [[")[0].splitlines()[-1]
            failures.setdefault(name, []).append(f"refuses its warm-up request: {reason}")
    return {name: failures.get(name, ["has no warm-up request"]) for name in sorted({*model.signatures, *failures})}


def _differences(expected: PredictResponse, received: Mapping[str, tf.Tensor]) -> list[str]:
    if expected.outputs.keys() != received.keys():
        return [f"answers with {sorted(received)}, expected {sorted(expected.outputs)}"]
    pairs = {name: (tf.make_ndarray(tensor), received[name].numpy()) for name, tensor in expected.outputs.items()}
    return [f"answers with other {name} than expected" for name, pair in sorted(pairs.items()) if not _is_close(*pair)]


def _is_close(theirs: np.ndarray, ours: np.ndarray) -> bool:
    if theirs.shape != ours.shape or theirs.dtype == object:  # texts
        return np.array_equal(theirs, ours)
    return np.allclose(theirs, ours, rtol=0, atol=TOLERANCE)


def write_warmup(saved_model: str, spec: MelSpec) -> None:
    """Write `WARMUP_FILE`: the same fragment, a second of noise followed by silence, for each signature."""
    from tumbao.components.ingest.mel import mel_levels, palette
    from tumbao.components.ingest.records import to_example, to_png
    from tumbao.serving.signatures import EXAMPLES, IMAGE, WAVEFORM

    noise = np.random.default_rng(0).uniform(-0.5, 0.5, min(spec.sample_rate_hz, spec.fragment_samples - 1))
    waveform = np.zeros((1, spec.fragment_samples), np.float32)
    waveform[0, : len(noise)] = noise
    levels = mel_levels(tf.constant(waveform), spec).numpy()[0]
    image = palette(spec)[levels][np.newaxis]
    png = to_png(levels, palette(spec))
    example = to_example(png, label=0, genre="", song="", fragment=0, start_seconds=0.0, padded=True)
    short = TensorProto(  # in this form of the message, the last value is repeated to the end
        dtype=tf.float32.as_datatype_enum,
        tensor_shape=tf.TensorShape(waveform.shape).as_proto(),
        float_val=waveform[0, : len(noise) + 1],
    )
    inputs = {
        EXAMPLES: {"examples": tf.make_tensor_proto([example.SerializeToString()])},
        IMAGE: {IMAGE: tf.make_tensor_proto(image)},
        WAVEFORM: {WAVEFORM: short},
    }
    answer = tf.saved_model.load(saved_model).signatures[IMAGE](image=tf.constant(image))
    expected = {name: tf.make_tensor_proto(value.numpy()) for name, value in answer.items()}
    file = f"{saved_model}/{WARMUP_FILE}"
    tf.io.gfile.makedirs(file.rpartition("/")[0])
    with tf.io.TFRecordWriter(file) as writer:
        for name, tensors in inputs.items():
            request = PredictRequest(inputs=tensors)
            request.model_spec.name, request.model_spec.signature_name = MODEL_NAME, name
            log = PredictionLog(predict_log=PredictLog(request=request, response=PredictResponse(outputs=expected)))
            writer.write(log.SerializeToString())


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_failures(sys.argv[1])) + "\n")
