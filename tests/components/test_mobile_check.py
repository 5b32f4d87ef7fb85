"""MobileCheck on a model that recognises stripes: what is faithful is blessed, what is not is vetoed and not pushed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tfx.components.pusher.executor import Executor as PusherExecutor
from tfx.types.standard_artifacts import Examples, InfraBlessing, Model, ModelBlessing, PushedModel

from tumbao import progress
from tumbao.components import mobile_check
from tumbao.components.ingest.mel import palette
from tumbao.components.ingest.records import to_example, to_png
from tumbao.components.mobile_check import AgreementReport, MobileCheck
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.model_info import ASSETS_FOLDER, CLASSIFIER_FILES
from tumbao.serving.signatures import save
from tumbao.serving.tflite import convert

GENRES = ("low", "middle", "high")
FRAGMENTS = 12

Check = Callable[[Path], tuple[InfraBlessing, list[dict[str, Any]], list[dict[str, Any]]]]


@pytest.fixture(scope="module")
def levels(small_spec: MelSpec) -> np.ndarray:
    """Images with a bright stripe in a third of the rows, that of the label: uint8 [n, height, width]."""
    levels = np.random.default_rng(5).integers(0, 100, (FRAGMENTS, small_spec.image_height, small_spec.image_width))
    for index, image in enumerate(levels):
        image[10 * (index % 3) : 10 * (index % 3) + 10] += 100
    return levels.astype(np.uint8)


@pytest.fixture(scope="module")
def examples(levels: np.ndarray, small_spec: MelSpec, tmp_path_factory: pytest.TempPathFactory) -> Examples:
    artifact = Examples()
    artifact.uri = str(tmp_path_factory.mktemp("examples"))
    artifact.split_names = '["test"]'
    file = Path(artifact.uri) / "Split-test" / "data.gz"
    file.parent.mkdir()
    with tf.io.TFRecordWriter(str(file), "GZIP") as writer:
        for index, image in enumerate(levels):
            about: dict[str, Any] = {"label": index % 3, "genre": GENRES[index % 3], "song": f"song {index}"}
            png = to_png(image, palette(small_spec))
            example = to_example(png, fragment=0, start_seconds=0.0, padded=False, **about)
            writer.write(example.SerializeToString())
    return artifact


@pytest.fixture(scope="module")
def saved_model(small_spec: MelSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a model that adds up the brightness of each third of the rows."""
    kernel = np.zeros((*small_spec.image_shape, len(GENRES)))
    for label in range(len(GENRES)):
        kernel[10 * label : 10 * label + 10, :, :, label] = 0.02 / kernel[:10, :, :, 0].size * len(GENRES)
    dense = keras.layers.Dense(len(GENRES), "softmax")
    model = keras.Sequential([keras.Input(small_spec.image_shape), keras.layers.Flatten(), dense])
    dense.set_weights([kernel.reshape(-1, len(GENRES)), np.zeros(len(GENRES))])
    folder = tmp_path_factory.mktemp("saved") / "Format-Serving"
    save(model, str(folder), GENRES, small_spec)
    return folder


@pytest.fixture(scope="module")
def exported(
    saved_model: Path, levels: np.ndarray, small_spec: MelSpec, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Convert the model: exported(calibration) -> the model artefact's folder."""

    def export(calibration: np.ndarray) -> Path:
        folder = tmp_path_factory.mktemp("exported")
        shutil.copytree(saved_model, folder / "Format-Serving")
        assets = folder / "Format-Serving" / ASSETS_FOLDER
        assets.mkdir()
        convert(str(saved_model), assets, calibration, small_spec)
        return folder

    return export


@pytest.fixture(scope="module")
def faithful(exported: Callable[..., Path], levels: np.ndarray, small_spec: MelSpec) -> Path:
    return exported(palette(small_spec)[levels])


@pytest.fixture(scope="module")
def corrupt(exported: Callable[..., Path], small_spec: MelSpec) -> Path:
    return exported(np.zeros((2, *small_spec.image_shape), np.uint8))


@pytest.fixture
def check(examples: Examples, tmp_path: Path) -> Check:
    def run(folder: Path) -> tuple[InfraBlessing, list[dict[str, Any]], list[dict[str, Any]]]:
        model, blessing, report = Model(), InfraBlessing(), AgreementReport()
        model.uri, blessing.uri, report.uri = str(folder), str(tmp_path / "blessing"), str(tmp_path / "report")
        MobileCheck.test_call(model=model, examples=examples, blessing=blessing, report=report, code="")
        lines = (tmp_path / "report" / "predictions.jsonl").read_text().splitlines()
        return blessing, json.loads((tmp_path / "report" / "agreement.json").read_text()), [*map(json.loads, lines)]

    return run


def push(folder: Path, infra_blessing: InfraBlessing, destination: Path) -> list[Path]:
    """Let TFX's own Pusher decide, with a model that the Evaluator blessed."""
    model, model_blessing, pushed = Model(), ModelBlessing(), PushedModel()
    model.uri, pushed.uri = str(folder), f"{destination}-archive"
    model_blessing.set_int_custom_property("blessed", 1)
    PusherExecutor().Do(
        {"model": [model], "model_blessing": [model_blessing], "infra_blessing": [infra_blessing]},
        {"pushed_model": [pushed]},
        {"push_destination": json.dumps({"filesystem": {"base_directory": str(destination)}})},
    )
    return list(destination.glob("*"))


def test_faithful_files_are_blessed_and_pushed(check: Check, faithful: Path, tmp_path: Path) -> None:
    blessing, rows, _ = check(faithful)
    assert blessing.get_int_custom_property("blessed") == 1
    assert [file.name for file in Path(blessing.uri).iterdir()] == ["INFRA_BLESSED"]
    assert [(row["precision"], row["agreement"], row["failures"]) for row in rows] == [
        ("float16", 1, []),
        ("dynamic", 1, []),
        ("int8", 1, []),
    ]
    assert {row["float_accuracy"] for row in rows} == {row["accuracy"] for row in rows} == {1}
    (version,) = push(faithful, blessing, tmp_path / "pushed")
    assert (version / ASSETS_FOLDER / CLASSIFIER_FILES["int8"]).is_file()


def test_a_corrupt_int8_calibration_is_vetoed_and_not_pushed(check: Check, corrupt: Path, tmp_path: Path) -> None:
    blessing, rows, _ = check(corrupt)
    assert blessing.get_int_custom_property("blessed") == 0
    assert [file.name for file in Path(blessing.uri).iterdir()] == ["INFRA_NOT_BLESSED"]
    failures = {row["precision"]: row["failures"] for row in rows}
    assert failures["float16"] == failures["dynamic"] == []
    assert failures["int8"][0].startswith("names the float model's genre on ")
    assert failures["int8"][1].startswith("reaches an accuracy of ")
    assert push(corrupt, blessing, tmp_path / "pushed") == []


def test_a_file_above_its_limit_is_vetoed(check: Check, faithful: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = mobile_check.SIZE_LIMITS_BYTES | {"float16": 100}
    monkeypatch.setattr(mobile_check, "SIZE_LIMITS_BYTES", limits)
    blessing, rows, _ = check(faithful)
    assert blessing.get_int_custom_property("blessed") == 0
    assert rows[0]["failures"] == [f"has {rows[0]['size_bytes']} bytes, expected at most 100"]
    assert [row["failures"] for row in rows[1:]] == [[], []]


def test_sizes_and_predictions_of_every_fragment_are_written(check: Check, faithful: Path) -> None:
    _, rows, predictions = check(faithful)
    for row in rows:
        assert row["size_bytes"] == (faithful / "Format-Serving" / ASSETS_FOLDER / row["name"]).stat().st_size
    assert [row["size_limit_bytes"] for row in rows] == [73_000_000, 37_000_000, 37_000_000]
    assert [(one["song"], one["label"]) for one in predictions] == [(f"song {i}", i % 3) for i in range(FRAGMENTS)]
    assert [int(np.argmax(one["probabilities"])) for one in predictions] == [i % 3 for i in range(FRAGMENTS)]


def test_every_comparison_is_reported(check: Check, faithful: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    with progress.listen(lambda *step: heard.append(step)):
        check(faithful)
    assert heard == [("compare", done, 4 * FRAGMENTS) for done in range(4 * FRAGMENTS + 1)]
