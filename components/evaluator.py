"""Evaluator: TFX's own, which also accepts an empty baseline; its metrics and thresholds, and how to read its results.

Thresholds are on accuracy: over the whole test split, and in the slice of each genre, where accuracy is that genre's
recall. The change against the latest blessed model is checked over the whole split only: a genre's slice may have a
handful of fragments. Each threshold is the lowest accuracy that so many test songs do not show to be below the bound,
see `decision.lowest_plausible`; `SongGate` decides the rest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow_model_analysis as tfma
from google.protobuf import json_format
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.writers import eval_config_writer
from tfx import types
from tfx import v1 as tfx
from tfx.components.evaluator import executor
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.types.standard_component_specs import BASELINE_MODEL_KEY

from tumbao.components.evaluation.decision import LEAST_DIFFERING, lowest_plausible
from tumbao.components.evaluation.run_data import Gate, GateKind, GateRow
from tumbao.components.served_baseline import has_model
from tumbao.schema import record
from tumbao.serving.model_info import PROBABILITIES
from tumbao.serving.signatures import EXAMPLES


class EvaluatorExecutor(executor.Executor):
    """Evaluates a model, against a baseline if there is one."""

    def Do(  # noqa: N802 - TFX names it so
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Evaluate the model; the folder of the baseline model may be empty."""
        found = [model for model in input_dict.get(BASELINE_MODEL_KEY, []) if has_model(model)]
        others = {key: artifacts for key, artifacts in input_dict.items() if key != BASELINE_MODEL_KEY}
        super().Do(others | ({BASELINE_MODEL_KEY: found} if found else {}), output_dict, exec_properties)


class Evaluator(tfx.components.Evaluator):
    """TFX's Evaluator with our executor."""

    EXECUTOR_SPEC = BeamExecutorSpec(EvaluatorExecutor)


ACCURACY = "sparse_categorical_accuracy"
LOSS = "sparse_categorical_crossentropy"
OVERALL = "overall"

ROUNDING = 1e-6
"""Tolerance below a bound: TFMA computes in float32, in which 18 of 20 is less than 0.9."""


def eval_config(
    test_songs: Mapping[str, int], *, min_accuracy: float, min_recall: float, max_accuracy_drop: float
) -> config_pb2.EvalConfig:
    """Create the configuration of the Evaluator, with bounds in 0–1.

    `test_songs` is the number of test songs of each genre, in the order of the labels. Precision, recall and F1 are of
    each genre against all others, at a probability of 0.5.
    """
    songs = sum(test_songs.values())
    drop = max(max_accuracy_drop, (LEAST_DIFFERING - 1) / max(songs, 1))
    slices = [{}, *({"feature_values": {record.GENRE: genre}} for genre in test_songs)]
    bounds = [(min_accuracy, songs), *((min_recall, number) for number in test_songs.values())]
    thresholds: list[dict[str, Any]] = [
        {
            "slicing_specs": [one],
            "threshold": {"value_threshold": {"lower_bound": lowest_plausible(bound, number) - ROUNDING}},
        }
        for one, (bound, number) in zip(slices, bounds, strict=True)
    ]
    change = {"direction": "HIGHER_IS_BETTER", "absolute": -drop - ROUNDING}
    thresholds[0]["threshold"]["change_threshold"] = change
    everywhere = ("SparseCategoricalCrossentropy", "MultiClassConfusionMatrixPlot", "ExampleCount")
    one_against_all = ("Precision", "Recall", "F1Score")
    model = {
        "signature_name": EXAMPLES,
        "label_key": record.LABEL,
        "prediction_key": PROBABILITIES,
        "model_type": tfma.constants.TF_GENERIC,
    }
    description = {
        "model_specs": [model],
        "slicing_specs": slices,
        "metrics_specs": [
            {
                "metrics": [
                    {"class_name": "SparseCategoricalAccuracy", "per_slice_thresholds": thresholds},
                    *({"class_name": name} for name in everywhere),
                ]
            },
            {
                "metrics": [{"class_name": name} for name in one_against_all],
                "binarize": {"class_ids": {"values": list(range(len(test_songs)))}},
            },
        ],
    }
    return json_format.ParseDict(description, config_pb2.EvalConfig())


class Figure(NamedTuple):
    """The value of one metric in one slice, and that of the baseline, if there is one."""

    value: float
    baseline: float | None


def read_figures(evaluation: str, metric: str) -> dict[str, Figure]:
    """Read a metric (`ACCURACY` or `LOSS`) by genre, and under `OVERALL` for the whole split.

    `evaluation` is the folder of the Evaluator's `evaluation` artefact.
    """
    values: dict[str, dict[str, float]] = {}
    for slice_metrics in tfma.load_metrics(evaluation):
        name = _name(slice_metrics.slice_key)
        for item in slice_metrics.metric_keys_and_values:
            if item.key.name == metric and not item.key.is_diff:
                kind = item.value.WhichOneof("type")
                number = item.value.double_value if kind == "double_value" else item.value.bounded_value.value
                model = item.key.model_name or tfma.constants.CANDIDATE_KEY
                values.setdefault(name, {})[model] = number.value
    return {
        name: Figure(models[tfma.constants.CANDIDATE_KEY], models.get(tfma.constants.BASELINE_KEY))
        for name, models in values.items()
    }


def read_thresholds(evaluation: str) -> tuple[GateRow, ...]:
    """Read every threshold of the Evaluator and whether TFMA found it reached, the overall thresholds first.

    The value is NaN where nothing was measured, as for a genre without fragments.
    """
    config = eval_config_writer.load_eval_run(evaluation)[0]
    thresholds = tfma.metrics.metric_thresholds_from_metrics_specs(config.metrics_specs, eval_config=config)
    figures, result = read_figures(evaluation, ACCURACY), tfma.load_validation_result(evaluation)
    missing = {_genre(spec) for spec in result.missing_slices}
    failed = {
        (_name(one.slice_key), failure.metric_threshold.HasField("change_threshold"))
        for one in result.metric_validations_per_slice
        for failure in one.failures
    }
    rows = []
    for key, slices in thresholds.items():
        if key.model_name not in ("", tfma.constants.CANDIDATE_KEY):
            continue  # the baseline has no thresholds
        for spec, threshold in slices:
            name = _genre(spec) if spec else OVERALL
            metric = "accuracy" if name == OVERALL else "recall"  # accuracy in the slice of a genre is its recall
            kind: GateKind = "change against baseline" if key.is_diff else "lower bound"
            bound = (threshold.absolute if key.is_diff else threshold.lower_bound).value
            figure = figures.get(name, Figure(math.nan, None))
            baseline = figure.baseline if key.is_diff else None
            passed = name not in missing and (name, key.is_diff) not in failed
            rows.append(GateRow(metric, name, figure.value, round(bound + ROUNDING, 9), kind, baseline, passed))
    return tuple(sorted(rows, key=lambda row: row.slice_name != OVERALL))


def push_summary(evaluation: str) -> str:
    """Describe the accuracy of a blessed model in a sentence."""
    figure = read_figures(evaluation, ACCURACY)[OVERALL]
    baseline = "there is no baseline" if figure.baseline is None else f"the baseline's is {figure.baseline:.3f}"
    return f"passed every check: accuracy {figure.value:.3f} by the Evaluator, {baseline}"


def gate_failure(evaluation: str) -> str:
    """Describe the thresholds that a model did not reach; empty if it reached all."""
    return Gate(False, read_thresholds(evaluation)).failures


def _genre(spec: config_pb2.SlicingSpec) -> str:
    return dict(spec.feature_values).get(record.GENRE, OVERALL)


def _name(key: Any) -> str:
    keys = key.single_slice_keys
    return keys[0].bytes_value.decode() if keys else OVERALL
