from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tumbao.components.ingest.paths import RemotePath
from tumbao.serving.model_info import ASSETS_FOLDER, INFO_FILE
from tumbao.serving.predict import find_assets
from tumbao.serving.server.middleware import Metrics
from tumbao.serving.server.models import Models


@pytest.fixture
def bucket(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RemotePath:
    monkeypatch.setenv("TUMBAO_CACHE", str(tmp_path / "cache"))
    return RemotePath(f"ram://models/{request.node.name}")


def upload(version: Path, target: RemotePath) -> None:
    """Copy a version as TFX's Pusher does: saved_model.pb is written last."""
    for file in sorted(version.rglob("*"), key=lambda file: file.name == "saved_model.pb"):
        if file.is_file():
            (target / file.relative_to(version).as_posix()).write_bytes(file.read_bytes())


def test_a_model_is_found_at_each_level_and_downloaded_once(
    pushed: Path, bucket: RemotePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(pushed / "1" / ASSETS_FOLDER, bucket / "tflite")
    assert find_assets(bucket / "tflite").name == "tflite"
    upload(pushed / "1", bucket / "9")
    upload(pushed / "1", bucket / "10")
    (bucket / "11" / ASSETS_FOLDER / INFO_FILE).write_bytes(b"half a version")
    (bucket / "readme" / "saved_model.pb").write_bytes(b"")
    newest = find_assets(bucket)
    assert newest.parent.name == "10" and newest.name == ASSETS_FOLDER
    assert [one.name for one in newest.parent.iterdir()] == [ASSETS_FOLDER]
    around = find_assets(bucket, with_saved_model=True).parent
    assert around.name == "10"
    assert {file.relative_to(around) for file in around.rglob("*")} == {
        file.relative_to(pushed / "1") for file in (pushed / "1").rglob("*")
    }
    assert {file.name: file.read_bytes() for file in newest.iterdir()} == {
        file.name: file.read_bytes() for file in (pushed / "1" / ASSETS_FOLDER).iterdir()
    }
    assert find_assets(bucket / "9").parent.name == "9"
    monkeypatch.setattr(RemotePath, "copy_to", None)
    assert find_assets(bucket) == find_assets(str(bucket)) == find_assets(bucket / "10" / ASSETS_FOLDER) == newest


def test_a_server_loads_what_is_pushed_to_a_bucket(
    pushed: Path, bucket: RemotePath, caplog: pytest.LogCaptureFixture
) -> None:
    models = Models(bucket, Metrics())
    models.refresh()
    models.refresh()
    assert models.current is None
    (record,) = caplog.records
    assert record.getMessage().startswith(f"No model can be loaded: No model in {bucket}: expected a push folder")
    upload(pushed / "1", bucket / "7")
    models.refresh()
    assert models.current
    assert models.current.version == "7"
    fragment = np.zeros(models.current.classifier.info.mel.fragment_samples, np.float32)
    assert models.current.classifier.predict(fragment).sum() == pytest.approx(1)
