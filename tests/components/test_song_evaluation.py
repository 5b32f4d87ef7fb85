"""SongEvaluation on features of songs that tell their genre: calibration from val, figures from test."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tfx.types.standard_artifacts import Examples, ModelRun

from tumbao.components.ingest.records import to_example, to_feature_example
from tumbao.components.song_evaluation import SongEvaluation, SongFigures, read_song_metrics
from tumbao.components.song_metrics import PRODUCT, song_metrics
from tumbao.trainer.backbone import FEATURES_SHAPE
from tumbao.trainer.head import head
from tumbao.trainer.run import HEAD_FILE

GENRES = ("low", "middle", "high")
SONGS = {"train": 0, "val": 4, "test": 5}
FRAGMENTS = 3


def features_of(split: str, song: int, fragment: int) -> np.ndarray:
    rng = np.random.default_rng([len(split), song, fragment])
    return rng.uniform(0, 1, FEATURES_SHAPE).astype(np.float16)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    """Records of features, the fragments of the songs mixed."""
    artifact = Examples()
    artifact.uri, artifact.split_names = str(tmp_path_factory.mktemp("features")), json.dumps([*SONGS])
    for split, songs in SONGS.items():
        file = Path(artifact.uri) / f"Split-{split}" / "data.gz"
        file.parent.mkdir()
        with tf.io.TFRecordWriter(str(file), "GZIP") as writer:
            for fragment in reversed(range(FRAGMENTS)):
                for song in range(songs):
                    example = to_example(
                        b"", label=song % 3, genre=GENRES[song % 3], song=f"canción {song}", fragment=fragment,
                        start_seconds=30.0 * fragment, padded=False,
                    )  # fmt: skip
                    record = to_feature_example(example, features_of(split, song, fragment))
                    writer.write(record.SerializeToString())
    return artifact


@pytest.fixture(scope="module")
def figures(features: Examples, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated")
    head(len(GENRES), seed=11).save_weights(folder / HEAD_FILE)
    model_run, artifact = ModelRun(), SongFigures()
    model_run.uri, artifact.uri = str(folder), str(folder / "figures")
    SongEvaluation.test_call(
        features=features, model_run=model_run, figures=artifact, genres=len(GENRES), code=""
    )  # fmt: skip
    return Path(artifact.uri)


@functools.cache
def answers(split: str) -> tuple[list[np.ndarray], np.ndarray]:
    """Say what the head answers for each song, its fragments in their order."""
    model = head(len(GENRES), seed=11)
    songs = [
        model.predict(np.stack([features_of(split, song, i) for i in range(FRAGMENTS)]).astype(np.float32), verbose=0)
        for song in range(SONGS[split])
    ]
    return songs, np.arange(SONGS[split]) % 3


def test_every_fragment_of_val_and_test_has_the_heads_answer(figures: Path) -> None:
    lines = [json.loads(line) for line in (figures / "predictions.jsonl").read_text("utf-8").splitlines()]
    assert len(lines) == FRAGMENTS * (SONGS["val"] + SONGS["test"])
    found = {(line["split"], line["song"], line["fragment"]): line for line in lines}
    for split in ("val", "test"):
        for song, (probabilities, label) in enumerate(zip(*answers(split), strict=True)):
            for fragment, expected in enumerate(probabilities):
                line = found[split, f"canción {song}", fragment]
                assert line["probabilities"] == pytest.approx(expected, abs=1e-4)
                assert line["label"] == label


def test_the_figures_are_those_of_the_test_songs_calibrated_on_val(figures: Path) -> None:
    metrics = read_song_metrics(str(figures))
    expected = song_metrics(*answers("val"), *answers("test"))
    assert (metrics.songs, metrics.calibration.songs) == (SONGS["test"], SONGS["val"])
    assert metrics.calibration.temperature == pytest.approx(expected.calibration.temperature, rel=0.02)
    assert metrics.rules == expected.rules
    assert metrics.comparisons == expected.comparisons
    assert metrics.before.log_loss == pytest.approx(expected.before.log_loss, abs=1e-4)
    assert metrics.product.rule == PRODUCT
