"""FinalModel: temperature and distance in the graph of the model that is exported."""

from __future__ import annotations

import dataclasses
import json
import types
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tfx.types.standard_artifacts import Examples, Model, ModelRun

from tumbao.components import final_model
from tumbao.components.final_model import FinalFigures, FinalModel, TrainedOn, read_rule, read_trained_on
from tumbao.components.ingest.records import to_example, to_feature_example
from tumbao.components.song_evaluation import SongFigures
from tumbao.schema.mel_spec import FINE
from tumbao.serving.calibration import temper
from tumbao.serving.model_info import DistanceRule
from tumbao.trainer.fit import HEAD_FILE, HISTORY_FILE
from tumbao.trainer.linear import Regression, to_keras
from tumbao.trainer.model import dense_head
from tumbao.trainer.models.tumbao import GROUPS
from tumbao.trainer.training import Training

GENRES = ("cumbia", "salsa")
SONGS = {"train": 12, "val": 6, "test": 6}
COLUMNS = sum(GROUPS)
TEMPERATURE = 1.7


def features_of(song: int, fragment: int) -> np.ndarray:
    """Make columns that depend on three numbers of the song and its fragment."""
    mixing = np.random.default_rng(0).normal(size=(3, COLUMNS))
    return (np.random.default_rng([song, fragment]).normal(song % 2, 1, 3) @ mixing).astype(np.float16)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    """Write records of all splits, two fragments a song; those of train have copies with other features."""
    folder = tmp_path_factory.mktemp("features")
    artifact, first = Examples(), 0
    artifact.uri, artifact.split_names = str(folder), json.dumps([*SONGS])
    for split, songs in SONGS.items():
        (folder / f"Split-{split}").mkdir()
        with tf.io.TFRecordWriter(str(folder / f"Split-{split}" / "data.gz"), "GZIP") as writer:
            for song in range(first, first + songs):
                for fragment in range(2):
                    about: dict[str, Any] = {"genre": GENRES[song % 2], "start_seconds": 0.0, "padded": False}
                    example = to_example(b"", label=song % 2, song=f"canción {song}", fragment=fragment, **about)
                    stored = features_of(song, fragment)
                    for copy in (stored, stored + 100)[: 2 if split == "train" else 1]:
                        writer.write(to_feature_example(example, copy).SerializeToString())
        first += songs
    return artifact


def rhythm_head() -> keras.Model:
    rng = np.random.default_rng(1)
    kernel, bias = rng.normal(0, 0.02, (COLUMNS, 2)), np.zeros(2)
    return to_keras(Regression(np.full(COLUMNS, 0.5), np.full(COLUMNS, 1.2), kernel, bias, 1.0, 0.0, 0, None, None))


def export(features: Examples, folder: Path, refit: list[str]) -> tuple[Model, FinalFigures]:
    """Export the head, or one that is trained again on some splits."""
    folder.mkdir(exist_ok=True)
    rhythm_head().save(folder / HEAD_FILE)
    (folder / HISTORY_FILE).write_text(json.dumps({"fit": {"composed_songs": 3, "composed_weight": 0.3}}))
    model_run, figures, model, final_figures = ModelRun(), SongFigures(), Model(), FinalFigures()
    model_run.uri, model.uri, final_figures.uri = str(folder), str(folder / "model"), str(folder / "figures")
    config = {"model": "tumbao", "genres": GENRES, "training": {}, "weights": "", "mel_spec": dataclasses.asdict(FINE)}
    with pytest.MonkeyPatch.context() as patch:
        calibrated = types.SimpleNamespace(calibration=types.SimpleNamespace(temperature=TEMPERATURE))
        patch.setattr(final_model, "read_song_metrics", lambda _: calibrated)
        FinalModel.test_call(
            features=features,
            model_run=model_run,
            figures=figures,
            model=model,
            final_figures=final_figures,
            trainer=json.dumps(config | {"refit": refit}),
            code="",
        )
    return model, final_figures


@pytest.fixture(scope="module")
def made(features: Examples, tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, FinalFigures]:
    return export(features, tmp_path_factory.mktemp("final"), [])


def test_the_head_is_trained_again_on_the_splits_that_the_settings_name(features: Examples, tmp_path: Path) -> None:
    predicted = {}
    for refit in ([], ["train", "val"], ["train", "val", "test"]):
        figures = export(features, tmp_path / str(len(refit)), refit)[1]
        trained_on = read_trained_on(figures.uri)
        assert trained_on.splits == (refit or ["train", "val"])
        if not refit:
            assert trained_on == TrainedOn(["train", "val"], 3, 0.3)
        else:  # two genres have 48 of the composed songs
            assert (trained_on.composed_songs, trained_on.composed_weight) in [(0, 0.0), (48, 0.3), (48, 1.0)]
        lines = [json.loads(line) for line in Path(figures.uri, "predictions.jsonl").read_text("utf-8").splitlines()]
        labels = np.array([line["label"] for line in lines])
        predicted[len(refit)] = np.array([line["probabilities"] for line in lines])[np.arange(len(labels)), labels]
    assert predicted[2].mean() > predicted[0].mean() + 0.1  # the head of the fixture is random
    assert not np.allclose(predicted[2], predicted[3])


def test_the_threshold_is_that_of_all_songs_out_of_fold(made: tuple[Model, FinalFigures]) -> None:
    rule = read_rule(made[1].uri)
    assert rule is not None
    assert rule.songs == sum(SONGS.values())


def test_the_test_split_is_predicted_with_temperature_and_distance(made: tuple[Model, FinalFigures]) -> None:
    lines = [json.loads(line) for line in Path(made[1].uri, "predictions.jsonl").read_text("utf-8").splitlines()]
    assert len(lines) == 2 * SONGS["test"]
    rule = read_rule(made[1].uri)
    assert rule is not None
    for line in lines:
        stored = features_of(int(line["song"].split()[1]), line["fragment"])[np.newaxis].astype(np.float32)
        expected = temper(rhythm_head()(stored).numpy(), TEMPERATURE)[0]
        np.testing.assert_allclose(line["probabilities"], expected, atol=1e-5)
        assert 0.1 * rule.threshold < line["distance"] < rule.threshold  # not that of the copies


def test_the_saved_model_has_both_outputs_in_every_signature(made: tuple[Model, FinalFigures]) -> None:
    loaded = tf.saved_model.load(f"{made[0].uri}/Format-Serving")
    for signature in loaded.signatures.values():
        assert {*signature.structured_outputs} == {"probabilities", "distance", "genres"}
    image = tf.constant(np.random.default_rng(2).integers(0, 256, (2, *FINE.image_shape), np.uint8))
    outputs = loaded.signatures["image"](image=image)
    assert outputs["distance"].shape == (2,)
    assert np.isfinite(outputs["distance"].numpy()).all()
    np.testing.assert_allclose(outputs["probabilities"].numpy().sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("units", [(8,), (8, 4)])
def test_a_trained_head_has_its_threshold_from_validation_songs(features: Examples, units: tuple[int, ...]) -> None:
    patterns = {split: f"{features.uri}/Split-{split}/*.gz" for split in SONGS}
    found = final_model._distance(dense_head((COLUMNS,), 2, Training(units=units)), patterns)
    assert found is not None
    distance, rule = found
    assert (len(distance.projection), rule.songs) == (units[-1], SONGS["val"])


def test_a_head_without_a_dense_layer_at_its_end_has_no_distance(features: Examples, tmp_path: Path) -> None:
    inputs = keras.Input((COLUMNS,))
    head = keras.Model(inputs, keras.layers.Softmax()(keras.layers.Dense(2)(inputs)))
    assert final_model._distance(head, {split: f"{features.uri}/Split-{split}/*.gz" for split in SONGS}) is None
    (tmp_path / "distance_rule.json").write_text("null")
    assert read_rule(str(tmp_path)) is None


def test_a_song_is_judged_by_the_mean_of_its_fragments() -> None:
    rule = DistanceRule(2.0, 9)
    assert rule.accepts([1.0, 3.0])
    assert not rule.accepts([1.0, 3.1])
