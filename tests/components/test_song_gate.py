"""SongGate: the decision over songs of cross-validation and test, beside the Evaluator's blessing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tfx.types.standard_artifacts import Examples, Model, ModelBlessing

from tumbao.components.evaluation.decision import Decision
from tumbao.components.evaluation.metrics import song_metrics
from tumbao.components.ingest.records import to_example, to_png
from tumbao.components.song_evaluation import METRICS_FILE, PREDICTIONS_FILE, SongFigures
from tumbao.components.song_gate import SongDecision, SongGate, read_decision

GENRES = ("cumbia", "salsa")


def lines(songs: int, right: Callable[[int], bool], prefix: str, fragments: int = 2) -> list[dict[str, Any]]:
    """Predict songs, of which every second one is a salsa; the fragments of a song agree."""
    rows = []
    for song in range(songs):
        label = song % 2
        about = {"split": "test", "song": f"{prefix}{song}", "label": label}
        probabilities = [0.1, 0.9] if right(song) == (label == 1) else [0.9, 0.1]
        rows += [about | {"fragment": one, "probabilities": probabilities} for one in range(fragments)]
    return rows


class Bench:
    """Runs SongGate on made predictions: gate(...) -> the decision and whether the model is blessed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(
        self,
        tested: list[dict[str, Any]],
        validated: list[dict[str, Any]] | None = None,
        evaluator: bool = True,
        served: Callable[[int], bool] | None = None,
        **settings: Any,
    ) -> tuple[Decision, bool]:
        figures, decision, blessing = SongFigures(), SongDecision(), ModelBlessing()
        of_evaluator = ModelBlessing()
        of_evaluator.set_int_custom_property("current_model_id", 7)
        for name, artifact in {"f": figures, "d": decision, "b": blessing, "e": of_evaluator}.items():
            artifact.uri = str(self.folder / name)
            shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / name).mkdir()
        if evaluator:
            (self.folder / "e" / "BLESSED").touch()
        song, labels = [np.array([[0.9, 0.1]]), np.array([[0.2, 0.8]])], np.array([0, 1])
        found = song_metrics(song, labels, song, labels)
        (self.folder / "f" / METRICS_FILE).write_text(json.dumps(found.to_json()))
        (self.folder / "f" / PREDICTIONS_FILE).write_text("".join(f"{json.dumps(one)}\n" for one in tested))
        file = self.folder / "validated.jsonl"
        file.write_text("".join(f"{json.dumps(one)}\n" for one in validated or []))
        gate = {"min_accuracy": 0.8, "min_recall": 0.5, "push_undecided": False, "nearest": None} | settings
        SongGate.test_call(
            examples=self._examples(tested),
            figures=figures,
            evaluator_blessing=of_evaluator,
            decision=decision,
            blessing=blessing,
            genres=json.dumps(GENRES),
            gate=json.dumps(gate),
            cross_validation=str(file) if validated else "",
            code="c0de",
            baseline=self._served(served) if served else None,
        )
        assert blessing.get_int_custom_property("current_model_id") == 7
        blessed = (self.folder / "b" / "BLESSED").exists()
        assert blessing.get_int_custom_property("blessed") == blessed
        return read_decision(decision.uri), blessed

    def _examples(self, tested: list[dict[str, Any]]) -> Examples:
        """Write the test split; an image's level is the number of its song."""
        artifact = Examples()
        artifact.uri, artifact.split_names = str(self.folder / "examples"), '["test"]'
        file = self.folder / "examples" / "Split-test" / "data.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        greys = np.repeat(np.arange(256)[:, np.newaxis], 3, axis=1).astype(np.uint8)
        with tf.io.TFRecordWriter(str(file), "GZIP") as writer:
            for one in tested:
                image = to_png(np.full((4, 4), int(one["song"][1:])), greys)
                about = {key: one[key] for key in ("label", "song", "fragment")}
                example = to_example(image, **about, genre=GENRES[one["label"]], start_seconds=0.0, padded=False)
                writer.write(example.SerializeToString())
        return artifact

    def _served(self, right: Callable[[int], bool]) -> Model:
        """Save a model that recognises some songs by the level of their images."""
        predicted = [song % 2 if right(song) else 1 - song % 2 for song in range(256)]
        module = tf.Module()
        module.table = tf.Variable(tf.one_hot(predicted, 2))

        @tf.function(input_signature=[tf.TensorSpec([None, 4, 4, 3], tf.uint8, name="image")])
        def image(image: tf.Tensor) -> Mapping[str, tf.Tensor]:
            return {"probabilities": tf.gather(module.table, tf.cast(image[:, 0, 0, 0], tf.int32))}

        artifact = Model()
        artifact.uri = str(self.folder / "served")
        tf.saved_model.save(module, f"{artifact.uri}/Format-Serving", signatures={"image": image})
        return artifact


@pytest.fixture
def gate(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_songs_of_cross_validation_count_beside_test_songs(gate: Bench) -> None:
    tested, validated = lines(6, lambda song: True, "t"), lines(50, lambda song: song > 4, "v")
    found, blessed = gate(tested, validated)
    assert (found.songs, found.cross_validated, blessed) == (56, 50, True)
    assert found.accuracy.value == pytest.approx(51 / 56)
    alone, blessed = gate(tested[:6])
    assert (alone.songs, alone.cross_validated, alone.outcome) == (3, 0, "undecided")
    assert not blessed


@pytest.mark.parametrize("accepted", [False, True])
def test_an_undecided_model_is_blessed_on_request_only(gate: Bench, accepted: bool) -> None:
    found, blessed = gate(lines(20, lambda song: song > 4, "t"), push_undecided=accepted)
    assert (found.outcome, blessed) == ("undecided", accepted)


def test_both_the_evaluator_and_the_songs_must_bless(gate: Bench) -> None:
    good, bad = lines(40, lambda song: True, "t"), lines(40, lambda song: song % 4 == 0, "t")
    assert gate(good)[1]
    assert not gate(good, evaluator=False)[1]
    assert not gate(bad, push_undecided=True)[1]


def test_the_served_model_is_asked_about_the_test_songs(gate: Bench) -> None:
    tested, validated = lines(30, lambda song: song > 5, "t"), lines(30, lambda song: True, "v")
    found, blessed = gate(tested, validated, served=lambda song: True)
    assert found.comparison is not None
    assert (found.comparison.only_served, found.comparison.only_new, found.comparison.songs) == (6, 0, 30)
    assert (found.outcome, blessed) == ("refused", False)
    assert gate(tested, validated, served=lambda song: song > 4)[1]
