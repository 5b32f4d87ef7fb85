"""Why a model is pushed or kept away, in a sentence, from what the checks left behind."""

from __future__ import annotations

import json

from tumbao.components.evaluation.eval_config import ACCURACY, OVERALL, read_failures, read_figures
from tumbao.components.evaluation.verdict import reason
from tumbao.components.ingest.paths import place


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
    missed = "; ".join(map(reason, read_failures(evaluation)))
    return f"not blessed: {missed or 'the evaluator gave no threshold that failed'}"


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
