"""What a model must reach on the test split: the configuration of TFMA's Evaluator.

Thresholds are on accuracy: over the whole split, and in the slice of each genre, where accuracy is that genre's recall.
The change against the latest blessed model is looked at over the whole split only: a genre's slice may be a handful of
fragments.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import tensorflow_model_analysis as tfma

from tumbao.schema import record
from tumbao.serving.signatures import EXAMPLES, PROBABILITIES

ACCURACY = "sparse_categorical_accuracy"
LOSS = "sparse_categorical_crossentropy"
OVERALL = "overall"


def eval_config(
    genres: Sequence[str], *, min_accuracy: float, min_recall: float, max_accuracy_drop: float
) -> tfma.EvalConfig:
    """Configure the Evaluator.

    Parameters
    ----------
    genres : sequence of str
        The run's genres, in the order of the labels.
    min_accuracy : float
        Lowest accuracy over the test split, in 0..1.
    min_recall : float
        Lowest recall of each genre, in 0..1.
    max_accuracy_drop : float
        By how much the accuracy may be lower than the latest blessed model's, in 0..1.

    Returns
    -------
    config : tfma.EvalConfig
        Accuracy, cross-entropy, confusion matrix, and precision, recall and F1 of each genre against all others (at a
        probability of 0.5); overall and by genre; with bootstrap confidence intervals.
    """
    overall = tfma.SlicingSpec()
    each_genre = [tfma.SlicingSpec(feature_values={record.GENRE: genre}) for genre in genres]
    thresholds = [
        tfma.PerSliceMetricThreshold(
            slicing_specs=[overall],
            threshold=tfma.MetricThreshold(
                value_threshold=tfma.GenericValueThreshold(lower_bound={"value": min_accuracy}),
                change_threshold=tfma.GenericChangeThreshold(
                    direction=tfma.MetricDirection.HIGHER_IS_BETTER, absolute={"value": -max_accuracy_drop}
                ),
            ),
        ),
        tfma.PerSliceMetricThreshold(
            slicing_specs=each_genre,
            threshold=tfma.MetricThreshold(
                value_threshold=tfma.GenericValueThreshold(lower_bound={"value": min_recall})
            ),
        ),
    ]
    everywhere = tfma.MetricsSpec(
        metrics=[
            tfma.MetricConfig(class_name="SparseCategoricalAccuracy", per_slice_thresholds=thresholds),
            tfma.MetricConfig(class_name="SparseCategoricalCrossentropy"),
            tfma.MetricConfig(class_name="MultiClassConfusionMatrixPlot"),
            tfma.MetricConfig(class_name="ExampleCount"),
        ]
    )
    one_against_all = tfma.MetricsSpec(
        metrics=[tfma.MetricConfig(class_name=name) for name in ("Precision", "Recall", "F1Score")],
        binarize=tfma.BinarizationOptions(class_ids={"values": range(len(genres))}),
    )
    return tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(
                signature_name=EXAMPLES,
                label_key=record.LABEL,
                prediction_key=PROBABILITIES,
                model_type=tfma.constants.TF_GENERIC,
            )
        ],
        slicing_specs=[overall, *each_genre],
        metrics_specs=[everywhere, one_against_all],
        options=tfma.Options(
            compute_confidence_intervals={"value": True},
            confidence_intervals=tfma.ConfidenceIntervalOptions(
                method=tfma.ConfidenceIntervalOptions.POISSON_BOOTSTRAP
            ),
        ),
    )


@dataclasses.dataclass(frozen=True)
class Figure:
    """One metric of one slice.

    Parameters
    ----------
    value : float
        The candidate's.
    baseline : float or None
        The latest blessed model's, where there is one.
    """

    value: float
    baseline: float | None


def read_figures(evaluation: str, metric: str) -> dict[str, Figure]:
    """Read a metric from an evaluation.

    Parameters
    ----------
    evaluation : str
        Folder of the Evaluator's `evaluation` artefact.
    metric : str
        `ACCURACY` or `LOSS`.

    Returns
    -------
    figures : dict of str to Figure
        By genre, and under `OVERALL` for the whole split.
    """
    values: dict[str, dict[str, float]] = {}
    for slice_metrics in tfma.load_metrics(evaluation):
        keys = slice_metrics.slice_key.single_slice_keys
        name = keys[0].bytes_value.decode() if keys else OVERALL
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
