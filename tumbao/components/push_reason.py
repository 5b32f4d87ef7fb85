"""Why a model is pushed or kept away, in a sentence, from what the checks left behind."""

from __future__ import annotations

import json

import tensorflow_model_analysis as tfma

from tumbao.components.gate import ACCURACY, OVERALL, read_figures
from tumbao.components.ingest.places import place
from tumbao.components.report.data import GateRow
from tumbao.components.report.verdict import reason


def merit(evaluation: str) -> str:
    """Say what a blessed model reached.

    Parameters
    ----------
    evaluation : str
        Folder of the Evaluator's `evaluation`.

    Returns
    -------
    sentence : str
        Its accuracy on the test split, and that of the model it was compared with, on the same songs.
    """
    figure = read_figures(evaluation, ACCURACY)[OVERALL]
    against = "no other to compare with" if figure.baseline is None else f"{figure.baseline:.3f} of the latest blessed"
    return f"passed every check: accuracy {figure.value:.3f}, {against}"


def gate_failure(evaluation: str) -> str:
    """Say which thresholds the Evaluator found missed.

    Parameters
    ----------
    evaluation : str
        Folder of the Evaluator's `evaluation`.

    Returns
    -------
    sentence : str
        Each threshold with its slice, the value and the bound.
    """
    figures = read_figures(evaluation, ACCURACY)
    missed = []
    for one in tfma.load_validation_result(evaluation).metric_validations_per_slice:
        keys = one.slice_key.single_slice_keys
        name = keys[0].bytes_value.decode() if keys else OVERALL
        for failure in one.failures:
            threshold, figure = failure.metric_threshold, figures[name]
            metric = "accuracy" if name == OVERALL else "recall"
            if failure.metric_key.is_diff:
                bound = threshold.change_threshold.absolute.value
                row = GateRow(metric, name, figure.value, bound, "change against baseline", figure.baseline, False)
            else:
                bound = threshold.value_threshold.lower_bound.value
                row = GateRow(metric, name, figure.value, bound, "lower bound", None, False)
            missed.append(reason(row))
    return f"not blessed: {'; '.join(missed) or 'the evaluator gave no threshold that failed'}"


def check_failure(agreement: str) -> str:
    """Say what the mobile check objects to.

    Parameters
    ----------
    agreement : str
        Folder of MobileCheck's `report`.

    Returns
    -------
    sentence : str
        Each artefact that failed, and how.
    """
    rows = json.loads(place(f"{agreement}/agreement.json").read_bytes())
    failures = [f"{row['name']} ({row['through']}) {failure}" for row in rows for failure in row["failures"]]
    return f"vetoed by the mobile check: {'; '.join(failures) or 'it gave no reason'}"
