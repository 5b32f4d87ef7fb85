"""Calibration images of the int8 model, and the counts of `model.json`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tumbao.components.export import _describe
from tumbao.components.final_model import TrainedOn
from tumbao.components.ingest.mel import palette
from tumbao.components.ingest.records import spread, to_example, to_png
from tumbao.components.song_evaluation import PREDICTIONS_FILE
from tumbao.schema.mel_spec import MelSpec

COLOURS = palette(MelSpec())


def write(file: Path, labels: Sequence[int]) -> None:
    """Write a record for each label; its image is of one colour, 10 × label + its number among those of the label."""
    seen: dict[int, int] = {}
    with tf.io.TFRecordWriter(str(file), "GZIP") as writer:
        for label in labels:
            level = 10 * label + seen.setdefault(label, 0)
            seen[label] += 1
            png = to_png(np.full((4, 5), level), COLOURS)
            example = to_example(png, label=label, genre="g", song="s", fragment=level, start_seconds=0.0, padded=False)
            writer.write(example.SerializeToString())


@pytest.mark.parametrize(
    ("labels", "count", "levels"),
    [
        ([0, 0, 0, 1, 1, 1, 2, 2, 2], 6, [0, 10, 20, 1, 11, 21]),
        ([0, 0, 0, 0, 1, 2, 2], 6, [0, 10, 20, 1, 21, 2]),
        ([2, 0], 110, [20, 0]),
    ],
    ids=["all have enough", "some run out", "fewer than asked"],
)
def test_calibration_images_come_from_all_genres_in_turn(
    tmp_path: Path, labels: list[int], count: int, levels: list[int]
) -> None:
    write(tmp_path / "data.gz", labels)
    images = spread(str(tmp_path / "*.gz"), count)
    assert images.dtype == np.uint8
    assert images.shape == (len(levels), 4, 5, 3)
    np.testing.assert_array_equal(images[:, 0, 0], COLOURS[levels])


def test_songs_with_fragments_are_counted_once(tmp_path: Path) -> None:
    lines = [("a", "train", 2), ("a", "train", 3), ("b", "train", 0), ("c", "val", 1), ("d", "test", 4)]
    told = [
        {"genre": "salsa", "song": song, "split": split, "fragments": fragments} for song, split, fragments in lines
    ]
    (tmp_path / "ingested.jsonl").write_text("\n".join(map(json.dumps, told)))
    library = {
        "library": "l",
        "synthetic": True,
        "genres": ["salsa", "son"],
        "protocol": "song",
        "leaky": False,
        "seed": 7,
    }
    (tmp_path / "catalog.json").write_text(json.dumps(library))
    answers = [{"split": "test", "song": "d", "label": 0, "probabilities": one} for one in ([0.5, 0.5], [0.25, 0.75])]
    (tmp_path / PREDICTIONS_FILE).write_text("\n".join(map(json.dumps, answers)))
    info = _describe(
        MelSpec(), str(tmp_path), str(tmp_path / "ingested.jsonl"), str(tmp_path), {}, TrainedOn((), 0, 0.0)
    )
    assert info.training_data.songs == {"train": 1, "val": 1, "test": 1}
    assert info.training_data.fragments == {"train": 5, "val": 1, "test": 4}
    assert info.metrics == {"test_accuracy": 0.5, "test_loss": pytest.approx(-np.log([0.5, 0.25]).mean())}
