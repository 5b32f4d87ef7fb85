"""What a search for better settings found, in values that outlive it."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class SearchTrial:
    """One setting and what came of it.

    Parameters
    ----------
    number : int
        The how manieth it was that was tried, from 1.
    units : tuple of int
        Width of each dense layer before the softmax.
    dropout : float
        Share that was dropped.
    l2 : float
        Weight of the squared kernels in the loss.
    learning_rate : float
        Adam's.
    accuracy : float
        Share of the validation fragments that are answered rightly, 0–1.
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
    """A search.

    Parameters
    ----------
    trials : tuple of SearchTrial
        Those that came to their end, the best first; at least one.
    failed : int
        How many others there were.
    paper : int or None
        Number of the trial with the paper's settings; None where it failed.
    asked : int or None
        Number of the trial with the settings that the run was asked with; None where it failed, or where they were not
        tried.
    songs : tuple of str
        The song of each validation fragment, length n.
    right_best : tuple of bool
        Whether the best setting answers each validation fragment rightly, length n.
    right_paper : tuple of bool or None
        Whether the paper's does; None where it failed.
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
        """How many settings were tried, with those that failed."""
        return len(self.trials) + self.failed

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Search:
        """Read what `json.dumps` made of `dataclasses.asdict`.

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
