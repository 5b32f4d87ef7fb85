from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from tumbao.schema.errors import UserError
from tumbao.schema.genres import GENRES
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.calibration import Calibration
from tumbao.serving.model_info import INFO_FILE, LABELS_FILE, ModelFile, ModelInfo, Split, TrainingData
from tumbao.serving.out_of_distribution import DistributionRanges, StatisticRanges

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
    familiarity=DistributionRanges(
        low=(1.5, 0.0, 0.0, 0.0, 0.0),
        high=(2.5, 1.0, 1.0, 1.0, 1.0),
        fragments=90,
        sounded_brightness=74.5,
        by_length=(
            StatisticRanges(30, (0.5, 0.0, 0.0, 0.0, 0.0), (3.5, 1.0, 1.0, 1.0, 1.0)),
            StatisticRanges(270, (1.5, 0.0, 0.0, 0.0, 0.0), (2.5, 1.0, 1.0, 1.0, 1.0)),
        ),
    ),
)


def test_a_written_description_is_read(tmp_path: Path) -> None:
    assert INFO.write(tmp_path) == tmp_path / INFO_FILE
    assert ModelInfo.read(tmp_path) == INFO
    assert (tmp_path / LABELS_FILE).read_text().splitlines() == list(GENRES)


def test_the_file_is_plain_json(tmp_path: Path) -> None:
    values = json.loads(INFO.write(tmp_path).read_text(encoding="utf-8"))
    assert values["format_version"] == 1
    assert values["name"] == "tumbao"
    assert values["genres"] == list(GENRES)
    assert values["mel"]["dynamic_range_db"] == 70
    assert values["training_data"]["synthetic"] is True


def changed(folder: Path, **values: object) -> Path:
    """Write the description with other values; None removes a key."""
    path = INFO.write(folder)
    document = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in document.items() if value is not None}))
    return folder


def test_a_key_of_a_later_version_is_ignored(tmp_path: Path) -> None:
    split = dataclasses.asdict(INFO.split) | {"folds": 5}
    assert ModelInfo.read(changed(tmp_path, mood="happy", split=split)) == INFO


def test_a_model_without_calibration_and_familiarity_is_read(tmp_path: Path) -> None:
    without = dataclasses.replace(INFO, calibration=None, familiarity=None)
    assert ModelInfo.read(changed(tmp_path, calibration=None, familiarity=None)) == without
    written = json.loads(without.write(tmp_path).read_text())
    assert written["calibration"] is written["familiarity"] is None
    assert ModelInfo.read(tmp_path) == without


def test_a_model_of_a_former_version_is_read(tmp_path: Path) -> None:
    assert INFO.familiarity is not None
    former = dataclasses.replace(INFO.familiarity, sounded_brightness=None, by_length=())
    ranges = {"low": list(former.low), "high": list(former.high), "fragments": former.fragments}
    assert ModelInfo.read(changed(tmp_path, familiarity=ranges)) == dataclasses.replace(INFO, familiarity=former)


def test_invalid_calibrations_and_ranges_raise_an_error(tmp_path: Path) -> None:
    for calibration in (
        {"temperature": 1.0},
        {"temperature": "warm", "threshold": 0.5, "songs": 1, "errors": 0},
        {"temperature": 0, "threshold": 0.5, "songs": 1, "errors": 0},
        "warm",
    ):
        with pytest.raises(UserError, match="not a complete description"):
            ModelInfo.read(changed(tmp_path, calibration=calibration))
    five = [0.0] * 5
    whole = {"low": five, "high": five, "fragments": 1}
    for familiarity in (
        {"low": [0]},
        {"low": 0, "high": 1, "fragments": 1},
        "cosy",
        whole | {"low": [0]},
        whole | {"sounded_brightness": 9.0},
        whole | {"sounded_brightness": 9.0, "by_length": [{"columns": 3, "low": five}]},
    ):
        with pytest.raises(UserError, match="not a complete description"):
            ModelInfo.read(changed(tmp_path, familiarity=familiarity))


def test_an_unknown_parameter_of_the_front_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="whitening"):
        ModelInfo.read(changed(tmp_path, mel={"whitening": True}))


def test_another_format_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected format_version 1\. Received: 2"):
        ModelInfo.read(changed(tmp_path, format_version=2))


@pytest.mark.parametrize("key", ["genres", "mel", "training_data", "created", "files"])
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match=key):
        ModelInfo.read(changed(tmp_path, **{key: None}))


def test_a_missing_or_invalid_file_is_named_in_the_error(tmp_path: Path) -> None:
    for content in (None, "{", "[]"):
        if content:
            (tmp_path / INFO_FILE).write_text(content)
        with pytest.raises(ValueError, match=INFO_FILE):
            ModelInfo.read(tmp_path)


def test_a_library_with_a_path_raises_an_error() -> None:
    with pytest.raises(ValueError, match="without its path"):
        dataclasses.replace(INFO.training_data, library="/home/ana/music")
