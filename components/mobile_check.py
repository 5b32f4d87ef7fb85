"""MobileCheck: compare every exported variant with the float model; nothing is pushed if one differs.

The float model is the SavedModel's image signature, on every fragment of the test split. The classifiers in LiteRT,
which phones run, are compared on every fragment too; the other variants on `parity.SAMPLE` fragments, those that take
a waveform with audio decoded again from the songs. Without a browser, the report has the reason. Each signature is also
called through TensorFlow Serving's messages, in a fresh process.
"""
# No `from __future__ import annotations` here: TFX reads the annotations of a function component at run time.

import json
import logging
from itertools import chain
from typing import Any

import numpy as np
from tfx import types
from tfx import v1 as tfx
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from tumbao.components.evaluation import parity
from tumbao.components.evaluation.parity import classifier_in_browser, keras_model, predict_fragments, report_row
from tumbao.components.ingest import progress
from tumbao.components.ingest.records import read_records
from tumbao.schema import record
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.browser import BrowserError, BrowserUnavailableError
from tumbao.serving.model_server import ServingError, replay
from tumbao.serving.signatures import IMAGE
from tumbao.trainer.fit import HEAD_FILE


class AgreementReport(types.Artifact):
    """The files `agreement.json` (a row for each variant) and `predictions.jsonl` (float model, all test fragments)."""

    TYPE_NAME = "tumbao.AgreementReport"


@tfx.dsl.components.component
def MobileCheck(  # noqa: N802 - TFX names components so
    model: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Model],
    model_run: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.ModelRun],
    examples: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Examples],
    blessing: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.InfraBlessing],
    report: tfx.dsl.components.OutputArtifact[AgreementReport],
    manifests: tfx.dsl.components.Parameter[str],
    mel_spec: tfx.dsl.components.Parameter[str],
    backbone: tfx.dsl.components.Parameter[str],
    weights: tfx.dsl.components.Parameter[str],
    code: tfx.dsl.components.Parameter[str],
) -> None:
    """Compare every variant with the SavedModel on the test split, and bless or veto.

    Parameters
    ----------
    model : Model
        Output of EdgeExport.
    model_run : ModelRun
        Output of the Trainer, with the head.
    examples : Examples
        Records with mel images.
    blessing : InfraBlessing
        Output: the Pusher pushes only if it is blessed.
    report : AgreementReport
        Output: the figures.
    manifests : str
        Folder of `library.write_manifests`, with the paths of the songs.
    mel_spec : str
        Parameters of the mel images as JSON.
    backbone : str
        A key of `BACKBONES`.
    weights : str
        File of its weights; empty for random ones.
    code : str
        Hash of the source this depends on; not read here, it is part of TFX's cache key.
    """
    saved_model = path_utils.serving_model_path(model.uri)
    fragments = list(read_records(f"{artifact_utils.get_split_uri([examples], 'test')}/*.gz"))
    labels = np.array([fragment[record.LABEL] for fragment in fragments])
    sample = parity.sample_fragments(fragments)
    names = [(fragments[index][record.SONG].decode(), fragments[index][record.FRAGMENT]) for index in sample]
    decoded = parity.waveforms(f"{manifests}/test.csv", names, MelSpec(**json.loads(mel_spec)))
    sounds = dict(zip(sample, decoded, strict=True))
    count = len(parity.classifiers(saved_model))
    progress.start("compare", (1 + count) * len(fragments) + (6 + count) * len(sample) + 1)
    rows: list[dict[str, Any]] = []
    reference = np.zeros(0)
    keras = keras_model(backbone, weights, f"{model_run.uri}/{HEAD_FILE}")
    for variant in chain(parity.signatures(saved_model), keras, parity.tflite_files(saved_model)):
        on_all = not rows or (variant.runtime == parity.LITERT and variant.input_kind == "image")
        chosen = list(range(len(fragments))) if on_all else sample
        answers, seconds = predict_fragments(variant, fragments, sounds, chosen)
        if not rows:
            reference = answers
        rows.append(report_row(variant, reference[chosen], answers, labels[chosen], seconds))
    try:
        with classifier_in_browser(saved_model) as variant:
            answers, seconds = predict_fragments(variant, fragments, sounds, sample)
        rows.append(report_row(variant, reference[sample], answers, labels[sample], seconds))
    except BrowserUnavailableError as error:
        logging.warning("The model is not compared in a browser: %s", error)
        rows.append(parity.unmeasured_row(rows, error.reason, []))
        progress.advance("compare", len(sample))
    except BrowserError as error:
        failure = f"does not respond: {str(error).splitlines()[0]}"
        rows.append(parity.unmeasured_row(rows, "it does not respond", [failure]))
    _replay_requests(saved_model, rows)
    progress.advance("compare")
    io_utils.write_bytes_file(f"{report.uri}/agreement.json", json.dumps(rows, indent=1).encode())
    lines = "".join(map(parity.prediction_line, fragments, reference))
    io_utils.write_bytes_file(f"{report.uri}/predictions.jsonl", lines.encode())
    blessed = not any(row["failures"] for row in rows)
    io_utils.write_bytes_file(f"{blessing.uri}/{'INFRA_BLESSED' if blessed else 'INFRA_NOT_BLESSED'}", b"")
    blessing.set_int_custom_property("blessed", int(blessed))


def _replay_requests(saved_model: str, rows: list[dict[str, Any]]) -> None:
    """Replay the warm-up requests, and add failures to the signatures' rows, which come first."""
    signature_rows = {row["through"]: row for row in rows if row["name"] == "SavedModel"}
    try:
        found = replay(saved_model)
    except ServingError as error:
        found = {IMAGE: [f"cannot be loaded: {str(error).splitlines()[-1]}"]}
    for signature, failures in found.items():
        row = signature_rows.get(f"signature {signature}", rows[0])
        row["failures"] += [f"behind TensorFlow Serving {failure}" for failure in failures]
