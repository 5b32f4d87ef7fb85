"""Results of the Evaluator, written without a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf
import tensorflow_model_analysis as tfma
from google.protobuf import json_format
from tensorflow_model_analysis.evaluators import metrics_validator
from tensorflow_model_analysis.metrics.metric_types import MetricKey
from tensorflow_model_analysis.proto import config_pb2, metrics_for_slice_pb2, validation_result_pb2

from tumbao.components.evaluator import ACCURACY

Slices = Mapping[str, tuple[float, ...]]
"""Genre (empty for all fragments) → accuracy, and with a baseline its accuracy and the difference."""


def write_metrics(folder: Path, slices: Mapping[str, Mapping[tuple[str, str], float]]) -> None:
    """Write values by slice (a genre, or empty for all fragments) and by name of metric and model.

    Each slice also has a difference, as TFMA writes it beside the metrics of two models.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(folder / "metrics-00000-of-00001.tfrecord")) as writer:
        for genre, values in slices.items():
            metrics = metrics_for_slice_pb2.MetricsForSlice()
            if genre:
                metrics.slice_key.single_slice_keys.add(column="genre", bytes_value=genre.encode())
            for (name, model), value in values.items():
                item = metrics.metric_keys_and_values.add()
                item.key.name, item.key.model_name = name, model
                item.value.double_value.value = value
            difference = metrics.metric_keys_and_values.add()
            difference.key.name, difference.key.is_diff = ACCURACY, True
            difference.value.double_value.value = -9
            writer.write(metrics.SerializeToString())


def write_evaluation(folder: Path, config: config_pb2.EvalConfig, slices: Slices) -> bool:
    """Write metrics with TFMA's own decision, and return it."""
    has_baseline = any(len(values) > 1 for values in slices.values())
    config = tfma.utils.update_eval_config_with_defaults(config, has_baseline=has_baseline, rubber_stamp=True)
    names = ("candidate", "baseline") if has_baseline else ("",)
    decisions = []
    for genre, values in slices.items():
        metrics = {MetricKey(ACCURACY, model_name=name): value for name, value in zip(names, values, strict=False)}
        if has_baseline:
            metrics[MetricKey(ACCURACY, model_name="candidate", is_diff=True)] = values[2]
        decisions.append(metrics_validator.validate_metrics(((("genre", genre),) if genre else (), metrics), config))
    write_metrics(
        folder,
        {
            genre: {(ACCURACY, name): value for name, value in zip(names, values, strict=False)}
            for genre, values in slices.items()
        },
    )
    result = validation_result_pb2.ValidationResult(validation_ok=all(one.validation_ok for one in decisions))
    for one in decisions:
        result.metric_validations_per_slice.extend(one.metric_validations_per_slice)
        metrics_validator.merge_details(result, one)
    missing = metrics_validator.get_missing_slices(result.validation_details.slicing_details, config)
    result.missing_slices.extend(missing)
    with tf.io.TFRecordWriter(str(folder / "validations.tfrecord")) as writer:
        writer.write(result.SerializeToString())
    run = config_pb2.EvalRun(eval_config=config, version=tfma.version.VERSION)
    (folder / "eval_config.json").write_text(json_format.MessageToJson(run))
    return result.validation_ok and not missing
