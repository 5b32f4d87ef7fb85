"""Comparison of an exported variant's predictions with those of the model that it was made from.

Probabilities are [n, genres], one row for each fragment, both sides in the same order; labels are indexes [n].
"""

from __future__ import annotations

import dataclasses

import numpy as np

MIN_AGREEMENT = 0.98
"""Smallest share of fragments for which both sides must have the same top genre."""

MAX_ACCURACY_DROP = 0.01
"""Largest allowed decrease of the accuracy against the model."""


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Agreement of a variant's predictions with the model's.

    Parameters
    ----------
    top1 : float
        Share of fragments for which both have the same top genre, in 0..1.
    max_difference : float
        Largest absolute difference of a probability.
    reference_accuracy : float
        Accuracy of the model.
    accuracy : float
        Accuracy of the variant.
    """

    top1: float
    max_difference: float
    reference_accuracy: float
    accuracy: float

    @property
    def failures(self) -> list[str]:
        """Description of each limit that is exceeded; empty if there is none."""
        failures = []
        if self.top1 < MIN_AGREEMENT:
            failures.append(
                f"names the float model's genre on {self.top1:.1%} of the fragments, expected {MIN_AGREEMENT:.0%}"
            )
        if self.accuracy < self.reference_accuracy - MAX_ACCURACY_DROP - 1e-9:
            failures.append(
                f"reaches an accuracy of {self.accuracy:.1%}, expected at least "
                f"{self.reference_accuracy - MAX_ACCURACY_DROP:.1%} (the float model's {self.reference_accuracy:.1%} "
                f"less {100 * MAX_ACCURACY_DROP:.0f} point)"
            )
        return failures


def agreement(reference: np.ndarray, candidate: np.ndarray, labels: np.ndarray) -> Agreement:
    """Compare a variant's predictions with the model's.

    Parameters
    ----------
    reference : np.ndarray [shape=(n, genres)]
        Probabilities of the model.
    candidate : np.ndarray [shape=(n, genres)]
        Probabilities of the variant for the same fragments.
    labels : np.ndarray [shape=(n,), dtype=int]
        True labels.

    Returns
    -------
    agreement : Agreement
        The comparison.

    Raises
    ------
    ValueError
        If the shapes do not match or there is no fragment.

    Examples
    --------
    >>> agreement(np.array([[0.9, 0.1]]), np.array([[0.8, 0.2]]), np.array([0])).top1
    1.0
    """
    if reference.shape != candidate.shape or len(labels) != len(reference) or not len(labels):
        raise ValueError(
            "Expected probabilities of the same fragments, at least one, with a label each. "
            f"Received shapes: reference={reference.shape}, candidate={candidate.shape}, labels={labels.shape}"
        )
    first, second = reference.argmax(axis=1), candidate.argmax(axis=1)
    return Agreement(
        top1=float((first == second).mean()),
        max_difference=float(np.abs(reference - candidate).max()),
        reference_accuracy=float((first == labels).mean()),
        accuracy=float((second == labels).mean()),
    )
