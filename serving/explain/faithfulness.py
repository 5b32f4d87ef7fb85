"""Faithfulness of attribution maps, measured by deletion and insertion (Petsiuk, Das & Saenko 2018).

The image is divided into cells. *Deletion* flattens the cells in order of importance: each band gets its mean level
over the fragment, which removes all events. The sooner the genre is lost, the better the map. *Insertion* starts with a
flat image and restores the cells in the same order: the sooner the genre returns, the better. Random orders of the same
cells and the order of loudness serve as references; a map that is no better than these carries no information. Silence
instead of flat cells would measure something else: an image full of holes resembles no music, least of all if the holes
are scattered. The curves are log-odds, because the probability of a confident network is 1 for nearly all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np
from scipy.stats import t

from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.explain.attribution import edges, run_on_levels
from tumbao.serving.explain.network import log_odds

CELLS = 15
"""Cells per side: 2 s wide in a fragment of 30 s."""

SHARES = (0.0, 0.03, 0.07, 0.13, 0.22, 0.35, 0.55, 1.0)
"""Shares of the cells at which the network is evaluated, denser at the beginning, where maps differ."""


SIGNIFICANCE_LEVEL = 0.05
"""Significance level: how often uninformative maps may pass as informative."""


@dataclasses.dataclass(frozen=True, eq=False)
class Faithfulness:
    """Log-odds of the genre along the deletion and insertion curves of a map, float32 [len(SHARES)] each.

    At each share, `deletion` has this share of the cells flat, `insertion` all but this share.
    """

    deletion: np.ndarray
    insertion: np.ndarray

    @property
    def deletion_area(self) -> float:
        """Area under the deletion curve, equal to its mean height; the smaller, the better."""
        return _area(self.deletion)

    @property
    def insertion_area(self) -> float:
        """Area under the insertion curve, equal to its mean height; the larger, the better."""
        return _area(self.insertion)

    @property
    def gain(self) -> float:
        """Difference between both areas; the larger, the more faithful."""
        return self.insertion_area - self.deletion_area


def measure(
    model: keras.Model, levels: np.ndarray, maps: Sequence[np.ndarray], genre: int, spec: MelSpec
) -> tuple[Faithfulness, ...]:
    """Measure maps of one fragment; levels (uint8) and maps are [image_height, image_width]."""
    flat = np.broadcast_to(levels.mean(axis=1, keepdims=True).round(), levels.shape).astype(np.uint8)
    pictures = [levels, flat]
    for one in maps:
        if one.shape != levels.shape:
            raise ValueError(f"Expected maps of the fragment's shape {levels.shape}. Received: {one.shape}")
        for share in SHARES[1:-1]:
            chosen = most(one, share)
            pictures += [np.where(chosen, flat, levels), np.where(chosen, levels, flat)]
    evidence = log_odds(run_on_levels(model, np.stack(pictures), spec), genre).numpy()
    whole, nothing, between = evidence[0], evidence[1], evidence[2:].reshape(len(maps), -1, 2)
    return tuple(
        Faithfulness(np.array([whole, *deleted, nothing]), np.array([nothing, *inserted, whole]))
        for deleted, inserted in between.transpose(0, 2, 1)
    )


def most(importance: np.ndarray, share: float) -> np.ndarray:
    """Select the given share of the cells, the most important first: bool [height, width].

    Of equal cells, those higher in the image come first, then the earlier ones.
    """
    cells = by_cell(importance)
    order = np.argsort(-cells, axis=None, kind="stable")
    chosen = np.zeros(cells.size, bool)
    chosen[order[: round(share * cells.size)]] = True
    return over_picture(chosen.reshape(cells.shape), importance.shape)


def by_cell(importance: np.ndarray) -> np.ndarray:
    """Average a map over its cells: [height, width] → float64 [CELLS, CELLS], the highest band first."""
    rows, columns = (edges(size, CELLS) for size in importance.shape)
    sums = np.add.reduceat(np.add.reduceat(importance.astype(np.float64), rows[:-1], 0), columns[:-1], 1)
    return sums / np.outer(np.diff(rows), np.diff(columns))


def over_picture(cells: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Expand cells [CELLS, CELLS] to pixels [height, width]."""
    by_row = np.repeat(cells, np.diff(edges(shape[0], CELLS)), axis=0)
    return np.repeat(by_row, np.diff(edges(shape[1], CELLS)), axis=1)


def random_maps(shape: tuple[int, ...], count: int, seed: int) -> list[np.ndarray]:
    """Create maps with one random value per cell, float64 [height, width]."""
    rng = np.random.default_rng(seed)
    return [over_picture(rng.random((CELLS, CELLS)), shape) for _ in range(count)]


def limit_of_chance(gains: Sequence[float], maps: int) -> float:
    """Compute the gain above which a map is better than chance, by Student's t-distribution.

    `gains` are those of at least two random orders; `maps` is the number of maps compared with the limit, since the
    best of several exceeds it more easily. In at most `SIGNIFICANCE_LEVEL` of all cases, at least one of that many
    random orders is above it.
    """
    quantile = float(t.ppf(1 - SIGNIFICANCE_LEVEL / maps, len(gains) - 1))
    return float(np.mean(gains) + quantile * np.std(gains, ddof=1) * np.sqrt(1 + 1 / len(gains)))


def _area(evidence: np.ndarray) -> float:
    return float(np.sum(np.diff(SHARES) * (evidence[1:] + evidence[:-1]) / 2))
