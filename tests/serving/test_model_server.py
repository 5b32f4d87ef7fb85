from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from tests.serving.small_network import NAMES, SPEC, network
from tumbao.serving import model_server
from tumbao.serving.model_server import WARMUP_FILE, ServingError, replay, write_warmup
from tumbao.serving.signatures import EXAMPLES, GENRES, IMAGE, WAVEFORM, save

SIGNATURES = [IMAGE, EXAMPLES, WAVEFORM]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "1"
    save(network(1), str(folder), NAMES, SPEC)
    write_warmup(str(folder), SPEC)
    return folder


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(model, tmp_path / "copy")


def warmup(model: Path) -> list[PredictionLog]:
    return [PredictionLog.FromString(one.numpy()) for one in tf.data.TFRecordDataset(str(model / WARMUP_FILE))]


def rewrite(model: Path, change: Callable[[PredictionLog], None]) -> None:
    logs = warmup(model)
    with tf.io.TFRecordWriter(str(model / WARMUP_FILE)) as writer:
        for log in logs:
            change(log)
            writer.write(log.SerializeToString())


def failures(model: Path) -> dict[str, list[str]]:
    """Replay in this process, which is faster than in another."""
    return model_server._failures(str(model))


def test_every_signature_has_a_small_request_for_the_same_fragment(model: Path) -> None:
    logs = warmup(model)
    requests = {log.predict_log.request.model_spec.signature_name: log.predict_log.request for log in logs}
    assert sorted(requests) == sorted(SIGNATURES)
    assert {log.WhichOneof("log_type") for log in logs} == {"predict_log"}
    waveform = tf.make_ndarray(requests[WAVEFORM].inputs["waveform"])
    assert (waveform.dtype, waveform.shape) == (np.float32, (1, SPEC.fragment_samples))
    assert np.abs(waveform[0, :8_000]).max() > 0.4
    assert not waveform[0, 8_000:].any()
    (record,) = requests[EXAMPLES].inputs["examples"].string_val
    png = tf.train.Example.FromString(record).features.feature["image"].bytes_list.value[0]
    np.testing.assert_array_equal(
        tf.io.decode_png(png, channels=3), tf.make_ndarray(requests[IMAGE].inputs["image"])[0]
    )
    assert (model / WARMUP_FILE).stat().st_size < 100_000 < 3 * 4 * SPEC.fragment_samples


def test_a_child_process_replays_all_signatures(model: Path) -> None:
    assert replay(str(model)) == {signature: [] for signature in SIGNATURES}


def test_other_weights_are_reported_for_every_signature(copy: Path) -> None:
    requests = (copy / WARMUP_FILE).read_bytes()
    save(network(2), str(copy), NAMES, SPEC)
    (copy / WARMUP_FILE).write_bytes(requests)
    assert failures(copy) == {signature: ["answers with other probabilities than expected"] for signature in SIGNATURES}


def test_other_answers_are_reported(copy: Path) -> None:
    def change(log: PredictionLog) -> None:
        outputs = log.predict_log.response.outputs
        signature = log.predict_log.request.model_spec.signature_name
        if signature == IMAGE:
            del outputs[GENRES]
        elif signature == WAVEFORM:
            outputs[GENRES].string_val[0] = b"bolero"

    rewrite(copy, change)
    assert failures(copy) == {
        IMAGE: ["answers with ['genres', 'probabilities'], expected ['probabilities']"],
        EXAMPLES: [],
        WAVEFORM: ["answers with other genres than expected"],
    }


def test_invalid_and_missing_warmup_requests_are_reported(copy: Path) -> None:
    def spoil(log: PredictionLog) -> None:
        request = log.predict_log.request
        if request.model_spec.signature_name == EXAMPLES:
            request.inputs["examples"].string_val[0] = b"no record"
        if request.model_spec.signature_name == WAVEFORM:
            request.model_spec.signature_name = "sound"

    rewrite(copy, spoil)
    found = failures(copy)
    assert [signature for signature, problems in found.items() if not problems] == [IMAGE]
    assert found[EXAMPLES][0].startswith("refuses its warm-up request: ")
    assert "Could not parse example" in found[EXAMPLES][0]
    assert found["sound"][0].startswith("refuses its warm-up request: Expected one of the signatures")
    assert found[WAVEFORM] == ["has no warm-up request"]
    (copy / WARMUP_FILE).unlink()
    assert failures(copy) == {signature: ["has no warm-up request"] for signature in SIGNATURES}


def test_a_crash_raises_an_error_with_the_last_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dying = tmp_path / "dying"
    dying.write_text("#!/bin/sh\necho 'variables are missing' >&2; kill -ABRT $$\n")
    dying.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(dying))
    with pytest.raises(ServingError, match=r"Loading model ended with code -6:\nvariables are missing"):
        replay("model")
