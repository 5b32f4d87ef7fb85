"""Classify a song with TensorFlow Serving by gRPC, or print the body of a REST request.

    python client.py PUSHED SONG [--address HOST:PORT]
    python client.py PUSHED SONG --body > body.json

PUSHED is the registry that the server serves; its model.json defines the fragments and the thresholds.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictRequest  # type: ignore[import-untyped]
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub  # type: ignore[import-untyped]

from tumbao.components.ingest.fragments import Fragment, read
from tumbao.components.ingest.mel import mel_levels, palette
from tumbao.components.ingest.records import to_png
from tumbao.schema import record
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.model_info import ModelInfo
from tumbao.serving.predict import find_assets, song_answer

TIMEOUT_SECONDS = 60
"""Time limit of the request for one fragment."""


def audible_fragments(song: str, spec: MelSpec) -> list[Fragment]:
    """Cut a song into fragments, without the silent ones."""
    return [one for one in read(song, spec) if isinstance(one, Fragment) and not one.silent]


def classify(address: str, song: str, info: ModelInfo) -> dict[str, object]:
    """Predict each fragment with the waveform signature by gRPC; return `genre` and `probabilities`.

    `genre` is None if the model is not confident.
    """
    rows, distances = [], []
    with grpc.insecure_channel(address) as channel:
        service = PredictionServiceStub(channel)
        for fragment in audible_fragments(song, info.mel):
            request = PredictRequest(inputs={"waveform": tf.make_tensor_proto(fragment.samples[np.newaxis])})
            request.model_spec.name, request.model_spec.signature_name = "tumbao", "waveform"
            response = service.Predict(request, timeout=TIMEOUT_SECONDS)
            rows.append(tf.make_ndarray(response.outputs["probabilities"])[0])
            if info.out_of_distribution:
                distances.append(float(tf.make_ndarray(response.outputs["distance"])[0]))
    answer = song_answer(info, np.stack(rows), distances)
    genre = info.genres[answer.genre] if answer.confident else None
    return {"genre": genre, "probabilities": dict(zip(info.genres, answer.probabilities, strict=True))}


def body(song: str, spec: MelSpec) -> dict[str, object]:
    """Return the JSON of a REST request to the default signature: a serialized tf.Example for each fragment."""
    instances = []
    for fragment in audible_fragments(song, spec):
        png = to_png(mel_levels(tf.constant(fragment.samples[np.newaxis]), spec).numpy()[0], palette(spec))
        image = tf.train.Feature(bytes_list=tf.train.BytesList(value=[png]))
        example = tf.train.Example(features=tf.train.Features(feature={record.IMAGE: image}))
        instances.append({"b64": base64.b64encode(example.SerializeToString()).decode()})
    return {"instances": instances}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pushed")
    parser.add_argument("song")
    parser.add_argument("--address", default="127.0.0.1:8500")
    parser.add_argument("--body", action="store_true")
    options = parser.parse_args()
    info = ModelInfo.read(find_assets(options.pushed))
    result = body(options.song, info.mel) if options.body else classify(options.address, options.song, info)
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
