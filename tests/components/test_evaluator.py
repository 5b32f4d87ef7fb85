"""Thresholds of the Evaluator, and its results read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2, metrics_for_slice_pb2

from tests.components.evaluations import write_evaluation, write_metrics
from tumbao.components.evaluation.run_data import GateRow
from tumbao.components.evaluator import (
    ACCURACY,
    LOSS,
    OVERALL,
    Figure,
    eval_config,
    gate_failure,
    read_figures,
    read_thresholds,
)

GENRES = ("bachata", "salsa")
MANY = dict.fromkeys(GENRES, 10**30)
"""So many test songs that every threshold equals its bound."""


@pytest.fixture(scope="module")
def config() -> config_pb2.EvalConfig:
    return eval_config(MANY, min_accuracy=0.8, min_recall=0.5, max_accuracy_drop=0.01)


def test_the_configuration_is_valid(config: config_pb2.EvalConfig) -> None:
    tfma.utils.verify_eval_config(tfma.utils.update_eval_config_with_defaults(config, has_baseline=True))


def test_figures_are_read_by_slice_with_those_of_the_baseline(tmp_path: Path) -> None:
    overall = {(ACCURACY, "candidate"): 0.9, (ACCURACY, "baseline"): 0.85, (LOSS, "candidate"): 0.4}
    salsa = {(ACCURACY, "candidate"): 0.75, (ACCURACY, "baseline"): 1.0}
    write_metrics(tmp_path, {"": overall, "salsa": salsa})
    assert read_figures(str(tmp_path), ACCURACY) == {OVERALL: Figure(0.9, 0.85), "salsa": Figure(0.75, 1.0)}
    assert read_figures(str(tmp_path), LOSS) == {OVERALL: Figure(0.4, None)}


def test_a_model_without_a_name_is_the_candidate_and_bounds_of_a_figure_are_ignored(tmp_path: Path) -> None:
    metrics = metrics_for_slice_pb2.MetricsForSlice()
    item = metrics.metric_keys_and_values.add()
    item.key.name = ACCURACY
    item.value.bounded_value.value.value = 0.7
    item.value.bounded_value.lower_bound.value = 0.5
    with tf.io.TFRecordWriter(str(tmp_path / "metrics-00000-of-00001.tfrecord")) as writer:
        writer.write(metrics.SerializeToString())
    assert read_figures(str(tmp_path), ACCURACY) == {OVERALL: Figure(0.7, None)}


def test_thresholds_are_shown_as_the_evaluator_decided(tmp_path: Path, config: config_pb2.EvalConfig) -> None:
    write_evaluation(tmp_path, config, {"": (0.79,), "bachata": (0.5,), "salsa": (0.49,)})
    rows = read_thresholds(str(tmp_path))
    assert rows == (
        GateRow("accuracy", OVERALL, 0.79, 0.8, "lower bound", None, False),
        GateRow("recall", "bachata", 0.5, 0.5, "lower bound", None, True),
        GateRow("recall", "salsa", 0.49, 0.5, "lower bound", None, False),
    )
    assert gate_failure(str(tmp_path)) == (
        "accuracy is 0.790, below the minimum of 0.800; recall of salsa is 0.490, below the minimum of 0.500"
    )


@pytest.mark.parametrize(("right", "fragments", "least"), [(18, 20, 0.9), (7, 10, 0.7), (1, 10, 0.1), (19, 20, 0.95)])
def test_a_figure_on_its_bound_passes_though_it_is_lower_in_float32(
    tmp_path: Path, right: int, fragments: int, least: float
) -> None:
    config = eval_config(MANY, min_accuracy=least, min_recall=least, max_accuracy_drop=0.01)
    reached = float(np.float32(right) / np.float32(fragments))
    write_evaluation(tmp_path, config, dict.fromkeys(("", *GENRES), (reached,)))
    assert [(row.bound, row.passed) for row in read_thresholds(str(tmp_path))] == [(least, True)] * 3
    write_evaluation(tmp_path / "less", config, dict.fromkeys(("", *GENRES), (reached - 1e-5,)))
    assert not any(row.passed for row in read_thresholds(str(tmp_path / "less")))


@pytest.mark.parametrize("difference", [-0.01, float(np.float32(0.08) - np.float32(0.09)), -0.0101])
def test_a_difference_on_the_bound_passes_though_it_is_lower_in_float32(tmp_path: Path, difference: float) -> None:
    assert float(np.float32(0.08) - np.float32(0.09)) < -0.01
    config = eval_config(MANY, min_accuracy=0, min_recall=0, max_accuracy_drop=0.01)
    genres = dict.fromkeys(GENRES, (1.0, 1.0, 0.0))
    passed = difference > -0.0101
    assert write_evaluation(tmp_path, config, {"": (0.08, 0.09, difference), **genres}) is passed
    rows = read_thresholds(str(tmp_path))
    assert len(rows) == 4
    assert GateRow("accuracy", OVERALL, 0.08, -0.01, "change against baseline", 0.09, passed) in rows
    assert [row.passed for row in rows].count(False) == (not passed)


def test_thresholds_refuse_only_what_the_test_songs_show(tmp_path: Path) -> None:
    few = eval_config({"bachata": 1, "salsa": 4}, min_accuracy=0.8, min_recall=0.5, max_accuracy_drop=0.01)
    lower = 0.8 - 1.96 * np.sqrt(0.8 * 0.2 / 5)
    for accuracy, passed in ((lower + 0.01, True), (lower - 0.01, False)):
        assert write_evaluation(tmp_path, few, {"": (accuracy,), "bachata": (0.0,), "salsa": (0.1,)}) is passed
    rows = {row.slice_name: row.bound for row in read_thresholds(str(tmp_path))}
    assert rows == {OVERALL: pytest.approx(lower, abs=1e-4), "bachata": 0.0, "salsa": pytest.approx(0.01, abs=1e-3)}
    assert write_evaluation(tmp_path / "drop", few, {"": (0.7, 1.0, -0.3), **dict.fromkeys(GENRES, (1.0, 1.0, 0.0))})


def test_a_genre_without_test_fragments_is_a_failure(tmp_path: Path, config: config_pb2.EvalConfig) -> None:
    write_evaluation(tmp_path, config, {"": (1.0,), "bachata": (1.0,)})
    assert [(row.slice_name, row.bound, row.passed) for row in read_thresholds(str(tmp_path))] == [
        (OVERALL, 0.8, True),
        ("bachata", 0.5, True),
        ("salsa", 0.5, False),
    ]
    assert gate_failure(str(tmp_path)) == "recall of salsa could not be measured: no test fragment"
