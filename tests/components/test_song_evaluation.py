"""SongEvaluation: calibration from val, metrics from test."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tfx.types.standard_artifacts import Examples, ModelRun

from tumbao.components.evaluation.metrics import song_metrics
from tumbao.components.ingest.records import to_example, to_feature_example
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
    return {
        "label": song % 3,
        "genre": GENRES[song % 3],
        "song": f"canción {song}",
        "fragment": fragment,
        "start_seconds": 30.0 * fragment,
        "padded": False,
    }


def write(folder: Path) -> Examples:
    """Write records of every split, the fragments of the songs mixed."""
    artifact = Examples()
    artifact.uri, artifact.split_names = str(folder / "features"), json.dumps([*SONGS])
    for split, songs in SONGS.items():
        file = folder / "features" / f"Split-{split}" / "data.gz"
        file.parent.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(file), "GZIP") as writer:
            for fragment in reversed(range(FRAGMENTS)):
                for song in range(songs):
                    writer.write(feature_example(split, song, fragment).SerializeToString())
    return artifact


def feature_example(split: str, song: int, fragment: int) -> tf.train.Example:
    return to_feature_example(to_example(b"", **about(song, fragment)), features_of(split, song, fragment))


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated")
    dense_head(FEATURES_SHAPE, len(GENRES), Training(seed=11)).save(folder / HEAD_FILE)
    model_run, artifact = ModelRun(), SongFigures()
    model_run.uri, artifact.uri = str(folder), str(folder / "figures")
    evaluate(model_run, folder, artifact)
    return Path(artifact.uri)


def evaluate(model_run: ModelRun, folder: Path, artifact: SongFigures, cross_validation: str = "") -> None:
    SongEvaluation.test_call(
        features=write(folder),
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
    expected = song_metrics(*answers("val"), *answers("test"))
    assert (metrics.songs, metrics.calibration.songs) == (SONGS["test"], SONGS["val"])
    assert metrics.calibration.temperature == pytest.approx(expected.calibration.temperature, rel=0.02)
    assert metrics.rules == expected.rules
    assert metrics.comparisons == expected.comparisons
    assert metrics.before.log_loss == pytest.approx(expected.before.log_loss, abs=1e-4)


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
