"""Confident learning: find labels that a model contradicts.

The method is that of Northcutt, Jiang & Chuang 2021, in their library cleanlab. A label is contradicted if another
genre is at least as probable as it is on average for its own songs. The number of wrong labels of each genre is
estimated from these counts, and the least probable labels are selected. The method therefore
tolerates a model that is unsure, or surer of one genre than of another.
"""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Judgement:
    """Result for n labels.

    `wrong` [n] says which labels look wrong. `scores` [n] are normalised margins in 0..1: below 0.5 another label is
    more probable, and a lower score is a clearer case. `likeliest` [n] are the most probable labels. `joint` [genres,
    genres] are estimated counts of labels by given genre (rows) and true genre (columns); rows sum to the given labels'
    counts.
    """

    wrong: np.ndarray
    scores: np.ndarray
    likeliest: np.ndarray
    joint: np.ndarray


def judge(labels: np.ndarray, probabilities: np.ndarray) -> Judgement:
    """Judge labels [n] by out-of-sample probabilities [n, genres]; each genre must occur at least twice."""
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
