"""SongEvaluation: ranges from train, calibration from val, metrics from test."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tfx.types.standard_artifacts import Examples, ModelRun

from tumbao.components import song_evaluation
from tumbao.components.evaluation.metrics import song_metrics
from tumbao.components.ingest.records import to_example, to_feature_example, to_png
from tumbao.components.song_evaluation import SongEvaluation, SongFigures, read_song_metrics
from tumbao.serving.calibration import calibrate
from tumbao.trainer.fit import HEAD_FILE
from tumbao.trainer.model import dense_head
from tumbao.trainer.training import Training
from tumbao.trainer.vgg16 import FEATURES_SHAPE

GENRES = ("low", "middle", "high")
SONGS = {"train": 3, "val": 4, "test": 5}
FRAGMENTS = 3


def features_of(split: str, song: int, fragment: int) -> np.ndarray:
    rng = np.random.default_rng([len(split), song, fragment])
    return rng.uniform(0, 1, FEATURES_SHAPE).astype(np.float16)


def about(song: int, fragment: int) -> dict[str, Any]:
    padded = fragment == 0 and song == 1
    return {
        "label": song % 3,
        "genre": GENRES[song % 3],
        "song": f"canción {song}",
        "fragment": fragment,
        "start_seconds": 30.0 * fragment,
        "padded": padded,
    }


def levels_of(split: str, song: int, fragment: int) -> np.ndarray:
    """Draw an image: grey noise, in train weak to strong; what is padded is half of one, and test song 4 is black."""
    if (split, song) == ("test", 4):
        return np.zeros((30, 40), int)
    spread = 10 + 15 * song if split == "train" else 25
    levels = np.random.default_rng([len(split), song, fragment]).integers(110 - spread, 110 + 2 * spread, (30, 40))
    levels[:, 20 if about(song, fragment)["padded"] else 40 :] = 0
    return levels


def write(name: str, folder: Path, example: Callable[[str, int, int], tf.train.Example]) -> Examples:
    """Write records of every split, the fragments of the songs mixed."""
    artifact = Examples()
    artifact.uri, artifact.split_names = str(folder / name), json.dumps([*SONGS])
    for split, songs in SONGS.items():
        file = folder / name / f"Split-{split}" / "data.gz"
        file.parent.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(file), "GZIP") as writer:
            for fragment in reversed(range(FRAGMENTS)):
                for song in range(songs):
                    writer.write(example(split, song, fragment).SerializeToString())
    return artifact


def image_example(split: str, song: int, fragment: int) -> tf.train.Example:
    greys = np.repeat(np.arange(256)[:, np.newaxis], 3, axis=1).astype(np.uint8)
    return to_example(to_png(levels_of(split, song, fragment), greys), **about(song, fragment))


def feature_example(split: str, song: int, fragment: int) -> tf.train.Example:
    return to_feature_example(to_example(b"", **about(song, fragment)), features_of(split, song, fragment))


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Evaluate, with just enough training fragments."""
    folder = tmp_path_factory.mktemp("evaluated")
    dense_head(FEATURES_SHAPE, len(GENRES), Training(seed=11)).save(folder / HEAD_FILE)
    model_run, artifact = ModelRun(), SongFigures()
    model_run.uri, artifact.uri = str(folder), str(folder / "figures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(song_evaluation, "LEAST_FRAGMENTS", FRAGMENTS * SONGS["train"] - 1)
        evaluate(model_run, folder, artifact)
    return Path(artifact.uri)


def evaluate(model_run: ModelRun, folder: Path, artifact: SongFigures, cross_validation: str = "") -> None:
    SongEvaluation.test_call(
        examples=write("images", folder, image_example),
        features=write("features", folder, feature_example),
        model_run=model_run,
        figures=artifact,
        genres=json.dumps(GENRES),
        cross_validation=cross_validation,
        code="",
    )


@functools.cache
def answers(split: str) -> tuple[list[np.ndarray], np.ndarray]:
    """Say what the head answers for each song, its fragments in their order."""
    model = dense_head(FEATURES_SHAPE, len(GENRES), Training(seed=11))
    songs = [
        model.predict(np.stack([features_of(split, song, i) for i in range(FRAGMENTS)]).astype(np.float32), verbose=0)
        for song in range(SONGS[split])
    ]
    return songs, np.arange(SONGS[split]) % 3


def test_the_head_predicts_every_validation_and_test_fragment(figures: Path) -> None:
    lines = [json.loads(line) for line in (figures / "predictions.jsonl").read_text("utf-8").splitlines()]
    assert len(lines) == FRAGMENTS * (SONGS["val"] + SONGS["test"])
    found = {(line["split"], line["song"], line["fragment"]): line for line in lines}
    for split in ("val", "test"):
        for song, (probabilities, label) in enumerate(zip(*answers(split), strict=True)):
            for fragment, expected in enumerate(probabilities):
                line = found[split, f"canción {song}", fragment]
                assert line["probabilities"] == pytest.approx(expected, abs=1e-4)
                assert line["label"] == label
                assert line["number"] == song + 1


def test_metrics_are_of_test_songs_with_the_calibration_of_val(figures: Path) -> None:
    metrics = read_song_metrics(str(figures))
    expected = song_metrics(*answers("val"), *answers("test"), np.arange(SONGS["test"]) != 4, metrics.familiarity)
    assert (metrics.songs, metrics.calibration.songs) == (SONGS["test"], SONGS["val"])
    assert metrics.calibration.temperature == pytest.approx(expected.calibration.temperature, rel=0.02)
    assert metrics.rules == expected.rules
    assert metrics.comparisons == expected.comparisons
    assert metrics.before.log_loss == pytest.approx(expected.before.log_loss, abs=1e-4)
    assert metrics.answered.unfamiliar == 1


def test_predictions_of_cross_validation_calibrate(figures: Path, tmp_path: Path) -> None:
    model_run, artifact = ModelRun(), SongFigures()
    model_run.uri, artifact.uri = str(figures.parent), str(tmp_path / "figures")
    rng = np.random.default_rng(3)
    songs, labels = list(rng.dirichlet(np.ones(3), (40, FRAGMENTS))), np.arange(40) % 3
    file = tmp_path / "predictions.jsonl"
    with file.open("w") as lines:
        for song, (fragments, label) in enumerate(zip(songs, labels.tolist(), strict=True)):
            for fragment, row in enumerate(fragments.tolist()):
                one = {"song": str(song), "fragment": fragment, "label": label, "probabilities": row}
                lines.write(f"{json.dumps(one)}\n")
    evaluate(model_run, tmp_path, artifact, str(file))
    assert read_song_metrics(artifact.uri).calibration == calibrate(songs, labels)


def test_the_in_distribution_range_is_that_of_the_training_images_by_length(figures: Path) -> None:
    known = read_song_metrics(str(figures)).familiarity
    fragments = [(song, fragment) for song in range(SONGS["train"]) for fragment in range(FRAGMENTS)]
    brightness = [levels_of("train", *one).mean() for one in fragments if not about(*one)["padded"]]
    assert known is not None
    assert known.fragments == len(brightness) == len(fragments) - 1
    margin = (max(brightness) - min(brightness)) / 2
    assert (known.low[0], known.high[0]) == pytest.approx((min(brightness) - margin, max(brightness) + margin))
    assert [one.columns for one in known.by_length] == [4, 6, 9, 14, 20, 30, 36]


def test_few_training_fragments_give_no_range(figures: Path, tmp_path: Path) -> None:
    model_run, artifact = ModelRun(), SongFigures()
    model_run.uri, artifact.uri = str(figures.parent), str(tmp_path / "figures")
    evaluate(model_run, tmp_path, artifact)
    metrics = read_song_metrics(artifact.uri)
    assert metrics.familiarity is None
    assert metrics.answered.unfamiliar == 0
