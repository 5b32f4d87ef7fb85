"""Does a fragment look like the training songs at all? A coarse check of its mel image, before its genre is believed.

A softmax is sure of white noise too, so that its confidence keeps little out that is no music. What the front-end draws
of noise, tones and clicks differs from songs more plainly: in five traits of the image's brightness (the mean of red,
green and blue, 0 to 255), of which training songs fill a range. Beyond it, a fragment is unfamiliar.

Only columns in which there is sound are judged. A recording of ten seconds is compared with ten seconds of the training
songs, whatever it is padded with: the range of a trait is found for several lengths.

It is no detector of music: what fills the same range, as other music or a voice over a band may, passes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tumbao.serving.edge_reference import familiar, sounded_columns, traits_of

TRAITS = ("brightness", "spread of bands", "spread in time", "step in time", "step between bands")
"""What is measured of an image: the mean; the standard deviation of the rows' means; the mean of the rows' standard
deviations; the mean difference of neighbouring columns; the mean difference of neighbouring rows."""

MARGIN = 0.5
"""By how much of its width the range of the training songs is widened on each side."""

SOUNDED_LEVEL = 64
"""A column with a band above this level, of 255, holds sound: 60 dB under the loudest, in an image of 80 dB."""

LENGTHS = (0.1, 0.15, 0.225, 0.34, 0.5, 0.75, 0.9)
"""Lengths for which ranges are found, as shares of a fragment: from the shortest song that is accepted to a whole
fragment, of which a tenth may be silent."""


@dataclasses.dataclass(frozen=True)
class TraitRange:
    """Range of the traits of the training songs for a number of columns with sound.

    Parameters
    ----------
    columns : int
        Smallest number of columns that the range is used for.
    low, high : tuple of float
        Ends of the range of each of `TRAITS`.

    Raises
    ------
    ValueError
        If there are not as many ends as traits.
    """

    columns: int
    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        if not len(self.low) == len(self.high) == len(TRAITS):
            raise ValueError(f"Expected {len(TRAITS)} ranges. Received: low={self.low}, high={self.high}")


@dataclasses.dataclass(frozen=True)
class Familiarity:
    """The range of traits that counts as familiar.

    Parameters
    ----------
    low, high : tuple of float
        Ends of the range of each of `TRAITS` in whole fragments.
    fragments : int
        How many training fragments it rests on.
    sounded_brightness : float or None
        A column with a pixel brighter than this holds sound. None, in models of former versions: all columns are
        judged, and a padded fragment is not.
    by_length : tuple of TraitRange
        Ranges in ascending order of columns; the last has `low` and `high`.

    Raises
    ------
    ValueError
        If there are not as many ends as traits, or ranges by length without a brightness.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    fragments: int
    sounded_brightness: float | None = None
    by_length: tuple[TraitRange, ...] = ()

    def __post_init__(self) -> None:
        TraitRange(0, self.low, self.high)
        if (self.sounded_brightness is None) == bool(self.by_length):
            raise ValueError(
                "Expected a brightness and ranges by length, or neither. "
                f"Received: sounded_brightness={self.sounded_brightness}, by_length={self.by_length}"
            )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Familiarity:
        """Read what `json.dumps` made of `dataclasses.asdict`.

        Parameters
        ----------
        values : mapping of str to Any
            From `json.loads`; keys that are not known are ignored.

        Returns
        -------
        Familiarity
            The same values.
        """
        return cls(
            low=tuple(values["low"]),
            high=tuple(values["high"]),
            fragments=values["fragments"],
            sounded_brightness=values.get("sounded_brightness"),
            by_length=tuple(
                TraitRange(one["columns"], tuple(one["low"]), tuple(one["high"])) for one in values.get("by_length", ())
            ),
        )

    def covers(self, image: np.ndarray, padded: bool = False) -> bool:
        """Tell whether a fragment is familiar.

        Parameters
        ----------
        image : np.ndarray [shape=(height, width, 3), dtype=uint8]
            RGB in 0..255, as the front-end draws it.
        padded : bool
            Whether silence was added to it.

        Returns
        -------
        bool
            Whether every trait lies in its range.
        """
        return familiar(image, dataclasses.asdict(self), padded)


def familiarity(fragments: Iterable[np.ndarray], colours: np.ndarray, least: int = 1) -> Familiarity | None:
    """Find the ranges of the training songs, widened by `MARGIN`.

    A shorter recording is imitated by the first columns of a fragment. Its own loudest band would have the highest
    level, so the levels are raised.

    Parameters
    ----------
    fragments : iterable of np.ndarray [shape=(height, width), dtype=uint8]
        Levels of training fragments, padded or not: indexes into the palette.
    colours : np.ndarray [shape=(256, 3), dtype=uint8]
        The palette.
    least : int
        A length that fewer fragments have has no range.

    Returns
    -------
    Familiarity or None
        What counts as familiar; None where too few fragments are long enough for any range.
    """
    brightness = colours.astype(np.float32).mean(axis=1)
    sounded = float(
        brightness[SOUNDED_LEVEL : SOUNDED_LEVEL + 2].mean()
    )  # between two levels, so that rounding in a port does not matter
    found: dict[int, list[np.ndarray]] = {}
    for levels in fragments:
        columns = np.flatnonzero(sounded_columns(brightness[levels], sounded))
        for length in {round(share * levels.shape[1]) for share in LENGTHS}:
            if length <= len(columns):
                heard = columns if length == round(LENGTHS[-1] * levels.shape[1]) else columns[:length]
                part = levels[:, heard[0] : heard[-1] + 1]
                raised = np.minimum(np.arange(256) + int(levels.max()) - int(part.max()), 255)
                raised[0] = 0  # level 0 is clipped
                mask = np.isin(np.arange(heard[0], heard[-1] + 1), heard)
                found.setdefault(length, []).append(traits_of(brightness[raised[part]], mask))
    ranges = [
        TraitRange(length, *_widened(np.stack(traits)))
        for length, traits in sorted(found.items())
        if len(traits) >= least
    ]
    if not ranges:
        return None
    last = ranges[-1]
    return Familiarity(last.low, last.high, len(found[last.columns]), sounded, tuple(ranges))


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


def _widened(traits: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    low, high = traits.min(axis=0), traits.max(axis=0)
    margin = MARGIN * (high - low)
    return tuple((low - margin).tolist()), tuple((high + margin).tolist())
