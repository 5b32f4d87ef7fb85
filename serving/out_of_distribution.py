"""The rule by which a song is out of distribution: its distance from the training songs, an output of the model.

A softmax is confident of white noise too. `trainer.distance` defines the distance and finds the threshold.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class DistanceRule:
    """A song is out of distribution if the mean of its fragments' output `distance` exceeds the threshold.

    `songs` is the number of songs that the threshold was found on.
    """

    threshold: float
    songs: int

    def accepts(self, distances: Sequence[float]) -> bool:
        """Check whether a song with these distances of its fragments is in distribution."""
        return sum(distances) <= self.threshold * len(distances)
