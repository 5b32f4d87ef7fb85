from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from tumbao.trainer.distance import HiddenFeatures, distance_rule, fit_distance, song_distances, to_keras

COLUMNS = 12


def part(songs: int, seed: int, shift: float = 0.0, fragments: int = 3) -> HiddenFeatures:
    """Make songs of three genres, with columns of very different width; their fragments differ a little."""
    rng = np.random.default_rng(seed)
    song = np.repeat(np.arange(songs), fragments)
    width = np.geomspace(0.1, 10, COLUMNS)
    features = width * (rng.standard_normal((songs, COLUMNS))[song] + 0.3 * rng.standard_normal((len(song), COLUMNS)))
    features[:, :3] += 3 * np.eye(3)[song % 3]
    features[:, 0] += shift
    return HiddenFeatures(features, song % 3, np.array([f"{seed} {one:03d}" for one in song]))


def test_the_keras_model_and_its_tflite_file_equal_numpy() -> None:
    distance, new = fit_distance(part(60, 1)), part(5, 2, 1.0).features.astype(np.float32)
    expected = distance(new)
    assert np.ptp(expected) > 1
    model = to_keras(distance)
    np.testing.assert_allclose(model(new).numpy(), expected, rtol=1e-4)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    runner = Interpreter(model_content=converter.convert()).get_signature_runner()
    (taken,), (given,) = runner.get_input_details(), runner.get_output_details()
    found = [runner(**{taken: row[np.newaxis]})[given][0] for row in new]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_column_counts_in_units_of_its_width_and_the_nearest_genre_decides() -> None:
    distance = fit_distance(part(300, 1))
    centres = 3 * np.eye(3, COLUMNS)
    assert distance(centres).max() < 1
    narrow, wide = (centres + 1.0 * np.eye(COLUMNS)[column] for column in (3, COLUMNS - 1))
    assert distance(narrow).min() > 2 > 1 > distance(wide).max()


def test_songs_weigh_the_same_however_many_fragments_they_have() -> None:
    short = part(60, 1)
    repeated = short.rows(np.repeat(np.arange(180), np.where(np.arange(180) < 30, 5, 1)))
    new = part(4, 2).features
    np.testing.assert_allclose(fit_distance(repeated)(new), fit_distance(short)(new), rtol=0.15)


@pytest.mark.parametrize("held_out", [None, part(40, 3)])
def test_the_threshold_accepts_95_percent_of_new_songs_of_the_same_kind(held_out: HiddenFeatures | None) -> None:
    found = distance_rule(part(90, 1), held_out)
    assert found is not None
    distance, rule = found
    assert rule.songs == (90 if held_out is None else 40)
    accepted = [rule.accepts([one]) for one in song_distances(distance, part(1_000, 5))]
    assert np.mean(accepted) == pytest.approx(0.95, abs=0.04)
    assert not any(rule.accepts([one]) for one in song_distances(distance, part(50, 5, shift=3.0)))


@pytest.mark.parametrize("train", [part(3, 1), part(4, 1)], ids=["one song a genre", "two of one genre"])
def test_too_few_songs_have_no_threshold(train: HiddenFeatures) -> None:
    assert distance_rule(train, None) is None
    assert distance_rule(part(60, 1), train) is None
