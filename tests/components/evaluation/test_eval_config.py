"""What the Evaluator is asked to hold a model to, and its figures read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from google.protobuf import json_format
from tensorflow_model_analysis.evaluators import metrics_validator
from tensorflow_model_analysis.metrics.metric_types import MetricKey
from tensorflow_model_analysis.proto import config_pb2, metrics_for_slice_pb2, validation_result_pb2

from tumbao.components.evaluation.eval_config import (
    ACCURACY,
    LOSS,
    OVERALL,
    Figure,
    eval_config,
    gate_failure,
    read_failures,
    read_figures,
    read_thresholds,
)
from tumbao.components.evaluation.run_data import GateRow

GENRES = ("bachata", "salsa")


@pytest.fixture(scope="module")
def config() -> tfma.EvalConfig:
    return eval_config(GENRES, min_accuracy=0.8, min_recall=0.5, max_accuracy_drop=0.01)


def slices(specs: list[tfma.SlicingSpec]) -> list[dict[str, str]]:
    return [dict(spec.feature_values) for spec in specs]


def test_accuracy_has_a_bound_overall_and_one_in_the_slice_of_each_genre(config: tfma.EvalConfig) -> None:
    metric = next(m for m in config.metrics_specs[0].metrics if m.class_name == "SparseCategoricalAccuracy")
    overall, each_genre = metric.per_slice_thresholds
    assert slices(overall.slicing_specs) == [{}]
    assert overall.threshold.value_threshold.lower_bound.value == pytest.approx(0.8, abs=2e-6)
    assert slices(each_genre.slicing_specs) == [{"genre": "bachata"}, {"genre": "salsa"}]
    assert each_genre.threshold.value_threshold.lower_bound.value == pytest.approx(0.5, abs=2e-6)


def test_the_change_against_the_latest_blessed_model_has_a_bound_overall_only(config: tfma.EvalConfig) -> None:
    overall, each_genre = config.metrics_specs[0].metrics[0].per_slice_thresholds
    change = overall.threshold.change_threshold
    assert change.direction == tfma.MetricDirection.HIGHER_IS_BETTER
    assert change.absolute.value == pytest.approx(-0.01, abs=2e-6)
    assert not each_genre.threshold.HasField("change_threshold")


def test_every_slice_with_a_bound_is_computed(config: tfma.EvalConfig) -> None:
    assert slices(config.slicing_specs) == [{}, {"genre": "bachata"}, {"genre": "salsa"}]


def test_precision_recall_and_f1_are_computed_for_each_genre(config: tfma.EvalConfig) -> None:
    one_against_all = config.metrics_specs[1]
    assert {metric.class_name for metric in one_against_all.metrics} == {"Precision", "Recall", "F1Score"}
    assert list(one_against_all.binarize.class_ids.values) == [0, 1]


def test_the_evaluator_finds_the_configuration_in_order(config: tfma.EvalConfig) -> None:
    tfma.utils.verify_eval_config(tfma.utils.update_eval_config_with_defaults(config, has_baseline=True))


def write_slice(writer: tf.io.TFRecordWriter, genre: str, figures: dict[tuple[str, str], float]) -> None:
    metrics = metrics_for_slice_pb2.MetricsForSlice()
    if genre:
        key = metrics.slice_key.single_slice_keys.add()
        key.column, key.bytes_value = "genre", genre.encode()
    for (name, model), number in figures.items():
        item = metrics.metric_keys_and_values.add()
        item.key.name, item.key.model_name = name, model
        item.value.double_value.value = number
    difference = metrics.metric_keys_and_values.add()
    difference.key.name, difference.key.is_diff = ACCURACY, True
    difference.value.double_value.value = -9
    writer.write(metrics.SerializeToString())


def test_figures_are_read_by_slice_with_the_baselines_beside_them(tmp_path: Path) -> None:
    with tf.io.TFRecordWriter(str(tmp_path / "metrics-00000-of-00001.tfrecord")) as writer:
        write_slice(writer, "", {(ACCURACY, "candidate"): 0.9, (ACCURACY, "baseline"): 0.85, (LOSS, "candidate"): 0.4})
        write_slice(writer, "salsa", {(ACCURACY, "candidate"): 0.75, (ACCURACY, "baseline"): 1.0})
    assert read_figures(str(tmp_path), ACCURACY) == {OVERALL: Figure(0.9, 0.85), "salsa": Figure(0.75, 1.0)}
    assert read_figures(str(tmp_path), LOSS) == {OVERALL: Figure(0.4, None)}


def test_a_model_without_a_name_is_the_candidate_and_bounds_around_a_figure_are_passed_over(tmp_path: Path) -> None:
    metrics = metrics_for_slice_pb2.MetricsForSlice()
    item = metrics.metric_keys_and_values.add()
    item.key.name = ACCURACY
    item.value.bounded_value.value.value = 0.7
    item.value.bounded_value.lower_bound.value = 0.5
    with tf.io.TFRecordWriter(str(tmp_path / "metrics-00000-of-00001.tfrecord")) as writer:
        writer.write(metrics.SerializeToString())
    assert read_figures(str(tmp_path), ACCURACY) == {OVERALL: Figure(0.7, None)}


def judge(folder: Path, config: tfma.EvalConfig, found: dict[str, tuple[float, ...]]) -> str:
    """Write what the Evaluator does, with TFMA's own verdict: by slice, the candidate's accuracy, the baseline's, and
    their difference as TFMA has it.
    """
    config = tfma.utils.update_eval_config_with_defaults(
        config, has_baseline=any(len(values) > 1 for values in found.values()), rubber_stamp=True
    )
    verdicts = []
    with tf.io.TFRecordWriter(str(folder / "metrics-00000-of-00001.tfrecord")) as writer:
        for genre, values in found.items():
            names = ("candidate", "baseline") if len(values) > 1 else ("",)
            write_slice(writer, genre, dict(zip(((ACCURACY, name) for name in names), values, strict=False)))
            metrics = {MetricKey(ACCURACY, model_name=name): value for name, value in zip(names, values, strict=False)}
            if len(values) > 1:
                metrics[MetricKey(ACCURACY, model_name="candidate", is_diff=True)] = values[2]
            verdicts.append(metrics_validator.validate_metrics(((("genre", genre),) if genre else (), metrics), config))
    result = validation_result_pb2.ValidationResult(validation_ok=all(one.validation_ok for one in verdicts))
    for one in verdicts:
        result.metric_validations_per_slice.extend(one.metric_validations_per_slice)
        metrics_validator.merge_details(result, one)
    missing = metrics_validator.get_missing_slices(result.validation_details.slicing_details, config)
    result.missing_slices.extend(missing)
    with tf.io.TFRecordWriter(str(folder / "validations.tfrecord")) as writer:
        writer.write(result.SerializeToString())
    run = config_pb2.EvalRun(eval_config=config, version=tfma.version.VERSION)
    (folder / "eval_config.json").write_text(json_format.MessageToJson(run))
    return str(folder)


def test_thresholds_are_shown_as_the_evaluator_found_them(tmp_path: Path, config: tfma.EvalConfig) -> None:
    evaluation = judge(tmp_path, config, {"": (0.79,), "bachata": (0.5,), "salsa": (0.49,)})
    assert read_thresholds(evaluation) == (
        GateRow("accuracy", OVERALL, 0.79, 0.8, "lower bound", None, False),
        GateRow("recall", "bachata", 0.5, 0.5, "lower bound", None, True),
        GateRow("recall", "salsa", 0.49, 0.5, "lower bound", None, False),
    )
    failures = [row for row in read_thresholds(evaluation) if not row.passed]
    assert list(read_failures(evaluation)) == failures
    assert gate_failure(evaluation) == (
        "not blessed: accuracy is 0.790, below the minimum of 0.800; recall of salsa is 0.490, below the minimum of "
        "0.500"
    )


@pytest.mark.parametrize(("right", "fragments", "least"), [(18, 20, 0.9), (7, 10, 0.7), (1, 10, 0.1), (19, 20, 0.95)])
def test_a_figure_on_its_bound_passes_though_float32_has_it_lower(
    tmp_path: Path, right: int, fragments: int, least: float
) -> None:
    config = eval_config(GENRES, min_accuracy=least, min_recall=least, max_accuracy_drop=0.01)
    reached = float(np.float32(right) / np.float32(fragments))
    evaluation = judge(tmp_path, config, dict.fromkeys(("", *GENRES), (reached,)))
    assert [(row.bound, row.passed) for row in read_thresholds(evaluation)] == [(least, True)] * 3
    (tmp_path / "less").mkdir()
    missed = judge(tmp_path / "less", config, dict.fromkeys(("", *GENRES), (reached - 1e-5,)))
    assert len(read_failures(missed)) == 3


@pytest.mark.parametrize("difference", [-0.01, float(np.float32(0.08) - np.float32(0.09)), -0.0101])
def test_a_difference_on_the_bound_passes_though_float32_has_it_lower(tmp_path: Path, difference: float) -> None:
    assert float(np.float32(0.08) - np.float32(0.09)) < -0.01
    genres = dict.fromkeys(GENRES, (1.0, 1.0, 0.0))
    config = eval_config(GENRES, min_accuracy=0, min_recall=0, max_accuracy_drop=0.01)
    evaluation = judge(tmp_path, config, {"": (0.08, 0.09, difference), **genres})
    passed = difference > -0.0101
    change = GateRow("accuracy", OVERALL, 0.08, -0.01, "change against baseline", 0.09, passed)
    rows = read_thresholds(evaluation)
    assert len(rows) == 4
    assert change in rows
    assert [row.passed for row in rows].count(False) == (not passed)
    assert tfma.load_validation_result(evaluation).validation_ok is passed


def test_a_genre_without_test_fragments_is_named_as_what_the_evaluator_missed(
    tmp_path: Path, config: tfma.EvalConfig
) -> None:
    evaluation = judge(tmp_path, config, {"": (1.0,), "bachata": (1.0,)})
    assert [(row.slice_name, row.bound, row.passed) for row in read_thresholds(evaluation)] == [
        (OVERALL, 0.8, True),
        ("bachata", 0.5, True),
        ("salsa", 0.5, False),
    ]
    assert gate_failure(evaluation) == "not blessed: recall of salsa could not be measured: no test fragment"
