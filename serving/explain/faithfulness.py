"""Whether a map tells the truth: take away what it calls important, or leave nothing else, and ask the network again.

The picture is divided into cells. *Deletion* flattens them, the most important first: each band gets its mean level of
the fragment, so that nothing happens any more there. The sooner the genre is lost, the better the map. *Insertion*
begins with all flat and brings them back in the same order: the sooner the genre is there, the better (Petsiuk, Das &
Saenko 2018). The same is done in random orders of the same cells, and with the loudest cells first: a map that is no
better than these says nothing. Silence instead of flatness would measure something else: a picture full of holes is
like no music, and scattered holes are like it least. The curves are of log-odds: a network that is sure of itself has a
probability of 1 for nearly all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np
from scipy.stats import t

from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.explain.attribution import ask, edges, log_odds

CELLS = 15
"""Cells a side: 2 s wide in a fragment of 30 s."""

SHARES = (0.0, 0.03, 0.07, 0.13, 0.22, 0.35, 0.55, 1.0)
"""Shares of the cells after which the network is asked, closer at the beginning, where maps differ."""


LUCK = 0.05
"""How often maps that know nothing may pass for one that knows something."""


@dataclasses.dataclass(frozen=True, eq=False)
class Faithfulness:
    """How the genre goes and comes in the order of a map.

    Parameters
    ----------
    deletion : np.ndarray [shape=(len(SHARES),), dtype=float32]
        The genre's log-odds when such a share is flat.
    insertion : np.ndarray [shape=(len(SHARES),), dtype=float32]
        The genre's log-odds when all but such a share is flat.
    """

    deletion: np.ndarray
    insertion: np.ndarray

    @property
    def lost(self) -> float:
        """Area under the deletion curve, which is its mean height; small is good."""
        return _area(self.deletion)

    @property
    def found(self) -> float:
        """Area under the insertion curve, which is its mean height; large is good."""
        return _area(self.insertion)

    @property
    def gain(self) -> float:
        """What the curves are apart; the larger, the more faithful."""
        return self.found - self.lost


def measure(
    model: keras.Model, levels: np.ndarray, maps: Sequence[np.ndarray], genre: int, spec: MelSpec
) -> tuple[Faithfulness, ...]:
    """Measure maps of one fragment.

    Parameters
    ----------
    model : keras.Model
        Of `network.Opened`.
    levels : np.ndarray [shape=(image_height, image_width), dtype=uint8]
        The fragment.
    maps : sequence of np.ndarray [shape=(image_height, image_width)]
        What is more important is larger.
    genre : int
        Index of the genre.
    spec : MelSpec
        Names the colour map.

    Returns
    -------
    measured : tuple of Faithfulness
        One a map.

    Raises
    ------
    ValueError
        If a map is not of the fragment's size.
    """
    flat = np.broadcast_to(levels.mean(axis=1, keepdims=True).round(), levels.shape).astype(np.uint8)
    pictures = [levels, flat]
    for one in maps:
        if one.shape != levels.shape:
            raise ValueError(f"Expected maps of the fragment's shape {levels.shape}. Received: {one.shape}")
        for share in SHARES[1:-1]:
            chosen = most(one, share)
            pictures += [np.where(chosen, flat, levels), np.where(chosen, levels, flat)]
    evidence = log_odds(ask(model, np.stack(pictures), spec), genre).numpy()
    whole, nothing, between = evidence[0], evidence[1], evidence[2:].reshape(len(maps), -1, 2)
    return tuple(
        Faithfulness(np.array([whole, *deleted, nothing]), np.array([nothing, *inserted, whole]))
        for deleted, inserted in between.transpose(0, 2, 1)
    )


def most(importance: np.ndarray, share: float) -> np.ndarray:
    """Choose the most important cells.

    Parameters
    ----------
    importance : np.ndarray [shape=(height, width)]
        A map.
    share : float
        Share of the cells, 0 to 1.

    Returns
    -------
    chosen : np.ndarray [shape=(height, width), dtype=bool]
        True in those cells; of equal cells those first that stand higher in the picture, then earlier.
    """
    cells = by_cell(importance)
    order = np.argsort(-cells, axis=None, kind="stable")
    chosen = np.zeros(cells.size, bool)
    chosen[order[: round(share * cells.size)]] = True
    return over_picture(chosen.reshape(cells.shape), importance.shape)


def by_cell(importance: np.ndarray) -> np.ndarray:
    """Average a map over its cells.

    Parameters
    ----------
    importance : np.ndarray [shape=(height, width)]
        A map.

    Returns
    -------
    cells : np.ndarray [shape=(CELLS, CELLS), dtype=float64]
        The highest band first, time from left to right.
    """
    rows, columns = (edges(size, CELLS) for size in importance.shape)
    sums = np.add.reduceat(np.add.reduceat(importance.astype(np.float64), rows[:-1], 0), columns[:-1], 1)
    return sums / np.outer(np.diff(rows), np.diff(columns))


def over_picture(cells: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Spread cells over their pixels.

    Parameters
    ----------
    cells : np.ndarray [shape=(CELLS, CELLS)]
        A value a cell.
    shape : tuple of int
        Height and width of the picture.

    Returns
    -------
    values : np.ndarray [shape=(height, width)]
        A value a pixel.
    """
    by_row = np.repeat(cells, np.diff(edges(shape[0], CELLS)), axis=0)
    return np.repeat(by_row, np.diff(edges(shape[1], CELLS)), axis=1)


def random_maps(shape: tuple[int, ...], count: int, seed: int) -> list[np.ndarray]:
    """Make maps that know nothing.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the picture.
    count : int
        How many.
    seed : int
        The same seed gives the same maps.

    Returns
    -------
    maps : list of np.ndarray [shape=(height, width), dtype=float64]
        One random value a cell.
    """
    rng = np.random.default_rng(seed)
    return [over_picture(rng.random((CELLS, CELLS)), shape) for _ in range(count)]


def limit_of_chance(gains: Sequence[float], maps: int) -> float:
    """Give what a map must be above to be better than chance, by Student's distribution.

    Parameters
    ----------
    gains : sequence of float
        `Faithfulness.gain` of random orders, two at least.
    maps : int
        How many maps are held against it: the best of several is lucky more easily.

    Returns
    -------
    limit : float
        A gain that at least one of so many random orders is above in `LUCK` of all cases, at most.
    """
    quantile = float(t.ppf(1 - LUCK / maps, len(gains) - 1))
    return float(np.mean(gains) + quantile * np.std(gains, ddof=1) * np.sqrt(1 + 1 / len(gains)))


def _area(evidence: np.ndarray) -> float:
    return float(np.sum(np.diff(SHARES) * (evidence[1:] + evidence[:-1]) / 2))
