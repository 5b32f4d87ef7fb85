"""Asks TensorFlow Serving for a song's genre by gRPC, or writes the body of a REST request.

    python client.py PUSHED SONG [--address HOST:PORT]
    python client.py PUSHED SONG --body > body.json

PUSHED is the push folder that the server serves: its model.json says how sound is cut and how sure an answer must be.
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
from tumbao.serving.calibration import temper
from tumbao.serving.model_info import ModelInfo
from tumbao.serving.predict import find_assets
from tumbao.serving.song import combine

SECONDS = 60
"""How long the server may take for a fragment."""


def heard(song: str, spec: MelSpec) -> list[Fragment]:
    """Cut a song into the fragments that have a part in the answer.

    Parameters
    ----------
    song : str
        The audio file.
    spec : MelSpec
        The model's parameters.

    Returns
    -------
    fragments : list of Fragment
        Without silent ones.

    Raises
    ------
    AudioError
        If the file gives no song.
    """
    return [one for one in read(song, spec) if isinstance(one, Fragment) and not one.silent]


def ask(address: str, song: str, info: ModelInfo) -> dict[str, object]:
    """Ask the waveform signature by gRPC, a fragment at a time.

    Parameters
    ----------
    address : str
        The server's host and gRPC port.
    song : str
        The audio file.
    info : ModelInfo
        The model's model.json.

    Returns
    -------
    answer : dict
        `genre`, None where the model is not confident, and `probabilities` of each genre.

    Raises
    ------
    AudioError
        If the file gives no song.
    grpc.RpcError
        If the server does not answer.
    """
    rows = []
    with grpc.insecure_channel(address) as channel:
        service = PredictionServiceStub(channel)
        for fragment in heard(song, info.mel):
            request = PredictRequest(inputs={"waveform": tf.make_tensor_proto(fragment.samples[np.newaxis])})
            request.model_spec.name, request.model_spec.signature_name = "tumbao", "waveform"
            response = service.Predict(request, timeout=SECONDS)
            rows.append(tf.make_ndarray(response.outputs["probabilities"])[0])
    probabilities, threshold = np.stack(rows), 0.0
    if info.calibration:
        probabilities = temper(probabilities, info.calibration.temperature)
        threshold = info.calibration.threshold
    answer = combine(probabilities, threshold)
    genre = info.genres[answer.genre] if answer.confident else None
    return {"genre": genre, "probabilities": dict(zip(info.genres, answer.probabilities, strict=True))}


def body(song: str, spec: MelSpec) -> dict[str, object]:
    """Put a song into the JSON of a REST request to the default signature: a serialized tf.Example for each fragment.

    Parameters
    ----------
    song : str
        The audio file.
    spec : MelSpec
        The model's parameters.

    Returns
    -------
    body : dict
        For `POST /v1/models/tumbao:predict`.

    Raises
    ------
    AudioError
        If the file gives no song.
    """
    instances = []
    for fragment in heard(song, spec):
        png = to_png(mel_levels(tf.constant(fragment.samples[np.newaxis]), spec).numpy()[0], palette(spec))
        image = tf.train.Feature(bytes_list=tf.train.BytesList(value=[png]))
        example = tf.train.Example(features=tf.train.Features(feature={record.IMAGE: image}))
        instances.append({"b64": base64.b64encode(example.SerializeToString()).decode()})
    return {"instances": instances}


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pushed")
    parser.add_argument("song")
    parser.add_argument("--address", default="127.0.0.1:8500")
    parser.add_argument("--body", action="store_true")
    given = parser.parse_args()
    info = ModelInfo.read(find_assets(given.pushed))
    said = body(given.song, info.mel) if given.body else ask(given.address, given.song, info)
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main()
