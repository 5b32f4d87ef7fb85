"""MobileCheck blesses files that predict as the trained model does, and vetoes others.

The model classifies sounds by the third of the mel bands with the most energy.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import librosa
import numpy as np
import onnxruntime
import pytest
import soundfile
import tensorflow as tf
from tfx.components.util.model_utils import is_infra_validated
from tfx.types.standard_artifacts import Examples, InfraBlessing, Model

from tests.serving.small_network import description
from tumbao.components import mobile_check
from tumbao.components.evaluation.run_data import MobileCheck as MobileCheckResult
from tumbao.components.export import _embed
from tumbao.components.final_model import FinalFigures
from tumbao.components.ingest import progress
from tumbao.components.ingest.audio_error import AudioError
from tumbao.components.ingest.fragments import Fragment, read
from tumbao.components.ingest.library import MANIFEST_COLUMNS
from tumbao.components.ingest.mel import mel_image, mel_levels, palette
from tumbao.components.ingest.records import to_example, to_png
from tumbao.components.mobile_check import (
    BROWSER,
    QUANTIZED,
    SAMPLE,
    AgreementReport,
    MobileCheck,
    compare,
    waveforms,
)
from tumbao.components.model_registry import publish
from tumbao.components.song_evaluation import PREDICTIONS_FILE
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving import onnx_export
from tumbao.serving.browser import BrowserError, BrowserUnavailableError, open_in_browser, require_browser
from tumbao.serving.model_info import (
    ASSETS_FOLDER,
    AUDIO_FILE,
    CLASSIFIER_FILES,
    EDGE_FOLDER,
    INFO_FILE,
    LABELS_FILE,
    ONNX_FILE,
    PREFERENCE,
    ModelInfo,
)
from tumbao.serving.model_server import ServingError
from tumbao.serving.parity_vectors import write_vectors
from tumbao.serving.signatures import EXAMPLES, IMAGE, WAVEFORM, save
from tumbao.serving.tflite import convert
from tumbao.serving.tflite_file import join
from tumbao.trainer.distance import HiddenFeatures, fit_distance, to_keras
from tumbao.trainer.model import final_model, last_features

GENRES = ("low", "middle", "high")
FRAGMENTS = 12
TEMPERATURE = 1.8
SIGNATURES = (IMAGE, EXAMPLES, WAVEFORM)

Check = Callable[..., tuple[InfraBlessing, list[dict[str, Any]]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def levels(folder: Path, small_spec: MelSpec) -> np.ndarray:
    """Write songs of two fragments, loud in the third of the mel bands of their label, with manifest and records.

    Returns the images of their fragments, int32 [n, height, width].
    """
    time = np.arange(round(2 * small_spec.fragment_seconds * small_spec.sample_rate_hz)) / small_spec.sample_rate_hz
    hz = librosa.mel_frequencies(small_spec.mel_bands + 2, fmax=small_spec.mel_max_hz)[1:-1][::-1]
    rng, images = np.random.default_rng(5), []
    (folder / "Split-test").mkdir()
    with (
        (folder / "test.csv").open("w", newline="") as file,
        tf.io.TFRecordWriter(str(folder / "Split-test" / "data.gz"), "GZIP") as records,
    ):
        writer = csv.DictWriter(file, MANIFEST_COLUMNS, restval="")
        writer.writeheader()
        for song in range(FRAGMENTS // 2):
            label, path = song % 3, folder / f"{song}.wav"
            tones = sum(np.sin(2 * np.pi * one * time) for one in hz[10 * label : 10 * label + 10]) / 12
            soundfile.write(path, tones + rng.uniform(-0.02, 0.02, len(time)), small_spec.sample_rate_hz)
            about: dict[str, Any] = {"song": f"song {song}", "genre": GENRES[label]}
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            writer.writerow(about | {"entry": song, "path": path, "sha256": sha256, "start": 0.0, "first": 0})
            for index, one in enumerate(one for one in read(path, small_spec) if isinstance(one, Fragment)):
                images.append(mel_levels(one.samples[np.newaxis], small_spec).numpy()[0])
                png = to_png(images[-1], palette(small_spec))
                example = to_example(png, label=label, fragment=index, start_seconds=0.0, padded=False, **about)
                records.write(example.SerializeToString())
    return np.stack(images)


@pytest.fixture(scope="module")
def network(small_spec: MelSpec) -> keras.Model:
    """Make a model that adds up the brightness of each third of the rows."""
    kernel = np.zeros((*small_spec.image_shape, len(GENRES)))
    for label in range(len(GENRES)):
        kernel[10 * label : 10 * label + 10, :, :, label] = 0.02 / kernel[:10, :, :, 0].size * len(GENRES)
    pixels = keras.layers.Conv2D(3, 1, use_bias=False)  # what int8 gives a fixed range
    dense = keras.layers.Dense(len(GENRES), "softmax")
    model = keras.Sequential([keras.Input(small_spec.image_shape), pixels, keras.layers.Flatten(), dense])
    pixels.set_weights([np.eye(3)[np.newaxis, np.newaxis]])
    dense.set_weights([kernel.reshape(-1, len(GENRES)), np.zeros(len(GENRES))])
    return model


@pytest.fixture(scope="module")
def final(network: keras.Model, levels: np.ndarray, small_spec: MelSpec) -> keras.Model:
    """Add a temperature and the distance from the fragments."""
    hidden = keras.Model(network.inputs[0], last_features(network))(palette(small_spec)[levels]).numpy()
    hidden += np.random.default_rng(6).normal(0, 40, hidden.shape)  # more than what int8 rounds
    songs = np.arange(FRAGMENTS) // 2
    distance = fit_distance(HiddenFeatures(hidden, songs % 3, songs.astype(str)))
    return final_model(network, TEMPERATURE, to_keras(distance))


def export(final: keras.Model, folder: Path, calibration: np.ndarray, spec: MelSpec) -> Path:
    saved = folder / "Format-Serving"
    save(final, str(saved), GENRES, spec)
    (saved / ASSETS_FOLDER).mkdir(exist_ok=True)
    assets = saved / ASSETS_FOLDER
    convert(str(saved), assets, calibration, spec)
    info = description(spec, GENRES)
    dataclasses.replace(info, files=_embed(assets, info, PREFERENCE)).write(assets)
    write_vectors(assets, spec, GENRES)
    return folder


@pytest.fixture(scope="module")
def faithful(final: keras.Model, folder: Path, levels: np.ndarray, small_spec: MelSpec) -> Path:
    return export(final, folder / "faithful", palette(small_spec)[levels], small_spec)


@pytest.fixture(scope="module")
def corrupt(final: keras.Model, folder: Path, small_spec: MelSpec) -> Path:
    return export(final, folder / "corrupt", np.zeros((2, *small_spec.image_shape), np.uint8), small_spec)


@pytest.fixture
def check(
    final: keras.Model,
    levels: np.ndarray,
    folder: Path,
    small_spec: MelSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Check:
    def no_browser(*_: object) -> None:
        raise BrowserUnavailableError("no Chromium", "as in these tests")

    monkeypatch.setattr(mobile_check, "open_in_browser", no_browser)
    monkeypatch.setattr(mobile_check, "replay", lambda _: dict.fromkeys(SIGNATURES, ()))
    outputs = {name: output.numpy().tolist() for name, output in final(palette(small_spec)[levels]).items()}
    lines = [
        {"split": "test", "song": f"song {index // 2}", "fragment": index % 2}
        | {name: values[index] for name, values in outputs.items()}
        for index in range(FRAGMENTS)
    ]
    (tmp_path / PREDICTIONS_FILE).write_text("".join(f"{json.dumps(line)}\n" for line in lines))

    def run(exported: Path, policy: str = "float32") -> tuple[InfraBlessing, list[dict[str, Any]]]:
        model, figures, examples = Model(), FinalFigures(), Examples()
        model.uri, figures.uri, examples.uri = str(exported), str(tmp_path), str(folder)
        examples.split_names = '["test"]'
        blessing, report = InfraBlessing(), AgreementReport()
        blessing.uri, report.uri = str(tmp_path / "blessing"), str(tmp_path / "report")
        MobileCheck.test_call(
            model=model,
            figures=figures,
            examples=examples,
            blessing=blessing,
            report=report,
            manifests=str(folder),
            mel_spec=json.dumps(dataclasses.asdict(small_spec)),
            policy=policy,
            code="",
        )
        return blessing, mobile_check.read_variants(report.uri)

    return run


def test_faithful_files_are_blessed(check: Check, faithful: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    with progress.listen(lambda *step: steps.append(step)):
        blessing, rows = check(faithful)
    assert steps == [("compare", number, len(rows)) for number in range(len(rows) + 1)]
    assert [row["failures"] for row in rows if row["failures"]] == []
    assert is_infra_validated(blessing)
    assert [file.name for file in Path(blessing.uri).iterdir()] == ["INFRA_BLESSED"]
    assert [(row["name"], row["through"], row["fragments"]) for row in rows] == [
        *(("SavedModel", f"signature {name}", SAMPLE) for name in SIGNATURES),
        *(
            (name, through, FRAGMENTS if precision in QUANTIZED and through == "LiteRT" else SAMPLE)
            for precision, name in CLASSIFIER_FILES.items()
            for through in ("LiteRT", "TensorFlow's interpreter")
        ),
        (ONNX_FILE, "ONNX Runtime", SAMPLE),
        (AUDIO_FILE, "LiteRT", SAMPLE),
        (AUDIO_FILE, "TensorFlow's interpreter", SAMPLE),
        (CLASSIFIER_FILES["int8"], BROWSER, 0),
    ]
    *measured, unmeasured = rows
    assert {row["agreement"] for row in measured} == {row["accuracy"] for row in measured} == {1}
    assert max(row["max_probability_difference"] for row in measured) < 0.05
    assert not any(row["not_measured"] for row in measured)
    assert unmeasured["not_measured"] == "no Chromium"
    assert unmeasured["agreement"] is unmeasured["accuracy"] is unmeasured["milliseconds"] is None
    for row in rows[3:]:
        assert row["size_bytes"] == (faithful / "Format-Serving" / ASSETS_FOLDER / row["name"]).stat().st_size


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_a_corrupt_int8_calibration_is_left_out_and_the_audio_file_gets_another_classifier(
    check: Check, corrupt: Path, policy: str, tmp_path: Path
) -> None:
    blessing, rows = check(corrupt, policy)
    assert is_infra_validated(blessing)
    assert MobileCheckResult(True, rows).left_out == [CLASSIFIER_FILES["int8"]]
    for row in rows:
        if row["precision"] == "int8":
            assert "of 12 fragments, expected at most 2%" in row["failures"][0] or row["fragments"] == SAMPLE
            assert any(failure.startswith("returns probabilities that differ ") for failure in row["failures"])
        else:
            assert row["failures"] == []
    assert {row["precision"] for row in rows if row["name"] == AUDIO_FILE} == {"dynamic"}
    version = publish(f"{corrupt}/Format-Serving", f"{tmp_path}/registry", assets=f"{tmp_path}/report/{ASSETS_FOLDER}")
    assets = tmp_path / "registry" / version / ASSETS_FOLDER
    info = ModelInfo.read(assets)
    assert info.files.keys() == {"frontend", "float16", "dynamic", "audio", "onnx"}
    assert info.files["audio"].precision == "dynamic"
    for file in info.files.values():
        assert hashlib.sha256((assets / file.name).read_bytes()).hexdigest() == file.sha256
    with zipfile.ZipFile(assets / AUDIO_FILE) as embedded:
        assert embedded.read(LABELS_FILE).decode().split() == list(GENRES)
    metadata = onnxruntime.InferenceSession(assets / ONNX_FILE).get_modelmeta().custom_metadata_map
    assert metadata[LABELS_FILE].split() == list(GENRES)
    assert json.loads(metadata[INFO_FILE])["genres"] == list(GENRES)
    assert not (assets / CLASSIFIER_FILES["int8"]).exists()
    expected = json.loads((assets / EDGE_FOLDER / "expected.json").read_text())["probabilities"]
    assert expected.keys() == {AUDIO_FILE, ONNX_FILE, CLASSIFIER_FILES["float16"], CLASSIFIER_FILES["dynamic"]}


def test_an_onnx_file_that_differs_is_left_out(
    check: Check, faithful: Path, network: keras.Model, small_spec: MelSpec, tmp_path: Path
) -> None:
    folder, other = tmp_path / "model", tmp_path / "other"
    shutil.copytree(faithful, folder)
    weights = network.get_weights()
    upside_down = keras.models.clone_model(network)
    upside_down.set_weights([*weights[:-2], weights[-2][:, ::-1], weights[-1]])
    save(upside_down, str(other), GENRES, small_spec)
    assets = folder / "Format-Serving" / ASSETS_FOLDER
    onnx_export.convert(str(other), str(assets / ONNX_FILE), small_spec)
    blessing, rows = check(folder)
    assert is_infra_validated(blessing)
    (row,) = (row for row in rows if row["failures"])
    assert (row["name"], row["failures"][-1]) == (ONNX_FILE, "has no output distance")
    kept = tmp_path / "report" / ASSETS_FOLDER
    assert not (kept / ONNX_FILE).exists()
    assert ModelInfo.read(kept).files.keys() == {"frontend", *PREFERENCE, "audio"}
    assert (kept / AUDIO_FILE).read_bytes() == (assets / AUDIO_FILE).read_bytes()


@pytest.mark.parametrize("names", [[CLASSIFIER_FILES["float16"]], list(CLASSIFIER_FILES.values())], ids=["one", "all"])
def test_a_classifier_above_its_limit_is_left_out_and_without_any_nothing_is_pushed(
    check: Check, faithful: Path, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in names:
        monkeypatch.setitem(mobile_check.SIZE_LIMITS_BYTES, name, 100)
    blessing, rows = check(faithful)
    for row in rows:
        too_large = row["name"] in names and not row["not_measured"]
        assert row["failures"] == ([f"has {row['size_bytes']} bytes, expected at most 100"] if too_large else [])
    blessed = len(names) == 1
    assert [file.name for file in Path(blessing.uri).iterdir()] == ["INFRA_BLESSED" if blessed else "INFRA_NOT_BLESSED"]
    assert MobileCheckResult(True, rows).left_out == sorted(names)
    assert is_infra_validated(blessing) == blessed


def test_a_front_end_with_another_image_is_vetoed(
    check: Check, faithful: Path, small_spec: MelSpec, tmp_path: Path
) -> None:
    """An image upside down can show only in the file that takes a waveform."""
    folder = tmp_path / "model"
    shutil.copytree(faithful, folder)
    assets = folder / "Format-Serving" / ASSETS_FOLDER

    def upside_down(waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"image": tf.reverse(mel_image(waveform, small_spec), [1])}

    module, signature = tf.Module(), tf.TensorSpec([1, small_spec.fragment_samples], tf.float32, name="waveform")
    module.function = tf.function(upside_down, input_signature=[signature])
    tf.saved_model.save(module, str(tmp_path / "upside"), signatures={"waveform": module.function})
    frontend = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "upside"), signature_keys=["waveform"]).convert()
    (assets / AUDIO_FILE).write_bytes(join(frontend, (assets / CLASSIFIER_FILES["int8"]).read_bytes()))
    blessing, rows = check(folder)
    assert not is_infra_validated(blessing)
    assert {row["name"] for row in rows if row["failures"]} == {AUDIO_FILE}


def test_a_browser_predicts_the_same_genres(check: Check, faithful: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        require_browser()
    except BrowserUnavailableError as error:
        pytest.skip(f"models in the browser are not tested: {error}")
    monkeypatch.setattr(mobile_check, "open_in_browser", open_in_browser)
    blessing, rows = check(faithful)
    assert is_infra_validated(blessing)
    row = rows[-1]
    assert (row["name"], row["through"], row["fragments"]) == (CLASSIFIER_FILES["int8"], BROWSER, SAMPLE)
    assert row["agreement"] == row["accuracy"] == 1
    assert row["max_probability_difference"] < 0.05
    assert row["not_measured"] is None


@contextlib.contextmanager
def always_low(*_: object) -> Iterator[Callable[[np.ndarray], np.ndarray]]:
    yield lambda _: np.array([[1.0, 0, 0]], np.float32)


def fail(*_: object) -> None:
    raise BrowserError("Chromium sent nothing for 60 s. Its last output:\nOops")


def cannot_load(_: str) -> dict[str, list[str]]:
    raise ServingError("Loading it ended with code 1:\nTraceback\nNotFoundError: Op type not registered")


def refuses(_: str) -> dict[str, list[str]]:
    return {IMAGE: [], WAVEFORM: ["has no warm-up request"], "sound": ["refuses its warm-up request"]}


SERVING = "behind TensorFlow Serving"


@pytest.mark.parametrize(
    ("name", "replacement", "failures"),
    [
        (
            "open_in_browser",
            always_low,
            {BROWSER: "predicts another genre than the float model for 3 of 5 fragments, expected at most 2%"},
        ),
        ("open_in_browser", fail, {BROWSER: "does not respond: Chromium sent nothing for 60 s. Its last output:"}),
        (
            "replay",
            refuses,
            {
                "signature image": f"{SERVING} refuses its warm-up request",
                "signature waveform": f"{SERVING} has no warm-up request",
            },
        ),
        (
            "replay",
            cannot_load,
            {"signature image": f"{SERVING} cannot be loaded: NotFoundError: Op type not registered"},
        ),
    ],
)
def test_a_model_that_fails_in_the_browser_or_behind_tensorflow_serving_is_vetoed(
    check: Check,
    faithful: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    replacement: Callable[..., Any],
    failures: dict[str, str],
) -> None:
    monkeypatch.setattr(mobile_check, name, replacement)
    blessing, rows = check(faithful)
    assert not is_infra_validated(blessing)
    assert {row["through"]: row["failures"][0] for row in rows if row["failures"]} == failures
    assert rows[-1]["not_measured"] == {always_low: None, fail: "it does not respond"}.get(replacement, "no Chromium")


@pytest.mark.usefixtures("levels")
def test_a_song_that_changed_since_ingest_is_named(folder: Path, small_spec: MelSpec) -> None:
    song = folder / "0.wav"
    content = song.read_bytes()
    try:
        song.write_bytes(content[:-2] + b"\0\0")
        with pytest.raises(AudioError, match=r"0\.wav: has changed"):
            waveforms(str(folder / "test.csv"), [("song 0", 1)], small_spec)
    finally:
        song.write_bytes(content)


def test_the_sample_takes_the_genres_in_turn_and_first_fragments_first() -> None:
    labels, numbers = [0, 0, 0, 1, 2, 2], [1, 0, 0, 3, 0, 1]
    fragments = [{"label": label, "fragment": number} for label, number in zip(labels, numbers, strict=True)]
    chosen = mobile_check._stratified(fragments)
    assert [(one["label"], one["fragment"]) for one in chosen] == [(0, 0), (2, 0), (1, 3), (0, 0), (2, 1), (0, 1)]


def one_hot(*genres: int) -> np.ndarray:
    """Probabilities that are highest for these genres (of three)."""
    return 0.2 + 0.4 * np.eye(3)[list(genres)]


DIFFERS = "predicts another genre than the float model for {} of 100 fragments, expected at most 2%"
WORSE = "has an accuracy of 84.0%, significantly below the float model's 90.0%"
FAR = "returns probabilities that differ from the float model's by 0.40 in the median, expected at most 0.05"


@pytest.mark.parametrize(
    ("reference", "candidate", "failures"),
    [
        (one_hot(*[1] * 100), one_hot(*[1] * 96, *[2] * 4), []),
        (one_hot(*[1] * 100), one_hot(*[1] * 95, *[2] * 5), [DIFFERS.format(5)]),
        (one_hot(*[0] * 90, *[1] * 10), one_hot(*[0] * 88, *[1] * 12), []),
        (one_hot(*[0] * 90, *[1] * 10), one_hot(*[0] * 84, *[1] * 16), [WORSE]),
        (one_hot(*[1] * 100), one_hot(*[0] * 100), [DIFFERS.format(100), FAR]),
    ],
    ids=["few disagreements", "too many", "accuracy not shown to be lower", "lower", "better accuracy, other genres"],
)
def test_limits_of_agreement_and_accuracy(reference: np.ndarray, candidate: np.ndarray, failures: list[str]) -> None:
    _, found = compare(reference, candidate, np.zeros(100, int))
    assert [one for one in found if one != DIFFERS.format(6)] == failures


def test_a_near_tie_is_no_disagreement() -> None:
    tied, other = np.tile([0.45, 0.44, 0.11], (5, 1)), np.tile([0.44, 0.45, 0.11], (5, 1))
    figures, failures = compare(tied, other, np.full(5, 2))
    assert (figures["agreement"], failures) == (0, [])
    assert compare(one_hot(0, 0, 0, 0, 0), one_hot(0, 0, 0, 0, 1), np.full(5, 2))[1]
