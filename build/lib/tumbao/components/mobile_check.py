"""MobileCheck: every TFLite file must answer as the float model does, or nothing is pushed."""
# No `from __future__ import annotations` here: TFX reads the annotations of a function component at run time.

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from tfx import types
from tfx import v1 as tfx
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import path_utils

from tumbao import progress
from tumbao.components.images import decode_image, read_records
from tumbao.schema import record
from tumbao.serving.agreement import agreement
from tumbao.serving.model_info import ASSETS_FOLDER, CLASSIFIER_FILES
from tumbao.serving.signatures import IMAGE, PROBABILITIES

SIZE_LIMITS_BYTES = {"float16": 73_000_000, "dynamic": 37_000_000, "int8": 37_000_000}
"""Largest size of each file."""

Answer = Callable[[np.ndarray], np.ndarray]
"""One image → the probabilities of the genres."""


class AgreementReport(types.Artifact):
    """`agreement.json`: every file's row; `predictions.jsonl`: the float model's answer to every test fragment."""

    TYPE_NAME = "AgreementReport"


@tfx.dsl.components.component
def MobileCheck(  # noqa: N802 - TFX names components so
    model: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Model],
    examples: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Examples],
    blessing: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.InfraBlessing],
    report: tfx.dsl.components.OutputArtifact[AgreementReport],
    code: tfx.dsl.components.Parameter[str],
) -> None:
    """Compare the TFLite files with the SavedModel on the test split, and bless or veto.

    Parameters
    ----------
    model : Model
        Output of EdgeExport.
    examples : Examples
        Records with mel images.
    blessing : InfraBlessing
        Written: the Pusher pushes only if it is blessed.
    report : AgreementReport
        Written: the figures.
    code : str
        Hash of the source this depends on; not read here, it is part of TFX's cache key.
    """
    saved_model = path_utils.serving_model_path(model.uri)
    fragments = list(read_records(f"{artifact_utils.get_split_uri([examples], 'test')}/*.gz"))
    labels = np.array([fragment[record.LABEL] for fragment in fragments])
    progress.start("compare", len(fragments) * (1 + len(CLASSIFIER_FILES)))
    reference = _answers(_saved_model(saved_model), fragments)
    rows = []
    for precision, name in CLASSIFIER_FILES.items():
        path = f"{saved_model}/{ASSETS_FOLDER}/{name}"
        content = _read(path)
        result = agreement(reference, _answers(_tflite(content), fragments), labels)
        failures = result.failures
        if len(content) > SIZE_LIMITS_BYTES[precision]:
            failures.append(f"has {len(content)} bytes, expected at most {SIZE_LIMITS_BYTES[precision]}")
        rows.append(
            {
                "name": name,
                "precision": precision,
                "size_bytes": len(content),
                "size_limit_bytes": SIZE_LIMITS_BYTES[precision],
                "agreement": result.top1,
                "accuracy": result.accuracy,
                "float_accuracy": result.reference_accuracy,
                "max_probability_difference": result.max_difference,
                "failures": failures,
            }
        )
    _write(f"{report.uri}/agreement.json", json.dumps(rows, indent=1))
    _write(f"{report.uri}/predictions.jsonl", "".join(map(_prediction_line, fragments, reference)))
    blessed = not any(row["failures"] for row in rows)
    _write(f"{blessing.uri}/{'INFRA_BLESSED' if blessed else 'INFRA_NOT_BLESSED'}", "")
    blessing.set_int_custom_property("blessed", int(blessed))


def _answers(answer: Answer, fragments: list[dict[str, Any]]) -> np.ndarray:
    rows = []
    for fragment in fragments:
        rows.append(answer(decode_image(fragment[record.IMAGE])))
        progress.advance("compare")
    return np.stack(rows)


def _saved_model(path: str) -> Answer:
    loaded = tf.saved_model.load(path)
    door = loaded.signatures[IMAGE]

    def answer(image: np.ndarray, _keep: Any = loaded) -> np.ndarray:
        return door(image=tf.constant(image[np.newaxis]))[PROBABILITIES].numpy()[0]

    return answer


def _tflite(content: bytes) -> Answer:
    door = Interpreter(model_content=content, num_threads=2).get_signature_runner(IMAGE)
    return lambda image: door(image=image[np.newaxis])[PROBABILITIES][0]


def _prediction_line(fragment: dict[str, Any], probabilities: np.ndarray) -> str:
    line = {
        "song": fragment[record.SONG].decode(),
        "fragment": fragment[record.FRAGMENT],
        "label": fragment[record.LABEL],
        "probabilities": [round(float(value), 7) for value in probabilities],
    }
    return json.dumps(line) + "\n"


def _read(path: str) -> bytes:
    with fileio.open(path, "rb") as file:
        return file.read()


def _write(path: str, text: str) -> None:
    fileio.makedirs(path.rpartition("/")[0])
    with fileio.open(path, "wb") as file:
        file.write(text.encode())
