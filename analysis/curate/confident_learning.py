"""Confident learning: which labels a model contradicts with more certainty than it usually has.

After Northcutt, Jiang & Chuang 2021, by their library cleanlab: a label counts as contradicted where another genre is
at least as probable as it is on average for its own songs; how many of each genre are wrong is estimated from those
counts, and the least probable labels are taken. So a model may be unsure, or surer of one genre than of another.
"""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Judgement:
    """What is thought of n labels.

    Parameters
    ----------
    wrong : np.ndarray [shape=(n,), dtype=bool]
        Whether the label looks wrong.
    scores : np.ndarray [shape=(n,), dtype=float64]
        Normalised margin in 0..1: below 0.5 another label is more probable, and the lower, the clearer.
    likeliest : np.ndarray [shape=(n,), dtype=int64]
        The most probable label.
    joint : np.ndarray [shape=(genres, genres), dtype=int64]
        Estimated count of labels by given (row) and true genre (column); rows sum to the given labels' counts.
    """

    wrong: np.ndarray
    scores: np.ndarray
    likeliest: np.ndarray
    joint: np.ndarray


def judge(labels: np.ndarray, probabilities: np.ndarray) -> Judgement:
    """Judge labels.

    Parameters
    ----------
    labels : np.ndarray [shape=(n,), dtype=int]
        The given labels, each genre at least twice.
    probabilities : np.ndarray [shape=(n, genres), dtype=float]
        Answers of models that did not learn from these examples; rows sum to 1.

    Returns
    -------
    judgement : Judgement
        In the same order.

    Raises
    ------
    ValueError
        If a probability is missing.
    """
    from cleanlab.count import compute_confident_joint
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    if not np.isfinite(probabilities).all():
        count = int((~np.isfinite(probabilities)).any(axis=1).sum())
        raise ValueError(f"Expected an answer to every fragment. Received: none to {count} of {len(labels)}")
    joint = compute_confident_joint(labels, probabilities)
    return Judgement(
        wrong=find_label_issues(labels, probabilities, confident_joint=joint, n_jobs=1),
        scores=get_label_quality_scores(labels, probabilities, method="normalized_margin"),
        likeliest=probabilities.argmax(axis=1),
        joint=joint,
    )
