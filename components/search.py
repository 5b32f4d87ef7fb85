"""Results of a hyperparameter search, as frozen values."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class SearchTrial:
    """One trial and its metrics.

    Parameters
    ----------
    number : int
        Position in the order of the trials, from 1.
    units : tuple of int
        Width of each dense layer before the softmax.
    dropout : float
        Dropout rate.
    l2 : float
        Weight of the L2 penalty on kernels.
    learning_rate : float
        Learning rate of Adam.
    accuracy : float
        Accuracy of the validation fragments, 0–1.
    loss : float
        Cross-entropy of the validation fragments, in nats.
    """

    number: int
    units: tuple[int, ...]
    dropout: float
    l2: float
    learning_rate: float
    accuracy: float
    loss: float


@dataclasses.dataclass(frozen=True)
class Search:
    """Results of a search.

    Parameters
    ----------
    trials : tuple of SearchTrial
        Completed trials, the best first; at least one.
    failed : int
        Number of failed trials.
    paper : int or None
        Number of the trial with the paper's settings; None if it failed.
    asked : int or None
        Number of the trial with the run's own settings; None if it failed, or if they were not tried.
    songs : tuple of str
        The song of each validation fragment, length n.
    right_best : tuple of bool
        Whether the best trial classifies each validation fragment correctly, length n.
    right_paper : tuple of bool or None
        The same for the paper's settings; None if that trial failed.
    """

    trials: tuple[SearchTrial, ...]
    failed: int
    paper: int | None
    asked: int | None
    songs: tuple[str, ...]
    right_best: tuple[bool, ...]
    right_paper: tuple[bool, ...] | None

    @property
    def best(self) -> SearchTrial:
        """The trial whose settings the model was trained with."""
        return self.trials[0]

    @property
    def tried(self) -> int:
        """Number of trials, including failed ones."""
        return len(self.trials) + self.failed

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Search:
        """Create an instance from the JSON of `dataclasses.asdict`.

        Parameters
        ----------
        values : dict
            From `json.loads`.

        Returns
        -------
        Search
            The same values.
        """
        return cls(
            trials=tuple(SearchTrial(**one | {"units": tuple(one["units"])}) for one in values["trials"]),
            failed=values["failed"],
            paper=values["paper"],
            asked=values["asked"],
            songs=tuple(values["songs"]),
            right_best=tuple(values["right_best"]),
            right_paper=values["right_paper"] and tuple(values["right_paper"]),
        )
