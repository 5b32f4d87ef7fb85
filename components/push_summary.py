"""Reasons for pushing or refusing a model, as sentences from the results of the checks."""

from __future__ import annotations

import json

from tumbao.components.evaluation.eval_config import ACCURACY, OVERALL, read_failures, read_figures
from tumbao.components.evaluation.verdict import reason
from tumbao.components.ingest.paths import as_path


def merit(evaluation: str) -> str:
    """Describe the accuracy of a blessed model.

    Parameters
    ----------
    evaluation : str
        Folder of the Evaluator's `evaluation`.

    Returns
    -------
    sentence : str
        Its accuracy on the test split, and that of the baseline on the same songs.
    """
    figure = read_figures(evaluation, ACCURACY)[OVERALL]
    against = "no other to compare with" if figure.baseline is None else f"{figure.baseline:.3f} of the latest blessed"
    return f"passed every check: accuracy {figure.value:.3f}, {against}"


def gate_failure(evaluation: str) -> str:
    """Describe the thresholds that the model did not reach.

    Parameters
    ----------
    evaluation : str
        Folder of the Evaluator's `evaluation`.

    Returns
    -------
    sentence : str
        Each threshold with its slice, the value and the bound.
    """
    missed = "; ".join(map(reason, read_failures(evaluation)))
    return f"not blessed: {missed or 'the evaluator gave no threshold that failed'}"


def check_failure(agreement: str) -> str:
    """Describe the failures of the mobile check.

    Parameters
    ----------
    agreement : str
        Folder of MobileCheck's `report`.

    Returns
    -------
    sentence : str
        Each variant that failed, and its failure.
    """
    rows = json.loads(as_path(f"{agreement}/agreement.json").read_bytes())
    failures = [f"{row['name']} ({row['through']}) {failure}" for row in rows for failure in row["failures"]]
    return f"vetoed by the mobile check: {'; '.join(failures) or 'it gave no reason'}"
