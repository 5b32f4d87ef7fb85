"""Does a fragment look like the training songs at all? A coarse check of its mel image, before its genre is believed.

A softmax is sure of white noise too, so that its confidence keeps little out that is no music. What the front-end draws
of noise, tones and clicks differs from songs more plainly: in five traits of the image's brightness (the mean of red,
green and blue, 0 to 255), of which training songs fill a range. Beyond it, a fragment is unfamiliar.

It is no detector of music: what fills the same range, as other music or a voice over a band may, passes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

TRAITS = ("brightness", "spread of bands", "spread in time", "step in time", "step between bands")
"""What is measured of an image: the mean; the standard deviation of the rows' means; the mean of the rows' standard
deviations; the mean difference of neighbouring columns; the mean difference of neighbouring rows."""

MARGIN = 0.5
"""By how much of its width the range of the training songs is widened on each side."""


@dataclasses.dataclass(frozen=True)
class Familiarity:
    """The range of traits that counts as familiar.

    Parameters
    ----------
    low, high : tuple of float
        Ends of the range of each of `TRAITS`.
    fragments : int
        How many training fragments it rests on.

    Raises
    ------
    ValueError
        If there are not as many ends as traits.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    fragments: int

    def __post_init__(self) -> None:
        if not len(self.low) == len(self.high) == len(TRAITS):
            raise ValueError(f"Expected {len(TRAITS)} ranges. Received: low={self.low}, high={self.high}")

    def covers(self, traits: np.ndarray) -> bool:
        """Tell whether a fragment is familiar.

        Parameters
        ----------
        traits : np.ndarray [shape=(5,)]
            Of `traits_of`.

        Returns
        -------
        bool
            Whether every trait lies in its range.
        """
        return bool(np.all((traits >= self.low) & (traits <= self.high)))


def traits_of(image: np.ndarray) -> np.ndarray:
    """Measure a mel image.

    Parameters
    ----------
    image : np.ndarray [shape=(height, width, 3), dtype=uint8]
        RGB in 0..255, as the front-end draws it.

    Returns
    -------
    np.ndarray [shape=(5,), dtype=float32]
        The `TRAITS`, each in 0..255.
    """
    brightness = image.astype(np.float32) @ np.full(3, 1 / 3, np.float32)
    return np.array(
        [
            brightness.mean(),
            brightness.mean(axis=1).std(),
            brightness.std(axis=1).mean(),
            np.abs(np.diff(brightness, axis=1)).mean(),
            np.abs(np.diff(brightness, axis=0)).mean(),
        ]
    )


def familiarity(traits: np.ndarray) -> Familiarity:
    """Find the range of the training songs, widened by `MARGIN`.

    Parameters
    ----------
    traits : np.ndarray [shape=(n, 5)]
        Traits of training fragments, n at least 1.

    Returns
    -------
    Familiarity
        What counts as familiar.

    Examples
    --------
    >>> familiarity(np.array([[10.0, 1, 1, 1, 1], [20.0, 1, 1, 1, 1]])).low
    (5.0, 1.0, 1.0, 1.0, 1.0)
    """
    low, high = traits.min(axis=0), traits.max(axis=0)
    margin = MARGIN * (high - low)
    return Familiarity(tuple((low - margin).tolist()), tuple((high + margin).tolist()), len(traits))


def mostly_familiar(fragments: Sequence[bool]) -> bool:
    """Tell whether a song is familiar.

    Parameters
    ----------
    fragments : sequence of bool
        Whether each of its fragments is.

    Returns
    -------
    bool
        Whether at least half of them are: an introduction or applause speaks against no song.
    """
    return 2 * sum(fragments) >= len(fragments)
