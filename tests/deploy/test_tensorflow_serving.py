"""Files for TensorFlow Serving, and the predictions of the client."""

from __future__ import annotations

import base64
import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import numpy as np
import pytest
import soundfile
import tensorflow as tf
import yaml
from google.protobuf import text_format
from tensorflow_serving.apis import prediction_service_pb2_grpc as service
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

import tumbao
from tests.serving.small_network import NAMES, SPEC, description, network
from tumbao.components.ingest.fragments import Fragment, read
from tumbao.components.ingest.mel import mel_image
from tumbao.serving.calibration import Calibration, temper
from tumbao.serving.model_info import ASSETS_FOLDER
from tumbao.serving.model_server import MODEL_NAME, predict
from tumbao.serving.signatures import save
from tumbao.trainer.model import final_model

ROOT = Path(tumbao.__path__[0]).parent
FOLDER = ROOT / "deploy" / "tensorflow-serving"


@pytest.fixture(scope="module")
def client() -> ModuleType:
    spec = importlib.util.spec_from_file_location("client", FOLDER / "client.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pushed")
    model = network(1)
    save(model, str(folder / "1"), NAMES, SPEC, final_model(model, 2.0, None))
    calibration = Calibration(temperature=2.0, threshold=0.2, songs=9, errors=1, method="by hand")
    description(SPEC, NAMES, calibration=calibration).write(folder / "1" / ASSETS_FOLDER)
    return folder


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 7 s: a loud, a silent and a quiet fragment, and an incomplete one."""
    samples = np.random.default_rng(4).uniform(-0.5, 0.5, 7 * 8_000) * np.repeat(
        [1, 0, 0.01, 1], [16_000] * 3 + [8_000]
    )
    path = tmp_path_factory.mktemp("song") / "song.wav"
    soundfile.write(path, samples, 8_000)
    return path


@pytest.fixture(scope="module")
def expected(song: Path) -> np.ndarray:
    audible = [one.samples for one in read(song, SPEC) if isinstance(one, Fragment) and not one.silent]
    assert len(audible) == 2
    return temper(network(1)(mel_image(np.stack(audible), SPEC)).numpy(), 2.0)


@pytest.fixture(scope="module")
def model(pushed: Path) -> Any:
    return tf.saved_model.load(str(pushed / "1"))


@pytest.fixture
def address(model: Any) -> Iterator[str]:
    """Serve the model by gRPC, as TensorFlow Serving does."""

    class Predict(service.PredictionServiceServicer):
        def Predict(self, request: PredictRequest, context: grpc.ServicerContext) -> PredictResponse:  # noqa: N802
            assert request.model_spec.name == MODEL_NAME
            outputs = predict(model, request).items()
            return PredictResponse(outputs={name: tf.make_tensor_proto(value) for name, value in outputs})

    with ThreadPoolExecutor(1) as pool:
        running = grpc.server(pool)
        service.add_PredictionServiceServicer_to_server(Predict(), running)
        port = running.add_insecure_port("127.0.0.1:0")
        running.start()
        yield f"127.0.0.1:{port}"
        running.stop(None).wait()


def run(client: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["client.py", *arguments])
    client.main()


def test_the_client_predicts_a_song_by_grpc(
    client: ModuleType,
    pushed: Path,
    song: Path,
    address: str,
    expected: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(client, monkeypatch, str(pushed), str(song), "--address", address)
    result = json.loads(capsys.readouterr().out)
    mean = expected.mean(axis=0)
    assert result["genre"] == NAMES[int(mean.argmax())]
    assert [*result["probabilities"]] == [*NAMES]
    np.testing.assert_allclose([*result["probabilities"].values()], mean, atol=1e-5)


def test_the_request_body_fits_the_default_signature(
    client: ModuleType,
    model: Any,
    pushed: Path,
    song: Path,
    expected: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(client, monkeypatch, str(pushed), str(song), "--body")
    body = json.loads(capsys.readouterr().out)
    assert body.keys() == {"instances"}  # no signature named: the default one
    records = [base64.b64decode(instance.pop("b64"), validate=True) for instance in body["instances"]]
    assert body["instances"] == [{}, {}]
    outputs = predict(model, PredictRequest(inputs={"examples": tf.make_tensor_proto(records)}))
    np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-5)


def test_the_files_are_consistent() -> None:
    (documented,) = re.findall(r"```proto\n(.*?)```", (ROOT / "docs" / "serving-tensorflow.md").read_text(), re.DOTALL)
    text_format.Parse(documented, ModelServerConfig())
    served = text_format.Parse((FOLDER / "models.config").read_text(), ModelServerConfig())
    (model,) = served.model_config_list.config
    assert (model.name, model.model_platform) == (MODEL_NAME, "tensorflow")
    assert model.model_version_policy.latest.num_versions == 1
    compose = yaml.safe_load((FOLDER / "docker-compose.yml").read_text())
    (container,) = compose["services"].values()
    mounts = {target: source for source, target, _ in (volume.rsplit(":", 2) for volume in container["volumes"])}
    assert mounts[model.base_path] == "${TUMBAO_PUSHED:-../../tumbao-workspace/pushed}"
    (config,) = (one.partition("=")[2] for one in container["command"] if one.startswith("--model_config_file="))
    folder, _, name = config.rpartition("/")
    assert (FOLDER / mounts[folder] / name).is_file()
    version = container["image"].removeprefix("tensorflow/serving:")
    assert f"\ntensorflow-serving-api=={version} " in (ROOT / "requirements-tfx-1.21.lock").read_text()
