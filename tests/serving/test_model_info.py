from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from tumbao.schema.errors import UserError
from tumbao.schema.genres import GENRES
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.calibration import Calibration
from tumbao.serving.model_info import INFO_FILE, LABELS_FILE, DistanceRule, ModelFile, ModelInfo, Split, TrainingData

INFO = ModelInfo(
    created="2026-05-04T03:02:01Z",
    genres=GENRES,
    mel=MelSpec(dynamic_range_db=70.0),
    training_data=TrainingData(
        synthetic=True,
        library="música",
        catalog_digest="0" * 64,
        songs={"train": 40, "val": 5, "test": 5},
        fragments={"train": 90, "val": 11, "test": 12},
    ),
    split=Split(protocol="song", leaky=False, seed=7),
    metrics={"test_accuracy": 0.875, "test_loss": 0.375},
    files={"int8": ModelFile(name="classifier-int8.tflite", bytes=36, sha256="1" * 64, precision="int8")},
    versions={"tumbao": "0.1.0", "code_digest": "2" * 64},
    calibration=Calibration(temperature=1.25, threshold=0.75, songs=10, errors=1),
    out_of_distribution=DistanceRule(threshold=3.5, songs=48),
)


def test_a_written_description_is_read(tmp_path: Path) -> None:
    assert INFO.write(tmp_path) == tmp_path / INFO_FILE
    assert ModelInfo.read(tmp_path) == INFO
    assert (tmp_path / LABELS_FILE).read_text().splitlines() == list(GENRES)


def changed(folder: Path, **values: object) -> Path:
    """Write the description with other values; None removes a key."""
    path = INFO.write(folder)
    document = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in document.items() if value is not None}))
    return folder


def test_a_key_of_a_later_version_is_ignored(tmp_path: Path) -> None:
    split = dataclasses.asdict(INFO.split) | {"folds": 5}
    assert ModelInfo.read(changed(tmp_path, mood="happy", split=split)) == INFO


def test_a_model_without_calibration_and_distance_is_read(tmp_path: Path) -> None:
    without = dataclasses.replace(INFO, calibration=None, out_of_distribution=None)
    assert ModelInfo.read(changed(tmp_path, calibration=None, out_of_distribution=None)) == without
    written = json.loads(without.write(tmp_path).read_text())
    assert written["calibration"] is written["out_of_distribution"] is None
    assert ModelInfo.read(tmp_path) == without


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mel": {"whitening": True}}, "whitening"),
        ({"format_version": 1}, r"expected format_version 2\. Received: 1"),
        ({"calibration": {"temperature": 1.0}}, "not a complete description"),
        ({"out_of_distribution": {"songs": 48}}, "not a complete description"),
        ({"genres": None}, "genres"),
        ({"files": None}, "files"),
    ],
)
def test_another_description_is_refused(tmp_path: Path, values: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ModelInfo.read(changed(tmp_path, **values))


def test_a_missing_or_invalid_file_is_named_in_the_error(tmp_path: Path) -> None:
    for content in (None, "{", "[]"):
        if content:
            (tmp_path / INFO_FILE).write_text(content)
        with pytest.raises(ValueError, match=INFO_FILE):
            ModelInfo.read(tmp_path)
