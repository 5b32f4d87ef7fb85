"""Warm-up requests for TensorFlow Serving: one for each signature, with the expected response.

The server runs them when it loads the SavedModel, so that the first client does not wait for TensorFlow's
initialisation. It ignores the responses; `model_server.replay` compares with them.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog, PredictLog

from tumbao.components.ingest.mel import mel_levels, palette
from tumbao.components.ingest.records import to_example, to_png
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.model_server import WARMUP_FILE
from tumbao.serving.signatures import EXAMPLES, IMAGE, WAVEFORM

MODEL_NAME = "tumbao"
"""Name of the model in deploy/tensorflow-serving."""


def write_warmup(saved_model: str, spec: MelSpec) -> None:
    """Write `WARMUP_FILE`: the same fragment, a second of noise followed by silence, for each signature.

    The expected response is computed by the image signature of the SavedModel.
    """
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, min(spec.sample_rate_hz, spec.fragment_samples - 1))
    waveform = np.zeros((1, spec.fragment_samples), np.float32)
    waveform[0, : len(noise)] = noise
    levels = mel_levels(tf.constant(waveform), spec).numpy()[0]
    image = palette(spec)[levels][np.newaxis]
    png = to_png(levels, palette(spec))
    example = to_example(png, label=0, genre="", song="", fragment=0, start_seconds=0.0, padded=True)
    inputs = {
        EXAMPLES: {"examples": tf.make_tensor_proto([example.SerializeToString()])},
        IMAGE: {IMAGE: tf.make_tensor_proto(image)},
        WAVEFORM: {WAVEFORM: _shortened(waveform, len(noise) + 1)},
    }
    answer = tf.saved_model.load(saved_model).signatures[IMAGE](image=tf.constant(image))
    expected = {name: tf.make_tensor_proto(value.numpy()) for name, value in answer.items()}
    file = f"{saved_model}/{WARMUP_FILE}"
    tf.io.gfile.makedirs(file.rpartition("/")[0])
    with tf.io.TFRecordWriter(file) as writer:
        for door, tensors in inputs.items():
            request = PredictRequest(inputs=tensors)
            request.model_spec.name, request.model_spec.signature_name = MODEL_NAME, door
            log = PredictionLog(predict_log=PredictLog(request=request, response=PredictResponse(outputs=expected)))
            writer.write(log.SerializeToString())


def _shortened(values: np.ndarray, count: int) -> TensorProto:
    """Store only the first values: in this form of the message, the last value is repeated to the end."""
    shape = tf.TensorShape(values.shape).as_proto()
    dtype = tf.float32.as_datatype_enum
    return TensorProto(dtype=dtype, tensor_shape=shape, float_val=values.ravel()[:count])
